"""What is answered where no route is: HEAD, a wrong method, a path that leads nowhere, in the one shape of refusals.

The page is mounted at `/` and takes every path that is left over, so these have to be asked before it.
"""

from __future__ import annotations

import re
from collections.abc import Sequence
from dataclasses import dataclass

from fastapi import FastAPI
from fastapi.routing import iter_route_contexts
from starlette.datastructures import MutableHeaders
from starlette.routing import Route
from starlette.types import ASGIApp, Receive, Scope, Send

from llm_core.access.problems import told
from llm_core.access.proxies import own_path

STREAMS_PREFIX = "/api/llm/streams/"
_SPOKEN = {
    "/v1": "OpenAI's format is spoken here at POST /v1/chat/completions, /v1/responses, /v1/completions and "
    "/v1/embeddings, GET /v1/models and GET /v1/models/{id}; Anthropic's at POST /v1/messages.",
    "/tokenize": "",
    "/detokenize": "",
    "/apply-template": "",
    "/rerank": "",
    "/metrics": "",
    "/health": "",
    "/mcp": "MCP is spoken here by POST, as streamable HTTP without sessions.",
    "/api": "Chat is POST /api/llm/chat, in Ollama's format POST /api/chat, in OpenAI's POST /v1/chat/completions; "
    "/docs has every route.",
}
_MAX_SHOWN_CHARS = 100
_FORM = "application/x-www-form-urlencoded"
_BROWSERS = frozenset({"origin", "referer", "sec-fetch-site"})


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
            if path.startswith(self._prefixes) and _has_head(path):
                scope = {**scope, "method": "GET"}
        await self._app(scope, receive, send)


class PlainCurl:
    """Reads what `curl -d` sends as JSON, though curl calls it a form: so do Ollama, and people who try something.

    A browser may send a form to any site without asking it. It says where the form is from, and that is left as it is.

    Args:
        prefixes: Of the paths that it looks at.
    """

    def __init__(self, app: ASGIApp, prefixes: tuple[str, ...]) -> None:
        self._app, self._prefixes = app, prefixes

    async def __call__(self, scope: Scope, receive: Receive, send: Send) -> None:
        if scope["type"] == "http" and own_path(scope).startswith(self._prefixes):
            headers = MutableHeaders(scope=scope)
            if headers.get("content-type") == _FORM and not _BROWSERS.intersection(headers.keys()):
                headers["content-type"] = "application/json"
        await self._app(scope, receive, send)


def refuse_the_rest(app: FastAPI) -> None:
    """Takes what no route of `app` has taken so far: 405 where another method would do, else 404."""
    there: dict[str, _Path] = {}
    for route in iter_route_contexts(app.router.routes):
        if route.path is not None and route.methods:
            there.setdefault(route.path, _Path(route.path_regex, set())).methods.update(route.methods)
    paths = [*there.values()]  # in their order: what is spelt out comes before what has a parameter in its place
    for prefix, spoken in _SPOKEN.items():
        for path in (prefix, f"{prefix}/{{rest:path}}"):
            app.router.routes.append(Route(path, _Refusal(paths, spoken), include_in_schema=False))


@dataclass(frozen=True, slots=True)
class _Path:
    pattern: re.Pattern[str]
    methods: set[str]


class _Refusal:
    """An endpoint for every method.

    Args:
        paths: Where something is.
        spoken: What a caller may have looked for.
    """

    def __init__(self, paths: Sequence[_Path], spoken: str) -> None:
        self._paths, self._spoken = paths, spoken

    async def __call__(self, scope: Scope, receive: Receive, send: Send) -> None:
        path = own_path(scope)
        shown = path[:_MAX_SHOWN_CHARS]
        there = next((each.methods for each in self._paths if each.pattern.match(path)), None)
        if there is None:
            answer = told(404, f"There is no {shown} here. {self._spoken}".rstrip(), "not_found")
        else:
            allowed = ", ".join(sorted(there | ({"HEAD"} if "GET" in there and _has_head(path) else set())))
            said = f"{scope['method']} is not spoken at {shown}; {allowed} is."
            answer = told(405, said, "method_not_allowed", path=path, allowed=allowed)
        await answer(scope, receive, send)


def _has_head(path: str) -> bool:
    return not path.startswith((STREAMS_PREFIX, "/v1/responses/"))
