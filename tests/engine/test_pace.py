"""Chunks of prompts fill the time of a step, on machines of every speed, also when that changes."""

from __future__ import annotations

import random
from dataclasses import dataclass
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

    def steps(self, pace: Pace, count: int, *, spent: float = 0.0) -> tuple[float, float]:
        """Tokens and seconds of a usual step, once the pace is found."""
        noise = random.Random(count)
        told = []
        for _ in range(count):
            tokens = min(512, pace.prefill_budget(spent))
            seconds = (self.call + self.token * tokens) * noise.lognormvariate(0, 0.2)
            pace.observe(tokens, seconds)
            told.append((tokens, seconds))
        tokens_of, seconds_of = zip(*told[15:], strict=True)
        return median(tokens_of), median(seconds_of)


@pytest.mark.parametrize(
    "machine",
    [Machine(), Machine(token=0.012), Machine(call=0.002, token=0.0003), Machine(call=0.02, token=0.015)],
    ids=["usual", "deep", "fast", "slow"],
)
def test_a_step_takes_its_target_time(machine: Machine) -> None:
    _, seconds = machine.steps(Pace(TARGET), 60)

    assert 0.75 * TARGET < seconds < 1.25 * TARGET


@pytest.mark.parametrize("spent", [0.05, 0.08, 0.5])
def test_prompts_get_a_share_of_the_step_however_long_decoding_took(spent: float) -> None:
    _, seconds = Machine().steps(Pace(TARGET), 60, spent=spent)

    assert 0.3 * TARGET < seconds < 0.65 * TARGET


def test_where_the_target_cannot_be_met_chunks_are_small_but_not_so_small_that_calls_are_all_they_pay_for() -> None:
    tokens, _ = Machine(call=3.0, token=0.3).steps(Pace(TARGET), 60, spent=3.0)

    assert tokens == 4


def test_the_pace_is_found_again_when_the_machine_has_no_other_work_any_more() -> None:
    pace = Pace(TARGET)
    Machine(call=1.0, token=0.01).steps(pace, 40)
    _, seconds = Machine().steps(pace, 60)

    assert 0.75 * TARGET < seconds < 1.25 * TARGET


def test_where_running_replies_take_the_whole_step_prompts_still_get_a_part_of_it() -> None:
    pace = Pace(TARGET)
    for _ in range(200):
        pace.observe(100, TARGET / 10)

    assert pace.prefill_budget(0.0) == 1000
    assert pace.prefill_budget(TARGET) == pace.prefill_budget(9.0) == 400
