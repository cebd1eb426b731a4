"""Who calls. One check stands before everything on the port, the page included: a route cannot forget it.

Programs send `Authorization: Bearer TOKEN`. A browser signs in once, by a form, and then sends a cookie. Where there
are tokens for administering alone everybody is let in, and who administers finds the form at its address.
"""

from __future__ import annotations

import html
from pathlib import Path
from typing import Literal, TypedDict
from urllib.parse import parse_qs

from starlette.datastructures import Headers
from starlette.requests import HTTPConnection, Request
from starlette.responses import HTMLResponse, RedirectResponse, Response
from starlette.types import ASGIApp, Receive, Scope, Send

from llm_core.access.problems import refusal
from llm_core.access.proxies import own_path
from llm_core.errors import LLMError, TooLarge, Unauthorized
from llm_core.settings import Settings, is_loopback
from llm_core.tokens import MAX_TOKEN_CHARS, ApiToken, find_token

OWNER_KEY = "llm_core.owner"  # in the ASGI scope
COOKIE = "llm_core_token"
COOKIE_SECONDS = 30 * 86_400
SIGN_IN_PATH = "/sign-in"
SIGN_OUT_PATH = "/sign-out"
# A liveness probe has no token, and learns nothing from it but that the server is there.
# Browsers ask for the last three without a cookie.
OPEN_PATHS = frozenset({"/api/llm/health", "/health", "/manifest.json", "/pwa_icon", "/favicon.ico"})
NAMED_PREFIX = "name:"
_ANTHROPIC_HEADER = "x-api-key"  # where Anthropic's clients have their token

_FORM = (Path(__file__).with_name("sign_in.html")).read_text(encoding="utf-8")
_WRONG = "Nobody has this token."
_MAX_FORM_BYTES = 4 * MAX_TOKEN_CHARS


def owner_of(connection: HTTPConnection) -> str:
    """Whose request this is: `name:` and the token's name; without tokens the caller's address, or "" where only this
    machine can call, whose callers share their sessions with Python programs."""
    owner: str = connection.scope[OWNER_KEY]
    return owner


def given_token(connection: HTTPConnection) -> str | None:
    """The token of a request. One in a header counts, even a wrong one; then no cookie is looked at."""
    scheme, _, given = connection.headers.get("authorization", "").partition(" ")
    if scheme.lower() == "bearer":
        return given.strip()
    return connection.headers.get(_ANTHROPIC_HEADER) or connection.cookies.get(COOKIE)


class Gate:
    """Lets nobody in without a token, where `LLM_API_TOKENS` are set, and writes into the scope whose request it is."""

    def __init__(self, app: ASGIApp, settings: Settings) -> None:
        self._app = app
        self._tokens = settings.api_tokens + settings.admin_tokens
        self._lets_all_in = not settings.api_tokens
        self._only_local = is_loopback(settings.server_name)

    async def __call__(self, scope: Scope, receive: Receive, send: Send) -> None:
        if scope["type"] not in ("http", "websocket"):
            await self._app(scope, receive, send)
            return
        answer = await self._form_answer(Request(scope, receive)) if self._tokens and scope["type"] == "http" else None
        if answer is not None:
            await answer(scope, receive, send)
            return
        if self._lets_all_in:
            scope[OWNER_KEY] = "" if self._only_local else f"address:{(scope.get('client') or ('',))[0]}"
            await self._app(scope, receive, send)
            return
        token = self._token(HTTPConnection(scope))
        if token is None and own_path(scope) not in OPEN_PATHS:
            await self._refuse(scope)(scope, receive, send)
            return
        scope[OWNER_KEY] = "" if token is None else NAMED_PREFIX + token.name
        await self._app(scope, receive, send)

    async def _form_answer(self, request: Request) -> Response | None:
        """To a browser that signs in or out."""
        asked = request.method, own_path(request.scope)
        if asked == ("GET", SIGN_IN_PATH):
            return _form(request.scope, status=200)
        if asked == ("POST", SIGN_IN_PATH):
            return await self._sign_in(request)
        if asked == ("POST", SIGN_OUT_PATH):
            return _sign_out(request)
        return None

    def _token(self, connection: HTTPConnection) -> ApiToken | None:
        given = given_token(connection)
        return find_token(given, self._tokens) if given is not None else None

    def _refuse(self, scope: Scope) -> Response:
        if scope["type"] == "http" and scope["method"] == "GET" and _wants_html(Headers(scope=scope)):
            return _form(scope, status=401)
        said = "This server needs a token: send the header `Authorization: Bearer TOKEN`."
        return refusal(Request(scope), Unauthorized(said))

    async def _sign_in(self, request: Request) -> Response:
        try:
            data = await _read_form(request)
        except LLMError as error:
            return refusal(request, error)
        given = parse_qs(data.decode("utf-8", "replace")).get("token", [""])[0].strip()
        if find_token(given, self._tokens) is None:
            return _form(request.scope, status=401, said=_WRONG)
        response = _to_the_page(request)
        response.set_cookie(COOKIE, given, max_age=COOKIE_SECONDS, **_cookie(request))
        return response


def _sign_out(request: Request) -> Response:
    """The browser forgets the token."""
    response = _to_the_page(request)
    response.delete_cookie(COOKIE, **_cookie(request))
    return response


def _to_the_page(request: Request) -> Response:
    return RedirectResponse(f"{request.scope.get('root_path', '')}/", status_code=303)


class _Cookie(TypedDict):
    path: str
    httponly: bool
    secure: bool
    samesite: Literal["lax", "none"]


def _cookie(request: Request) -> _Cookie:
    # In the frame of another site, as on a Hugging Face Space, a cookie is only sent with SameSite=None.
    encrypted = request.url.scheme == "https"
    path = request.scope.get("root_path", "") or "/"
    return {"path": path, "httponly": True, "secure": encrypted, "samesite": "none" if encrypted else "lax"}


def _wants_html(headers: Headers) -> bool:
    return "text/html" in headers.get("accept", "")


def _form(scope: Scope, *, status: int, said: str = "") -> HTMLResponse:
    page = _FORM.replace("{{action}}", scope.get("root_path", "") + SIGN_IN_PATH).replace("{{said}}", html.escape(said))
    return HTMLResponse(page, status, {"Cache-Control": "no-store"})


async def _read_form(request: Request) -> bytes:
    data = bytearray()
    async for chunk in request.stream():
        data += chunk
        if len(data) > _MAX_FORM_BYTES:
            raise TooLarge("The form is larger than a token can be.")
    return bytes(data)
