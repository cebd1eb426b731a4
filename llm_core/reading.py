"""How a reply's events come to whoever reads them, in a thread or on an event loop: what all twins have in common."""

from __future__ import annotations

import asyncio
import queue
from collections.abc import AsyncGenerator, Callable, Generator, Iterable
from typing import Protocol, TypeVar

from llm_core.events import ChatEvent, Done

Event = TypeVar("Event")

Sink = Callable[[Event], None]
"""Takes a reply's events as they come, on whatever thread: it must not block. `Done` or an error comes last."""


class Source(Protocol[Event]):
    """A reply for one reader."""

    def begin(self, sink: Sink[Event]) -> None:
        """Has it made; what comes of it goes into the sink. May wait."""

    async def abegin(self, sink: Sink[Event]) -> None:
        """`begin` for event loops."""

    def take(self, event: Event) -> Iterable[ChatEvent]:
        """What the reader gets for what came to the sink, in order.

        Raises:
            LLMError: It came in place of `Done`.
        """

    def leave(self) -> None:
        """Nobody reads any more: what has begun, or still does on another thread, is stopped. Safe at any time."""


def read(source: Source[Event]) -> Generator[ChatEvent]:
    """A reply's events to its end; whoever leaves before stops it."""
    came: queue.SimpleQueue[Event] = queue.SimpleQueue()
    try:
        source.begin(came.put)
        while True:
            event = came.get()
            yield from source.take(event)
            if isinstance(event, Done):
                return
    finally:
        source.leave()


async def aread(source: Source[Event]) -> AsyncGenerator[ChatEvent]:
    """`read` for event loops."""
    loop = asyncio.get_running_loop()
    came: asyncio.Queue[Event] = asyncio.Queue()

    def sink(event: Event) -> None:
        loop.call_soon_threadsafe(came.put_nowait, event)

    try:
        await source.abegin(sink)
        while True:
            event = await came.get()
            for each in source.take(event):
                yield each
            if isinstance(event, Done):
                return
    finally:
        source.leave()
