"""One generation of a backend, for the reader of it and for those who watch every reply."""

from __future__ import annotations

import asyncio
from collections.abc import Callable, Sequence
from typing import Generic

from llm_core.backends.backend import Backend
from llm_core.cancellation import Cancellation
from llm_core.completion_request import AnyRequest
from llm_core.events import ChatEvent, reloaded
from llm_core.reading import Event, Sink

Watcher = Callable[[ChatEvent], None]


class Generation(Generic[Event]):
    """What a backend makes of one request: a `llm_core.reading.Source`.

    Args:
        cancellation: Stops it, before, while and after it is submitted.
        watch: Each makes a watcher, which is called with every event before the reader gets it.
    """

    def __init__(
        self,
        backend: Backend[Event],
        request: AnyRequest,
        cancellation: Cancellation,
        watch: Sequence[Callable[[], Watcher]] = (),
    ) -> None:
        self._backend, self._request, self._watch = backend, request, watch
        self._left = Cancellation()
        cancellation.bind(self._left.cancel)

    def begin(self, sink: Sink[Event]) -> None:
        self._translate = self._left.begin(self._backend.submit, self._request, sink).translate
        self._watchers = [make() for make in self._watch]

    async def abegin(self, sink: Sink[Event]) -> None:
        # A long conversation takes the template and the tokenizer some time, which other tasks need not wait for.
        await asyncio.to_thread(self.begin, sink)

    def take(self, event: Event) -> list[ChatEvent]:
        events = self._translate(event)
        for each in events:
            if not isinstance(each, ChatEvent):
                raise reloaded()
            for watcher in self._watchers:
                watcher(each)
        return events

    def leave(self) -> None:
        self._left.cancel()
