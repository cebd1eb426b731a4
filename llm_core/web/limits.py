"""How much one caller may ask: requests in a time, and bytes in a body."""

from __future__ import annotations

import logging
import time

import limits
from limits import RateLimitItem
from limits.errors import StorageError
from limits.storage import MemoryStorage, Storage
from limits.strategies import MovingWindowRateLimiter
from starlette.datastructures import Headers
from starlette.exceptions import HTTPException
from starlette.requests import HTTPConnection
from starlette.types import ASGIApp, Message, Receive, Scope, Send

from llm_core.errors import RateLimited
from llm_core.web.gate import owner_of

log = logging.getLogger(__name__)

REDIS_SECONDS = 1.0  # longest wait for an answer; a request is not held up longer to be counted


class RateLimit:
    """Counts requests that ask for a reply.

    Args:
        rate: Such as `60/minute`; `none` allows any number.
        redis_url: Where several processes count together; None counts here only.
    """

    def __init__(self, rate: str, redis_url: str | None = None) -> None:
        self._rate = None if rate.lower() == "none" else limits.parse(rate)
        self._here = MovingWindowRateLimiter(MemoryStorage())
        self._shared = MovingWindowRateLimiter(_redis(redis_url)) if redis_url else None

    def check(self, owner: str) -> None:
        """Counts one request of `owner`.

        Raises:
            RateLimited: It is one too many.
        """
        if self._rate is None:
            return
        free_at = self._hit(self._rate, owner)
        if free_at is None:
            return
        raise RateLimited(
            f"More requests than are allowed ({self._rate}). Wait, and try again.",
            retry_after=max(1.0, free_at - time.time()),
        )

    def _hit(self, rate: RateLimitItem, owner: str) -> float | None:
        """Counts a request; None, or when the next one is allowed. While Redis does not answer each process counts for
        itself: that is better than refusing everybody, and than counting nobody."""
        if self._shared is not None:
            try:
                return _hit(self._shared, rate, owner)
            except StorageError as error:
                log.warning("requests are counted in this process only: Redis does not answer (%s)", error)
        return _hit(self._here, rate, owner)

    def check_caller(self, connection: HTTPConnection) -> None:
        """Counts one request of the caller: the token's owner, or the address where there are no tokens.

        Raises:
            RateLimited: It is one too many.
        """
        address = connection.client.host if connection.client else ""
        self.check(owner_of(connection) or f"address:{address}")


def _hit(limiter: MovingWindowRateLimiter, rate: RateLimitItem, owner: str) -> float | None:
    return None if limiter.hit(rate, owner) else limiter.get_window_stats(rate, owner).reset_time


def _redis(url: str) -> Storage:
    from limits.storage import RedisStorage  # not where it is not asked for: it imports the package redis

    return RedisStorage(url, wrap_exceptions=True, socket_timeout=REDIS_SECONDS, socket_connect_timeout=REDIS_SECONDS)


class BodyLimit:
    """Reads no more of a body than is allowed, whatever its header promises.

    FastAPI has such a limit too, but refuses in a shape of its own.
    """

    def __init__(self, app: ASGIApp, max_bytes: int) -> None:
        self._app, self._max_bytes = app, max_bytes

    async def __call__(self, scope: Scope, receive: Receive, send: Send) -> None:
        declared = Headers(scope=scope).get("content-length", "") if scope["type"] == "http" else ""
        left = self._max_bytes

        async def limited() -> Message:
            nonlocal left
            message = await receive()
            left -= len(message.get("body", b""))
            if left < 0 or (declared.isdecimal() and int(declared) > self._max_bytes):
                raise HTTPException(413, f"The body is larger than {self._max_bytes // 2**20} MB")
            return message

        await self._app(scope, limited, send)
