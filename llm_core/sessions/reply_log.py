"""The events of one reply while it is made, kept so that readers can come, go and come back.

The log has each event once, however many read it and however slowly: a reader is nothing but a place in it.
"""

from __future__ import annotations

import asyncio
import math
import threading
from collections.abc import AsyncGenerator, Callable, Generator

from llm_core.errors import LLMError
from llm_core.events import ChatEvent
from llm_core.sessions.records import NumberedEvent


class ReplyLog:
    """Events numbered from 1. Safe from any thread and any event loop."""

    def __init__(self) -> None:
        self._changed = threading.Condition()
        self._events: list[ChatEvent] = []
        self._ended = False
        self._error: LLMError | None = None
        self._wake: set[Callable[[], None]] = set()

    def __len__(self) -> int:
        return len(self._events)

    @property
    def ended(self) -> bool:
        return self._ended

    def is_over(self, after: float = math.inf) -> bool:
        """Whether it has ended, and nothing follows event number `after`. An error counts as an event."""
        with self._changed:
            return self._ended and len(self._events) + (self._error is not None) <= after

    def append(self, event: ChatEvent) -> None:
        with self._changed:
            self._events.append(event)
            self._notify()

    def end(self, error: LLMError | None = None) -> None:
        """No event follows; readers who have read all of them end, with `error` where there is one."""
        with self._changed:
            self._ended, self._error = True, error
            self._notify()

    def wait(self, timeout: float, events: float = math.inf) -> bool:
        """Waits until the reply has ended or has so many events, at most `timeout` seconds. Whether it has."""
        with self._changed:
            return self._changed.wait_for(lambda: self._ended or len(self._events) >= events, timeout)

    def since(self, after: int) -> list[NumberedEvent]:
        """The events there are, without the first `after`."""
        return list(enumerate(self._events[after:], after + 1))

    def read(self, after: int = 0) -> Generator[NumberedEvent]:
        """The events, each as soon as it is there, without the first `after`.

        Raises:
            LLMError: What the reply ended with, after the events that came before.
        """
        while True:
            with self._changed:
                while not self._ended and len(self._events) <= after:
                    self._changed.wait()
                new, ended = self.since(after), self._ended
            yield from new
            after += len(new)
            if ended:
                break
        if self._error is not None:
            raise self._error

    async def aread(self, after: int = 0) -> AsyncGenerator[NumberedEvent]:
        """`read` for event loops."""
        loop = asyncio.get_running_loop()
        arrived = asyncio.Event()

        def wake() -> None:
            loop.call_soon_threadsafe(arrived.set)

        with self._changed:
            self._wake.add(wake)
        try:
            while True:
                arrived.clear()
                ended = self._ended  # first: what came before the end must be read too
                new = self.since(after)
                for numbered in new:
                    yield numbered
                after += len(new)
                if ended:
                    break
                if not new:
                    await arrived.wait()
        finally:
            with self._changed:
                self._wake.discard(wake)
        if self._error is not None:
            raise self._error

    def _notify(self) -> None:
        self._changed.notify_all()
        for wake in [*self._wake]:
            try:
                wake()
            except RuntimeError:  # that reader's event loop has been closed
                self._wake.discard(wake)
