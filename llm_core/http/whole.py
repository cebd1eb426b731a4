"""A whole answer over HTTP: the work for it ends when nobody waits for it any more."""

from __future__ import annotations

import asyncio
from collections.abc import Callable, Coroutine
from typing import Any, TypeVar

from starlette.requests import Request
from starlette.responses import Response

T = TypeVar("T")

CLIENT_CLOSED_REQUEST = 499  # nginx's number for a reader who left; nobody sees it but a log


async def unless_reader_leaves(
    request: Request, work: Coroutine[Any, Any, T], answer: Callable[[T], Response]
) -> Response:
    """The answer of what `work` returns; where the reader leaves before, `work` is cancelled."""
    working = asyncio.ensure_future(work)
    leaving = asyncio.ensure_future(_reader_leaves(request))
    try:
        await asyncio.wait({working, leaving}, return_when=asyncio.FIRST_COMPLETED)
        return answer(working.result()) if working.done() else Response(status_code=CLIENT_CLOSED_REQUEST)
    finally:
        working.cancel()
        leaving.cancel()
        await asyncio.wait({working, leaving})


async def _reader_leaves(request: Request) -> None:
    while (await request.receive())["type"] != "http.disconnect":
        pass
