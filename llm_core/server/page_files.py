"""The page and its files as they are sent: compressed, and kept by the browser while they stay what they are."""

from __future__ import annotations

import asyncio
import gzip
import hashlib
from collections.abc import Callable
from functools import cached_property, lru_cache

import brotli
import gradio as gr
from starlette.datastructures import Headers, MutableHeaders
from starlette.responses import Response
from starlette.types import ASGIApp, Message, Receive, Scope, Send

from llm_core.access.proxies import own_path
from llm_core.page.bundle import FOR_EVER, PLACE, Bundle

ASK_AGAIN = "private, no-cache"
_QUALITY = 9  # of brotli: some 0.2 s for all scripts, once; 11 would take 3 s for a tenth less


class PageFiles:
    """Stands before Gradio's application.

    Args:
        page: Whose it is. Its scripts and styles are put together for the first visitor.
    """

    def __init__(self, app: ASGIApp, page: gr.Blocks) -> None:
        self._app, self._blocks = app, page

    @cached_property
    def _bundle(self) -> Bundle:
        return Bundle.of(self._blocks)

    async def __call__(self, scope: Scope, receive: Receive, send: Send) -> None:
        path = own_path(scope) if scope["type"] == "http" and scope["method"] == "GET" else ""
        if path == "/":
            await self._page(scope, receive, send)
            return
        folder, _, name = path.lstrip("/").rpartition("/")
        if folder != PLACE:
            await self._app(scope, receive, send)
        elif name in self._bundle.files:
            content, media_type = self._bundle.files[name]
            response = await _compressed_response(scope, content, media_type, FOR_EVER)
            await response(scope, receive, send)
        else:
            await self._app(scope, receive, _kept_for_ever(send))

    async def _page(self, scope: Scope, receive: Receive, send: Send) -> None:
        start: Message = {}
        parts: list[bytes] = []

        async def take(message: Message) -> None:
            nonlocal start
            if message["type"] == "http.response.start":
                start = message
                if not _is_page(start):
                    await send(start)
            elif not _is_page(start):
                await send(message)
            else:
                parts.append(message.get("body", b""))
                if not message.get("more_body"):
                    page = self._bundle.page(b"".join(parts).decode(), title=str(self._blocks.title)).encode()
                    response = await _compressed_response(scope, page, "text/html", ASK_AGAIN)
                    await response(scope, receive, send)

        await self._app(scope, receive, take)


def _is_page(start: Message) -> bool:
    kind = Headers(raw=start["headers"]).get("content-type", "")
    return start["status"] == 200 and kind.startswith("text/html")


def _kept_for_ever(send: Send) -> Send:
    async def kept(message: Message) -> None:
        if message["type"] == "http.response.start" and message["status"] == 200:
            MutableHeaders(raw=message["headers"])["cache-control"] = FOR_EVER
        await send(message)

    return kept


async def _compressed_response(scope: Scope, content: bytes, media_type: str, cache_control: str) -> Response:
    headers = Headers(scope=scope)
    encoding = next((each for each in _CODECS if each in headers.get("accept-encoding", "")), "")
    tag = f'W/"{hashlib.sha256(content).hexdigest()[:32]}"'
    told = {"cache-control": cache_control, "etag": tag, "vary": "Accept-Encoding"}
    if tag in headers.get("if-none-match", ""):
        return Response(status_code=304, headers=told)
    if not encoding:
        return Response(content, headers=told, media_type=media_type)
    body = await asyncio.to_thread(_compressed, content, encoding)
    return Response(body, headers=told | {"content-encoding": encoding}, media_type=media_type)


_CODECS: dict[str, Callable[[bytes], bytes]] = {
    "br": lambda content: bytes(brotli.compress(content, quality=_QUALITY)),  # type: ignore[no-untyped-call]
    "gzip": gzip.compress,
}


@lru_cache(maxsize=8)
def _compressed(content: bytes, encoding: str) -> bytes:
    return _CODECS[encoding](content)
