"""How a reply is timed, and how many timings become one figure."""

from __future__ import annotations

import math
import time
from collections.abc import AsyncGenerator, Iterable, Sequence
from contextlib import aclosing
from dataclasses import dataclass
from itertools import pairwise

from bench.systems import Piece
from llm_core.events import Usage


@dataclass(frozen=True, slots=True)
class Reply:
    """One streamed reply as its reader saw it.

    Attributes:
        asked_at: When the request was made, in seconds of `time.perf_counter`.
        arrivals: When each piece of text came, on the same clock.
        text: All pieces joined.
        usage: What the system said that it used, where it says so.
    """

    asked_at: float
    arrivals: tuple[float, ...]
    text: str
    usage: Usage | None

    @property
    def first_token(self) -> float:
        """Seconds until the first piece."""
        return self.arrivals[0] - self.asked_at

    @property
    def gaps(self) -> list[float]:
        """Seconds between each two pieces."""
        return [later - earlier for earlier, later in pairwise(self.arrivals)]

    @property
    def tokens(self) -> int:
        """Tokens generated: the system's own count, or the number of pieces where it keeps none."""
        return self.usage.completion_tokens if self.usage else len(self.arrivals)

    @property
    def decode_rate(self) -> float:
        """Pieces per second after the first one. The prompt's share of the time is not in it."""
        return (len(self.arrivals) - 1) / (self.arrivals[-1] - self.arrivals[0])


class NoReply(Exception):
    """A system sent no text at all, so there is nothing to measure."""


async def timed(stream: AsyncGenerator[Piece]) -> Reply:
    """Reads a stream to its end.

    Raises:
        NoReply: No text came.
    """
    asked_at = time.perf_counter()
    arrivals: list[float] = []
    texts: list[str] = []
    usage: Usage | None = None
    async with aclosing(stream):
        async for piece in stream:
            if isinstance(piece, Usage):
                usage = piece
                continue
            arrivals.append(time.perf_counter())
            texts.append(piece)
    if not arrivals:
        raise NoReply("the reply was empty")
    return Reply(asked_at, tuple(arrivals), "".join(texts), usage)


async def first_token(stream: AsyncGenerator[Piece]) -> float:
    """Seconds until the first text; the rest is not waited for."""
    asked_at = time.perf_counter()
    async with aclosing(stream):
        async for piece in stream:
            if isinstance(piece, str):
                return time.perf_counter() - asked_at
    raise NoReply("the reply was empty")


def percentile(values: Iterable[float], percent: float) -> float:
    """The smallest value that at least `percent` % of the values do not exceed; NaN of none."""
    ordered = sorted(values)
    if not ordered:
        return math.nan
    return ordered[max(0, math.ceil(len(ordered) * percent / 100) - 1)]


def median(values: Sequence[float]) -> float:
    """NaN of none."""
    ordered = sorted(values)
    if not ordered:
        return math.nan
    middle = len(ordered) // 2
    return ordered[middle] if len(ordered) % 2 else (ordered[middle - 1] + ordered[middle]) / 2
