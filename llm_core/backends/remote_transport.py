"""Connections to engines that are used again after a stream.

A reader of server-sent events stops at `[DONE]`, before the last few bytes of the response. The connection could not be
used again, and each request would pay for a new one: over TLS that is two more round trips to the first token.
"""

from __future__ import annotations

import asyncio
from collections.abc import AsyncIterator
from contextlib import suppress

import httpx2

CONNECTIONS = 1000
REST_SECONDS = 0.1  # what is left after the end comes with it, or not at all
_END = b"data: [DONE]"


class ReusingTransport(httpx2.AsyncHTTPTransport):
    """HTTP/1.1 whose streams are read to their end when they are closed after `[DONE]`."""

    def __init__(self) -> None:
        limits = httpx2.Limits(max_connections=CONNECTIONS, max_keepalive_connections=CONNECTIONS, keepalive_expiry=30)
        super().__init__(limits=limits)

    async def handle_async_request(self, request: httpx2.Request) -> httpx2.Response:
        response = await super().handle_async_request(request)
        assert isinstance(response.stream, httpx2.AsyncByteStream)
        response.stream = _ReadToEnd(response.stream)
        return response


class _ReadToEnd(httpx2.AsyncByteStream):
    def __init__(self, stream: httpx2.AsyncByteStream) -> None:
        self._stream = stream
        self._pieces = aiter(stream)
        self._tail = b""

    def __aiter__(self) -> AsyncIterator[bytes]:
        return self

    async def __anext__(self) -> bytes:
        piece = await anext(self._pieces)
        self._tail = (self._tail + piece)[-64:]
        return piece

    async def aclose(self) -> None:
        if _END in self._tail:
            with suppress(TimeoutError, StopAsyncIteration, httpx2.HTTPError):
                async with asyncio.timeout(REST_SECONDS):
                    while True:
                        await anext(self._pieces)
        await self._stream.aclose()
