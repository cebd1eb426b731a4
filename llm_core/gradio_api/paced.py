"""A stream at the pace of a reader who pays for every update: what arrives quickly is grouped, silence is filled.

The page redraws for each update, and Gradio looks for a closed tab only between two of them.
"""

from __future__ import annotations

import asyncio
from collections.abc import AsyncGenerator, Callable
from contextlib import aclosing
from typing import Final, TypeVar

T = TypeVar("T")

_END: Final = object()


async def paced(
    source: AsyncGenerator[T], *, interval: float | Callable[[], float], heartbeat: float
) -> AsyncGenerator[list[T]]:
    """Yields what `source` has yielded since the last time, in order, nothing lost; an empty list after silence.

    Closing this generator closes `source`, also while it waits.

    Args:
        source: Is closed at the end, whatever the end is.
        interval: Least time between two groups, in seconds; a function is asked after each. The first item never waits.
        heartbeat: Longest time without a group, in seconds.

    Raises:
        Whatever `source` raises, after the items that came before it.
    """
    now = asyncio.get_running_loop().time
    group: list[T] = []
    due = now()
    async with aclosing(source):
        arriving: asyncio.Task[T | object] = asyncio.ensure_future(anext(source, _END))
        try:
            while True:
                await asyncio.wait({arriving}, timeout=max(0.0, due - now()) if group else heartbeat)
                if arriving.done():
                    if _has_ended(arriving):
                        break
                    group.append(arriving.result())  # type: ignore[arg-type]
                    arriving = asyncio.ensure_future(anext(source, _END))
                    if now() < due:
                        continue
                yield group
                group, due = [], now() + (interval() if callable(interval) else interval)
            if group:
                yield group
            arriving.result()
        finally:
            await _abandon(arriving)


def _has_ended(arriving: asyncio.Task[T | object]) -> bool:
    return arriving.exception() is not None or arriving.result() is _END


async def _abandon(arriving: asyncio.Task[T | object]) -> None:
    """Ends a read that nobody waits for any more: a generator cannot be closed while it runs."""
    if arriving.done():
        return
    arriving.cancel()
    await asyncio.wait({arriving})
