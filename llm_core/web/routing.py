"""What is answered where no route is: HEAD, a wrong method, a path that leads nowhere, in the one shape of refusals.

The page is mounted at `/` and takes every path that is left over, so these have to be asked before it.
"""

from __future__ import annotations

from collections.abc import Sequence

from fastapi import FastAPI
from starlette.routing import BaseRoute, Match, Route
from starlette.types import ASGIApp, Receive, Scope, Send

from llm_core.web.problems import told
from llm_core.web.proxies import own_path

STREAMS_PREFIX = "/api/llm/streams/"
_SPOKEN = {
    "/v1": "OpenAI's format is spoken here at POST /v1/chat/completions, GET /v1/models and GET /v1/models/{id}.",
    "/metrics": "",
    "/health": "",
    "/api": "Chat is POST /api/llm/chat, in OpenAI's format POST /v1/chat/completions; /docs has every route.",
}
_METHODS = ("GET", "POST", "PUT", "PATCH", "DELETE")
_MAX_SHOWN_CHARS = 100


class Head:
    """Answers HEAD as GET (RFC 9110, 9.3.2); the server itself leaves out the body.

    Args:
        prefixes: Of the paths that it looks at. Streams are left out: to ask for one's head would be to read it.
    """

    def __init__(self, app: ASGIApp, prefixes: tuple[str, ...]) -> None:
        self._app, self._prefixes = app, prefixes

    async def __call__(self, scope: Scope, receive: Receive, send: Send) -> None:
        if scope["type"] == "http" and scope["method"] == "HEAD":
            path = own_path(scope)
            if path.startswith(self._prefixes) and not path.startswith(STREAMS_PREFIX):
                scope = {**scope, "method": "GET"}
        await self._app(scope, receive, send)


def refuse_the_rest(app: FastAPI) -> None:
    """Takes what no route of `app` has taken so far: 405 where another method would do, else 404."""
    routes = [*app.router.routes]
    for prefix, spoken in _SPOKEN.items():
        for path in (prefix, f"{prefix}/{{rest:path}}"):
            app.router.routes.append(Route(path, _Refusal(routes, spoken), include_in_schema=False))


class _Refusal:
    """An endpoint for every method.

    Args:
        routes: Those that were asked before.
        spoken: What a caller may have looked for.
    """

    def __init__(self, routes: Sequence[BaseRoute], spoken: str) -> None:
        self._routes, self._spoken = routes, spoken

    async def __call__(self, scope: Scope, receive: Receive, send: Send) -> None:
        path = own_path(scope)
        if allowed := [method for method in _METHODS if self._is_there({**scope, "method": method})]:
            if "GET" in allowed and not path.startswith(STREAMS_PREFIX):
                allowed.append("HEAD")
            said = f"{scope['method']} is not spoken at {path[:_MAX_SHOWN_CHARS]}; {', '.join(allowed)} is."
            answer = told(405, said, "method_not_allowed", headers={"Allow": ", ".join(allowed)})
        else:
            answer = told(404, f"There is no {path[:_MAX_SHOWN_CHARS]} here. {self._spoken}".rstrip(), "not_found")
        await answer(scope, receive, send)

    def _is_there(self, scope: Scope) -> bool:
        return any(route.matches(scope)[0] is Match.FULL for route in self._routes)
