"""The report: which figures are held to what."""

from __future__ import annotations

import json
import math
from pathlib import Path

import pytest

from bench import report
from bench.lab import QUICK, Findings
from bench.targets import FIGURES, Line, Unit, lines, written

REACHED = {"single.engine_to_bare": 0.98, "dropped.app.after_less_a_step_ratio": 1.4}
MISSED = {"single.engine_to_bare": 0.90, "dropped.app.after_less_a_step_ratio": 2.4}


def line_of(figures: dict[str, float], key: str) -> Line:
    return next(line for line in lines(figures) if line.key == key)


@pytest.mark.parametrize("key", REACHED)
def test_a_figure_is_reached_or_missed_on_its_own_side_of_the_bound(key: str) -> None:
    assert line_of(REACHED, key).reached is True
    assert line_of(MISSED, key).reached is False


def test_a_figure_that_was_not_measured_has_reached_nothing() -> None:
    assert lines({}) == []
    assert line_of({"single.engine_to_bare": math.nan}, "single.engine_to_bare").reached is False


def test_only_our_own_systems_are_held_to_a_figure_that_all_have() -> None:
    figures = {"dropped.app.after_less_a_step_ratio": 1.0, "dropped.llama_cpp.server.after_less_a_step_ratio": 30.0}
    theirs = line_of(figures, "dropped.llama_cpp.server.after_less_a_step_ratio")
    assert theirs.label.startswith("llama_cpp.server: ")
    assert (theirs.target, theirs.reached) == ("", None)


def test_the_report_says_for_each_figure_what_it_should_reach_and_whether_it_did() -> None:
    found = {
        "single": Findings({"engine_to_bare": 0.98, "engine_to_llama": 0.5}),
        "http": Findings({"gap_p50_ratio": math.nan}),
    }
    text = report.text(found)
    assert "0.98   target ≥ 0.97: reached" in text
    assert "0.50   target ≥ 1.00: NOT REACHED" in text
    assert "nan   target ≤ 1.02: not measured" in text


def test_ratios_to_llama_server_are_held_to_a_figure_and_a_column_without_a_feature_is_not() -> None:
    assert line_of({"throughput.8_users.gap_p95": 1.3}, "throughput.8_users.gap_p95").reached is False
    figures = {"restart.app.after_restart_to_cold": 0.9, "restart.app LLM_KV_DISK_MB=0.after_restart_to_cold": 0.9}
    assert {line.key: line.reached for line in lines(figures)} == {
        key: None if "=0" in key else False for key in figures
    }


def test_what_was_not_measured_is_said_in_its_place() -> None:
    assert "is not installed" in report.text({"swa": Findings(skipped="The model is not installed.")})


def test_the_json_has_every_figure_and_null_for_what_is_no_number() -> None:
    found = {"single": Findings({"engine_to_bare": 0.98, "odd": math.nan}, raw={"rates": [1.0, math.inf]})}
    content = json.loads(report.document(found, QUICK, Path("a.gguf"), 2))
    assert content["figures"] == {"single.engine_to_bare": 0.98, "single.odd": None}
    assert content["raw"]["single"]["rates"] == [1.0, None]
    assert content["targets"][0]["reached"] is True


def test_every_printed_figure_belongs_to_a_scenario() -> None:
    assert {figure.key.split(".")[0] for figure in FIGURES} == set(report.TITLES)


@pytest.mark.parametrize(
    ("value", "unit", "text"),
    [
        (0.0123, "seconds", "12 ms"),
        (7.5, "seconds", "7.50 s"),
        (0.9749, "ratio", "0.97"),
        (0.031, "percent", "3.1%"),
        (-0.02, "percent", "-2.0%"),
        (3382.0, "tokens", "3,382 tokens"),
    ],
)
def test_numbers_are_written_with_their_unit(value: float, unit: Unit, text: str) -> None:
    assert written(value, unit) == text
