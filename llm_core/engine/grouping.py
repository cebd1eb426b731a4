"""Which sequences are computed together: those of the same adapters, and of much the same length.

A call of llama.cpp has one set of adapters for all that is in it.
Without flash attention llama.cpp computes the attention of every sequence of a batch over as many cells as the longest
has. One long conversation would slow down all short ones, so a batch is split where a call of its own costs less.
"""

from __future__ import annotations

from collections.abc import Sequence as Row

from llm_core.engine.sequence import Sequence
from llm_core.lora import AdapterSet

# What another call costs, in cells of attention of one sequence: 12 ms against 3.5 us (bundled model, two cores).
CALL_CELLS = 3_500


def split_by_adapters(running: Row[Sequence], *, first: AdapterSet) -> list[Row[Sequence]]:
    """Groups of sequences with the same adapters, each in the order that is given.

    Args:
        running: The sequences.
        first: The adapters that are in use: their group comes first, so that in each step they change once less.
    """
    sets = {sequence.adapters for sequence in running}
    if len(sets) < 2:  # the usual case
        return [running]
    ordered = sorted(sets, key=lambda adapters: (adapters != first, adapters))
    return [[each for each in running if each.adapters == adapters] for adapters in ordered]


def split_by_length(running: Row[Sequence]) -> list[Row[Sequence]]:
    """Groups of neighbours that take the least time together.

    Args:
        running: In the order of their slots: llama.cpp computes neighbours together.
    """
    if not running:
        return []
    lengths = [sequence.length for sequence in running]
    if len(running) * (max(lengths) - min(lengths)) <= CALL_CELLS:  # the usual case
        return [running]
    starts = _cheapest_starts(lengths)
    ends = [*starts[1:], len(running)]
    return [running[start:end] for start, end in zip(starts, ends, strict=True)]


def _cheapest_starts(lengths: Row[int]) -> list[int]:
    """Where the groups of the cheapest split begin, by dynamic programming over its last group."""
    costs = [0]
    last_starts: list[int] = []
    for end in range(1, len(lengths) + 1):
        options = []
        longest = 0
        for start in range(end - 1, -1, -1):
            longest = max(longest, lengths[start])
            options.append((costs[start] + CALL_CELLS + (end - start) * longest, start))
        cost, start = min(options)
        costs.append(cost)
        last_starts.append(start)
    starts = []
    end = len(lengths)
    while end:
        end = last_starts[end - 1]
        starts.append(end)
    return starts[::-1]
