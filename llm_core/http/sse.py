"""Server-sent events: how they are written, kept alive, and ended however the reader leaves."""

from __future__ import annotations

import asyncio
import json
from collections.abc import AsyncGenerator, Callable
from contextlib import aclosing
from typing import Any, Generic, Self, TypeVar

from starlette.responses import StreamingResponse
from starlette.types import Message, Receive, Scope, Send

T = TypeVar("T")

KEEP_ALIVE_SECONDS = 15.0
HEADERS = {"Cache-Control": "no-cache", "X-Accel-Buffering": "no"}  # the second one keeps nginx from buffering


def sse(data: dict[str, Any], number: int | None = None) -> str:
    """One event; with a number, from which a reader can go on after a lost connection."""
    line = f"data: {json.dumps(data, ensure_ascii=False, separators=(',', ':'))}\n\n"
    return line if number is None else f"id: {number}\n{line}"


class EventStream(StreamingResponse, Generic[T]):
    """A response of server-sent events: it fills silence, and is the one place where their source is closed.

    Starlette cancels a response whose reader has left, which may leave its iterator half read; only closing it stops
    the engine, and the garbage collector would do that at a time of its own.

    Args:
        source: What is told, item by item.
        write: An item as one or more events.
        fail: An error as an event: once the stream has begun it can only be told as one.
        head: Sent before the first item.
        tail: Sent after the last one, unless there was an error.
        ended: Called at the end, however it comes.
    """

    media_type = "text/event-stream"

    def __init__(
        self,
        source: AsyncGenerator[T],
        write: Callable[[T], str],
        fail: Callable[[Exception], str],
        *,
        head: str = "",
        tail: str = "",
        ended: Callable[[], object] | None = None,
    ) -> None:
        super().__init__(self._lines(), headers=HEADERS)
        self._source, self._first = source, list[T]()
        self._write, self._fail = write, fail
        self._head, self._tail = head, tail
        self._ended = ended

    async def begun(self) -> Self:
        """Itself, once its first item is there: a request that is refused must still get its own status.

        Raises:
            Whatever the source raises before its first item.
        """
        self._first.append(await anext(self._source))
        return self

    async def __call__(self, scope: Scope, receive: Receive, send: Send) -> None:
        try:
            async with aclosing(self._source):
                await super().__call__(scope, receive, send)
        finally:
            if self._ended is not None:
                self._ended()

    async def _lines(self) -> AsyncGenerator[str]:
        if self._head:
            yield self._head
        try:
            for item in self._first:
                yield self._write(item)
            async for item in self._source:
                yield self._write(item)
        except Exception as error:
            yield self._fail(error)
        else:
            if self._tail:
                yield self._tail

    async def stream_response(self, send: Send) -> None:
        """Starlette's, and a comment after 15 s of silence.

        One task for the whole stream sees to that. A wait with a limit would take a task for each event, which would be
        the dearest part of sending it.
        """
        clock = asyncio.get_running_loop().time
        turns, sent_at = asyncio.Lock(), clock()

        async def send_in_turn(message: Message) -> None:
            nonlocal sent_at
            async with turns:
                await send(message)
            sent_at = clock()

        async def fill_silence() -> None:
            while True:
                await asyncio.sleep(sent_at + KEEP_ALIVE_SECONDS - clock())
                if clock() >= sent_at + KEEP_ALIVE_SECONDS:
                    await send_in_turn({"type": "http.response.body", "body": b": keep-alive\n\n", "more_body": True})

        filling = asyncio.create_task(fill_silence())
        try:
            await super().stream_response(send_in_turn)
        finally:
            filling.cancel()
