"""Whose conversations the page shows: a key that only this browser has, or the name behind a token."""

from __future__ import annotations

import re
import secrets

from starlette.datastructures import MutableHeaders
from starlette.requests import HTTPConnection
from starlette.types import ASGIApp, Message, Receive, Scope, Send

from llm_core.access.gate import NAMED_PREFIX, owner_of
from llm_core.access.proxies import own_path

COOKIE = "llm_core_browser"
COOKIE_SECONDS = 400 * 86_400  # browsers keep no cookie for longer (RFC 6265bis)
PAGE_PATH = "/"
_KEY_BYTES = 24  # 192 random bits: nobody finds another's by trying
_KEY = re.compile(r"[A-Za-z0-9_-]{32}")
_SCOPE_KEY = "llm_core.browser"


def visitor_of(connection: HTTPConnection) -> str:
    """The owner of the page's conversations: whoever signed in, else this browser; "" for a caller that is neither.

    A program that calls the page's endpoint has no cookie, and what it says is not kept.
    """
    owner = owner_of(connection)
    if owner.startswith(NAMED_PREFIX):
        return owner
    key = browser_key(connection)
    return f"browser:{key}" if key else ""


def page_visitor(connection: HTTPConnection, key: str) -> str:
    """`visitor_of` an open page. Where the browser keeps no cookie, the open page has made a `key` of its own."""
    return visitor_of(connection) or f"page:{key}"


def browser_key(connection: HTTPConnection) -> str | None:
    """The key of the browser that calls; None for a program."""
    key: str | None = connection.scope.get(_SCOPE_KEY)
    return key


class BrowserKey:
    """Gives each browser that opens the page a key of its own, in a cookie that the page's scripts cannot read."""

    def __init__(self, app: ASGIApp) -> None:
        self._app = app

    async def __call__(self, scope: Scope, receive: Receive, send: Send) -> None:
        if scope["type"] != "http":
            await self._app(scope, receive, send)
            return
        key = _key_of(HTTPConnection(scope))
        if key is None and scope["method"] == "GET" and own_path(scope) == PAGE_PATH:
            key = secrets.token_urlsafe(_KEY_BYTES)
            send = _setting(key, scope, send)
        scope[_SCOPE_KEY] = key
        await self._app(scope, receive, send)


def _key_of(connection: HTTPConnection) -> str | None:
    key = connection.cookies.get(COOKIE, "")
    return key if _KEY.fullmatch(key) else None


def _setting(key: str, scope: Scope, send: Send) -> Send:
    # In the frame of another site, as on a Hugging Face Space, a cookie is only kept with these attributes.
    site = "SameSite=None; Secure; Partitioned" if scope["scheme"] == "https" else "SameSite=Lax"
    path = scope.get("root_path") or "/"  # what else the host has under other paths learns nothing
    cookie = f"{COOKIE}={key}; Max-Age={COOKIE_SECONDS}; Path={path}; HttpOnly; {site}"

    async def send_with_cookie(message: Message) -> None:
        if message["type"] == "http.response.start":
            MutableHeaders(scope=message).append("set-cookie", cookie)
        await send(message)

    return send_with_cookie
