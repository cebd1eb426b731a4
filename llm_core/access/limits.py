"""How much one caller may ask: requests in a time, and bytes in a body."""

from __future__ import annotations

from starlette.datastructures import Headers
from starlette.exceptions import HTTPException
from starlette.requests import HTTPConnection
from starlette.types import ASGIApp, Message, Receive, Scope, Send

from llm_core.access.gate import owner_of
from llm_core.rate_limit import RateLimit
from llm_core.settings import Settings, is_loopback


class CallerLimit(RateLimit):
    """Counts requests of callers over HTTP.

    On a server that nobody else can call, without tokens, whoever owns the machine is the only caller. A limit would
    only stop a batch of their own, so there is none unless the settings say so.
    """

    def __init__(self, settings: Settings) -> None:
        redis_url = settings.redis_url.get_secret_value() if settings.redis_url else None
        super().__init__(settings.rate_limit, redis_url)
        self._spares_this_machine = "rate_limit" not in settings.model_fields_set

    def check_caller(self, connection: HTTPConnection) -> None:
        """Counts one request of the caller: the token's owner, or the address where there are no tokens.

        Raises:
            RateLimited: It is one too many.
        """
        owner, address = owner_of(connection), connection.client.host if connection.client else ""
        # Behind a proxy on this machine the address is the one that the proxy tells.
        if self._spares_this_machine and not owner and is_loopback(address):
            return
        self.check(owner or f"address:{address}")


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
