"""Chunks of prompts fill the time of a step, on machines of every speed, also when that changes."""

from __future__ import annotations

import random
from dataclasses import dataclass
from itertools import pairwise
from statistics import median

import pytest

from llm_core.engine.pace import Pace

TARGET = 0.1


@dataclass
class Machine:
    """Takes `call + n * token` seconds for n tokens, give or take a fifth.

    Its figures are those of the bundled model on two cores unless said otherwise.
    """

    call: float = 0.012
    token: float = 0.0055

    def steps(self, pace: Pace, count: int, *, spent: float = 0.0) -> list[tuple[int, float]]:
        """Tokens and seconds of each step."""
        noise = random.Random(count)
        told = []
        for _ in range(count):
            tokens = min(512, pace.prefill_budget(spent))
            seconds = (self.call + self.token * tokens) * noise.lognormvariate(0, 0.2)
            pace.observe(tokens, seconds)
            told.append((tokens, seconds))
        return told


def settled(told: list[tuple[int, float]]) -> tuple[float, float]:
    """Tokens and seconds of a usual step, once the pace is found."""
    tokens, seconds = zip(*told[10:], strict=True)
    return median(tokens), median(seconds)


@pytest.mark.parametrize(
    "machine",
    [Machine(), Machine(token=0.012), Machine(call=0.002, token=0.0003), Machine(call=0.03, token=0.02)],
    ids=["usual", "deep", "fast", "slow"],
)
def test_a_step_takes_its_target_time(machine: Machine) -> None:
    _, seconds = settled(machine.steps(Pace(TARGET), 60))

    assert 0.75 * TARGET < seconds < 1.25 * TARGET


def test_prompts_get_a_share_of_the_step_however_long_decoding_took() -> None:
    for spent in (0.05, 0.08, 0.5):
        _, seconds = settled(Machine().steps(Pace(TARGET), 60, spent=spent))

        assert 0.3 * TARGET < seconds < 0.65 * TARGET


def test_every_step_gets_on_however_slow_the_machine_is() -> None:
    told = Machine(call=3.0, token=3.0).steps(Pace(TARGET), 40)

    assert min(tokens for tokens, _ in told) == 1
    assert settled(told)[0] <= 2, "more than the target asks for would be a step of many seconds"


def test_where_a_call_costs_much_however_small_it_is_it_is_made_worth_its_cost() -> None:
    pace = Pace(TARGET)
    Machine().steps(pace, 30)
    tokens, _ = settled(Machine(call=1.0, token=0.01).steps(pace, 40, spent=1.0))

    assert tokens >= 6


def test_the_pace_is_found_again_when_the_machine_has_no_other_work_any_more() -> None:
    pace = Pace(TARGET)
    Machine(call=1.0, token=0.01).steps(pace, 40)
    _, seconds = settled(Machine().steps(pace, 40))

    assert 0.75 * TARGET < seconds < 1.25 * TARGET


def test_a_budget_grows_step_by_step() -> None:
    pace = Pace(TARGET)
    budgets = [tokens for tokens, _ in Machine(call=0.0001, token=0.00001).steps(pace, 30)]

    assert all(later <= 2 * earlier + 1 for earlier, later in pairwise(budgets))
    assert budgets[-1] == 512
