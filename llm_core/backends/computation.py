"""Texts that a backend makes vectors of, or ranks, for the one who waits for them."""

from __future__ import annotations

import asyncio
from typing import Any

from llm_core.backends.pool import Pool
from llm_core.cancellation import Cancellation
from llm_core.embedding import Computed, Floats, VectorRequest
from llm_core.errors import TimedOut
from llm_core.events import ChatEvent, Done
from llm_core.reading import Sink, aread, read


class Computation:
    """One request: a `llm_core.reading.Source`, which keeps what was computed."""

    def __init__(self, pool: Pool, request: VectorRequest) -> None:
        self._pool, self._request = pool, request
        self._left = Cancellation()
        self._values: Floats | None = None

    def run(self) -> tuple[Floats, Done]:
        """What was computed, and how it ended.

        Raises:
            LLMError: It was refused, failed, or took longer than it may.
        """
        return self._outcome([*read(self)])

    async def arun(self) -> tuple[Floats, Done]:
        """`run` for event loops. To cancel it drops the texts that are not computed yet."""
        return self._outcome([event async for event in aread(self)])

    def _outcome(self, events: list[ChatEvent]) -> tuple[Floats, Done]:
        done = events[-1]
        if self._values is None or not isinstance(done, Done):
            raise TimedOut("The texts were not computed in the time of the request. Send fewer, or allow more.")
        return self._values, done

    # ── the source ───────────────────────────────────────────────────────────────────────────────────────────────────

    def begin(self, sink: Sink[Any]) -> None:
        self._translate = self._left.begin(self._pool.embed, self._request, sink).translate

    async def abegin(self, sink: Sink[Any]) -> None:
        await asyncio.to_thread(self.begin, sink)  # many texts take the tokenizer some time

    def take(self, event: Any) -> list[ChatEvent]:
        events = []
        for each in self._translate(event):
            if isinstance(each, Computed):
                self._values = each.values
            else:
                events.append(each)
        return events

    def leave(self) -> None:
        self._left.cancel()
