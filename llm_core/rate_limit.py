"""How many requests one owner may make in a time, whichever doorway they come through."""

from __future__ import annotations

import logging
import time
from typing import Annotated

import limits
from limits import RateLimitItem
from limits.errors import StorageError
from limits.storage import MemoryStorage, Storage
from limits.strategies import MovingWindowRateLimiter
from pydantic import AfterValidator

from llm_core.errors import RateLimited

log = logging.getLogger(__name__)

REDIS_SECONDS = 1.0  # longest wait for an answer; a request is not held up longer to be counted


def _rate(value: str) -> str:
    if value.lower() != "none":
        try:
            limits.parse(value)
        except ValueError:
            raise ValueError("not a rate such as 60/minute or 1000/day, nor none") from None
    return value


Rate = Annotated[str, AfterValidator(_rate)]


class RateLimit:
    """Counts requests that ask for a reply. Blocking, for at most `REDIS_SECONDS`.

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


def _hit(limiter: MovingWindowRateLimiter, rate: RateLimitItem, owner: str) -> float | None:
    return None if limiter.hit(rate, owner) else limiter.get_window_stats(rate, owner).reset_time


def _redis(url: str) -> Storage:
    from limits.storage import RedisStorage  # not where it is not asked for: it imports the package redis

    return RedisStorage(url, wrap_exceptions=True, socket_timeout=REDIS_SECONDS, socket_connect_timeout=REDIS_SECONDS)
