"""Server-sent events: how they are written, kept alive, and ended however the reader leaves."""

from __future__ import annotations

import json
from collections.abc import AsyncGenerator, AsyncIterator, Callable
from contextlib import aclosing
from typing import Any, TypeVar

from starlette.responses import StreamingResponse
from starlette.types import Receive, Scope, Send

from llm_core.web.paced import paced

T = TypeVar("T")

KEEP_ALIVE_SECONDS = 15.0
HEADERS = {"Cache-Control": "no-cache", "X-Accel-Buffering": "no"}  # the second one keeps nginx from buffering


def sse(data: dict[str, Any], number: int | None = None) -> str:
    """One event; with a number, from which a reader can go on after a lost connection."""
    line = f"data: {json.dumps(data, ensure_ascii=False, separators=(',', ':'))}\n\n"
    return line if number is None else f"id: {number}\n{line}"


class EventStream(StreamingResponse):
    """A response of server-sent events, and the one place where their source is closed.

    Starlette cancels a response whose reader has left, which may leave its iterator half read; only closing it stops
    the engine, and the garbage collector would do that at a time of its own.
    """

    media_type = "text/event-stream"

    def __init__(self, source: AsyncGenerator[Any], lines: AsyncIterator[str]) -> None:
        super().__init__(lines, headers=HEADERS)
        self._source = source

    async def __call__(self, scope: Scope, receive: Receive, send: Send) -> None:
        async with aclosing(self._source):
            await super().__call__(scope, receive, send)


async def lines(
    source: AsyncGenerator[T], write: Callable[[T], str], fail: Callable[[Exception], str]
) -> AsyncGenerator[str]:
    """Each item as it comes, a comment after 15 s of silence; an error becomes the last line.

    Args:
        write: An item as one or more events.
        fail: An error as an event: once the stream has begun it can only be told as one.
    """
    try:
        async with aclosing(paced(source, interval=0.0, heartbeat=KEEP_ALIVE_SECONDS)) as groups:
            async for group in groups:
                yield "".join(map(write, group)) if group else ": keep-alive\n\n"
    except Exception as error:
        yield fail(error)


async def after_first(source: AsyncGenerator[T]) -> AsyncGenerator[T]:
    """`source`, once its first item is there: a request that is refused must still get its own status.

    Raises:
        Whatever `source` raises before its first item.
    """

    async def all_of_it() -> AsyncGenerator[T]:
        async with aclosing(source):
            first = await anext(source)
            yield first  # taken below: only a generator that has begun closes `source` when it is closed
            yield first
            async for item in source:
                yield item

    begun = all_of_it()
    await anext(begun)
    return begun
