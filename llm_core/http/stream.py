"""A response whose source is told item by item, and closed however the reader leaves."""

from __future__ import annotations

from collections.abc import AsyncGenerator, Callable
from contextlib import aclosing
from typing import Generic, Self, TypeVar

from starlette.responses import StreamingResponse
from starlette.types import Receive, Scope, Send

T = TypeVar("T")

HEADERS = {"Cache-Control": "no-cache", "X-Accel-Buffering": "no"}  # the second one keeps nginx from buffering


class Stream(StreamingResponse, Generic[T]):
    """The one place where the source of a streamed answer is closed.

    Starlette cancels a response whose reader has left, which may leave its iterator half read; only closing it stops
    the engine, and the garbage collector would do that at a time of its own.

    Args:
        source: What is told, item by item.
        write: An item as text that can stand alone.
        fail: The same of an error: once the stream has begun it can only be told in it.
        head: Sent before the first item.
        tail: Sent after the last one, unless there was an error.
        ended: Called at the end, however it comes.
    """

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
