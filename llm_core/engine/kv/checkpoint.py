"""A copy of the recurrent state of a sequence, to go back to."""

from __future__ import annotations

from collections.abc import Iterable
from dataclasses import dataclass

from llm_core.engine.llama.arrays import State

MOST_CHECKPOINTS = 8
"""Of one conversation."""


@dataclass(frozen=True, slots=True)
class Checkpoint:
    """What cannot be cut of a sequence, as it was after its first `length` tokens."""

    length: int
    state: State


def size_of(checkpoints: Iterable[Checkpoint]) -> int:
    """Bytes of their states."""
    return sum(each.state.nbytes for each in checkpoints)


def last_of(checkpoints: Iterable[Checkpoint], length: int) -> Checkpoint | None:
    """The last one that is not behind `length`."""
    return max((each for each in checkpoints if each.length <= length), key=lambda each: each.length, default=None)


def thinned(checkpoints: Iterable[Checkpoint]) -> tuple[Checkpoint, ...]:
    """At most `MOST_CHECKPOINTS`, in the order of their lengths.

    Of too many the one goes that stands nearest behind another, the last two excepted: what stays reaches back to the
    start.
    """
    kept = sorted(checkpoints, key=lambda each: each.length)
    while len(kept) > MOST_CHECKPOINTS:
        gaps = [kept[place].length - (kept[place - 1].length if place else 0) for place in range(len(kept) - 2)]
        del kept[gaps.index(min(gaps))]
    return tuple(kept)
