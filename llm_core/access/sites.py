"""By which names the server may be called, and from pages of which other sites. What is refused has the one shape."""

from __future__ import annotations

from starlette.datastructures import Headers
from starlette.middleware.cors import CORSMiddleware
from starlette.middleware.trustedhost import TrustedHostMiddleware
from starlette.responses import Response
from starlette.types import ASGIApp, Message, Receive, Scope, Send

from llm_core.access.problems import told
from llm_core.settings import LOOPBACK_NAMES, Settings, is_loopback

METHODS = ("GET", "POST", "PATCH", "DELETE")
_MAX_SHOWN_CHARS = 100


class Hosts:
    """Lets in who calls the server by one of its names. Starlette decides, but would refuse in a shape of its own.

    A page of another site that makes its own name mean this machine (DNS rebinding) would else be a caller from here.
    """

    def __init__(self, app: ASGIApp, settings: Settings) -> None:
        self._app, self._names = app, _names(settings)

    async def __call__(self, scope: Scope, receive: Receive, send: Send) -> None:
        if scope["type"] not in ("http", "websocket") or await self._admits(scope, receive):
            await self._app(scope, receive, send)
            return
        name = Headers(scope=scope).get("host", "")[:_MAX_SHOWN_CHARS]
        said = (
            f"Invalid host header: this server is not called {name!r}. Call it by a name of its own, or set "
            "LLM_ALLOWED_HOSTS to the names that it has."
        )
        await told(400, said, "invalid_host")(scope, receive, send)

    async def _admits(self, scope: Scope, receive: Receive) -> bool:
        admitted = False

        async def admit(_scope: Scope, _receive: Receive, _send: Send) -> None:
            nonlocal admitted
            admitted = True

        async def unsaid(_message: Message) -> None:
            pass

        await TrustedHostMiddleware(admit, self._names, www_redirect=False)(scope, receive, unsaid)
        return admitted


class Origins(CORSMiddleware):
    """Lets pages of the named sites call from a browser, with any header: clients have headers of their own, such as
    the `x-stainless-` ones of OpenAI's."""

    def __init__(self, app: ASGIApp, settings: Settings) -> None:
        super().__init__(
            app,
            allow_origins=settings.allowed_origins,
            allow_methods=METHODS,
            allow_headers=["*"],
            expose_headers=["Retry-After", "X-Request-ID"],
        )

    def preflight_response(self, request_headers: Headers) -> Response:
        response = super().preflight_response(request_headers)
        if response.status_code == 200:
            return response
        origin, method = request_headers["origin"], request_headers["access-control-request-method"]
        said = f"Pages of {origin[:_MAX_SHOWN_CHARS]} may not call this server. LLM_ALLOWED_ORIGINS says which may."
        if self.is_allowed_origin(origin):
            said = f"Pages of other sites may send {', '.join(METHODS)}, not {method[:_MAX_SHOWN_CHARS]}."
        refused = told(400, said, "cors_refused")
        del response.headers["content-length"], response.headers["content-type"]
        refused.headers.update(response.headers)
        return refused


def _names(settings: Settings) -> list[str]:
    if settings.allowed_hosts:
        return list(settings.allowed_hosts)
    return [*LOOPBACK_NAMES, "[::1]", settings.server_name] if is_loopback(settings.server_name) else ["*"]
