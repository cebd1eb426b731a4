"""How a reply is timed, and how many timings become one figure."""

from __future__ import annotations

import math
import time
from collections.abc import AsyncGenerator, Iterable, Mapping, Sequence
from contextlib import aclosing
from dataclasses import dataclass
from itertools import pairwise

from bench.systems import APP, LLAMA_SERVER, Piece
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

    @property
    def token_rate(self) -> float:
        """Tokens per second after the first piece, NaN of one piece. Where pieces are longer than a token, this is not
        `decode_rate`."""
        if len(self.arrivals) < 2:
            return math.nan
        return (self.tokens - 1) / (self.arrivals[-1] - self.arrivals[0])

    @property
    def tokens_read(self) -> int:
        """Tokens of the prompt that were computed, which are those that no cache had.

        Raises:
            NoReply: The system did not say what it used.
        """
        if self.usage is None:
            raise NoReply("the system does not tell its usage")
        return self.usage.prompt_tokens - self.usage.cached_tokens


class NoReply(Exception):
    """A system sent no text at all, or not what it used, so there is nothing to measure."""


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


def to_llama_server(figures: Mapping[str, float], *names: str) -> dict[str, float]:
    """Our app's figures over llama-server's, where both were measured."""
    pairs = {name: (figures.get(f"{APP}.{name}"), figures.get(f"{LLAMA_SERVER}.{name}")) for name in names}
    return {f"{name}_to_llama_server": ours / theirs for name, (ours, theirs) in pairs.items() if ours and theirs}
