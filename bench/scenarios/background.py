"""Streams that run on and on behind what is measured, each with the times at which its text came."""

from __future__ import annotations

import asyncio
import time
from collections.abc import AsyncIterator
from contextlib import aclosing, asynccontextmanager
from dataclasses import dataclass, field
from itertools import pairwise

from bench.systems import System

_REPLY_TOKENS = 600
_QUESTION = "Tell me a very long story about the sea, chapter {number} for reader {reader}. Write on and on."


@dataclass
class RunningStream:
    """One reader who asks for the next chapter as soon as one ends.

    Attributes:
        chapters: When the pieces of each came, in seconds of `time.perf_counter`.
        task: Reads them; who cancels it has the reader leave.
    """

    chapters: list[list[float]] = field(default_factory=list)
    task: asyncio.Task[None] | None = None

    def gaps(self, start: float, end: float) -> list[float]:
        """Seconds between neighbouring pieces of one reply, for the pieces that came between two moments.

        The wait for a chapter's first piece is no gap: nobody was reading yet. One that is still open at `end` counts.
        """
        found: list[float] = []
        for number, arrivals in enumerate(self.chapters):
            is_open = number == len(self.chapters) - 1
            moments = [*arrivals, end] if is_open and arrivals and arrivals[-1] < end else arrivals
            found += [later - earlier for earlier, later in pairwise(moments) if later > start and earlier < end]
        return found

    async def read(self, system: System, reader: int) -> None:
        while True:
            arrivals: list[float] = []
            self.chapters.append(arrivals)
            question = _QUESTION.format(number=len(self.chapters), reader=reader)
            stream = system.stream([{"role": "user", "content": question}], _REPLY_TOKENS, f"reader-{reader}")
            async with aclosing(stream):
                async for piece in stream:
                    if isinstance(piece, str):
                        arrivals.append(time.perf_counter())  # noqa: PERF401 - others read the list as it grows


@asynccontextmanager
async def running_streams(system: System, count: int, *, pieces: int = 8) -> AsyncIterator[list[RunningStream]]:
    """`count` streams that all have sent `pieces` pieces when the block begins, and end with it."""
    streams = [RunningStream() for _ in range(count)]
    tasks = [asyncio.create_task(stream.read(system, number)) for number, stream in enumerate(streams)]
    for stream, task in zip(streams, tasks, strict=True):
        stream.task = task
    try:
        while any(sum(map(len, stream.chapters)) < pieces for stream in streams):
            for task in tasks:
                if task.done():
                    task.result()
            await asyncio.sleep(0.02)
        yield streams
    finally:
        for task in tasks:
            task.cancel()
        await asyncio.gather(*tasks, return_exceptions=True)
