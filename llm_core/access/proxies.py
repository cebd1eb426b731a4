"""What a proxy in front of the server says of a request: from whom it comes, by which scheme, and under which path.

Only a proxy that is trusted is believed: anyone can send such headers.
"""

from __future__ import annotations

import re

from starlette.datastructures import Headers
from starlette.types import ASGIApp, Receive, Scope, Send
from uvicorn.middleware.proxy_headers import ProxyHeadersMiddleware

from llm_core.settings import Settings, is_trusted_proxy

PREFIX_HEADER = "X-Forwarded-Prefix"
_PREFIX = re.compile(r"(/[A-Za-z0-9._~-]+)+")  # it goes into a cookie and into the page


class BehindProxies:
    """Writes what a trusted proxy says into the scope: `client`, `scheme`, and as `root_path` the path at which the
    proxy shows this server. `path` begins with it, as ASGI has it, whether or not the proxy has cut it off."""

    def __init__(self, app: ASGIApp, settings: Settings) -> None:
        self._trusted, self._root_path = settings.trusted_proxies, settings.root_path or ""
        # The types of uvicorn's middleware are stricter than Starlette's, and mean the same.
        self._app: ASGIApp = ProxyHeadersMiddleware(app, list(self._trusted))  # type: ignore[arg-type, assignment]

    async def __call__(self, scope: Scope, receive: Receive, send: Send) -> None:
        if scope["type"] != "lifespan" and (prefix := self._prefix(scope)):
            scope["root_path"] = prefix
            if not f"{scope['path']}/".startswith(f"{prefix}/"):
                scope["path"] = prefix + scope["path"]
                scope["raw_path"] = prefix.encode() + scope["raw_path"]
        await self._app(scope, receive, send)

    def _prefix(self, scope: Scope) -> str:
        address = (scope.get("client") or ("",))[0]
        said = Headers(scope=scope).get(PREFIX_HEADER, "") if is_trusted_proxy(address, self._trusted) else ""
        said = said.partition(",")[0].strip().rstrip("/")
        return said if _PREFIX.fullmatch(said) else self._root_path


def own_path(scope: Scope) -> str:
    """The path of a request as this server knows it, without what a proxy put before it."""
    path: str = scope["path"]
    return path.removeprefix(scope.get("root_path", "")) or "/"
