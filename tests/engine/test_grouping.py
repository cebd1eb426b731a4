"""Which sequences are computed together."""

from __future__ import annotations

from dataclasses import dataclass
from itertools import combinations, pairwise
from typing import Any

from hypothesis import given
from hypothesis import strategies as st

from llm_core.engine.grouping import CALL_CELLS, split_by_length


@dataclass(frozen=True)
class Long:
    """As much of a sequence as counts here."""

    length: int


def split(lengths: list[int]) -> list[list[int]]:
    running: Any = [Long(length) for length in lengths]
    return [[sequence.length for sequence in group] for group in split_by_length(running)]


def cost(groups: list[list[int]]) -> int:
    return sum(CALL_CELLS + len(group) * max(group) for group in groups)


def test_nothing_runs() -> None:
    assert split([]) == []


def test_sequences_of_much_the_same_length_are_computed_together() -> None:
    assert split([300, 600, 500, 700]) == [[300, 600, 500, 700]]


def test_one_long_conversation_does_not_slow_down_the_short_ones() -> None:
    assert split([300, 300, 3900, 300, 300]) == [[300, 300], [3900], [300, 300]]
    assert split([300, 300, 300, 300, 3900]) == [[300, 300, 300, 300], [3900]]


@given(st.lists(st.integers(1, 20_000), min_size=1, max_size=7))
def test_no_other_split_costs_less(lengths: list[int]) -> None:
    groups = split(lengths)

    assert [length for group in groups for length in group] == lengths
    cuts = range(1, len(lengths))
    every = (chosen for count in range(len(lengths)) for chosen in combinations(cuts, count))
    bounds = ([0, *chosen, len(lengths)] for chosen in every)
    best = min(cost([lengths[a:b] for a, b in pairwise(each)]) for each in bounds)
    # One group is taken without a look at others where they could save little.
    assert cost(groups) - best <= (CALL_CELLS if len(groups) == 1 else 0)
