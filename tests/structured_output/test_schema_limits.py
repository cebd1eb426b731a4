"""No schema crashes or stalls the process: each is held or refused, with its place."""

from __future__ import annotations

import json
import subprocess
import sys
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import pytest

from llm_core.errors import InvalidRequest
from llm_core.structured_output.limits import Budget
from llm_core.structured_output.schema import hold
from tests.structured_output.horrors import FAILED, HELD, HORRORS, nested, objects, within

ROOT = Path(__file__).resolve().parents[2]
PLACE = "response_format.json_schema.schema"


@dataclass(frozen=True)
class Outcome:
    """What came of one schema."""

    kind: str
    said: str


@pytest.fixture(scope="module")
def outcomes() -> dict[str, Outcome]:
    """Of every schema that was tried before the process that tries them ended."""
    command = [sys.executable, "-m", "tests.structured_output.horrors"]
    ran = subprocess.run(command, cwd=ROOT, capture_output=True, text=True, check=False)
    lines = [json.loads(line) for line in ran.stdout.splitlines()]
    found = {name: Outcome(*outcome) for name, *outcome in lines if outcome}
    if ran.returncode != 0:
        tried = lines[-1][0] if lines else "starting"
        found[tried] = Outcome("crashed", f"exit status {ran.returncode}: {ran.stderr[-2_000:]}")
    return found


@pytest.mark.slow
@pytest.mark.parametrize("name", HORRORS)
def test_a_horror_is_held_or_refused_as_is_known(outcomes: dict[str, Outcome], name: str) -> None:
    assert name in outcomes, "the one before it ended the process"
    outcome, expected = outcomes[name], HORRORS[name][0]

    if expected in (HELD, FAILED):
        assert outcome.kind == expected, outcome.said
    else:
        assert outcome.kind == "refused", outcome.said
        assert expected in outcome.said
        assert outcome.said.startswith("tools.0."), "the place is named"


def refusal(schema: dict[str, Any], budget: Budget | None = None) -> str:
    with pytest.raises(InvalidRequest) as refused:
        hold(schema, PLACE, budget or Budget(), strict=True)
    return str(refused.value.param).removeprefix(PLACE).removeprefix(".")


@pytest.mark.parametrize(
    ("schema", "place"),
    [
        ({"properties": {"a": {"minItems": 20_000}}}, "properties.a.minItems"),
        ({"properties": {"a": {"items": {"multipleOf": 123_456_789}}}}, "properties.a.items.multipleOf"),
        ({"properties": {"a": {"enum": ["x" * 6_000]}}}, "properties.a.enum"),
        ({"properties": {"a": {"anyOf": [{}, {"properties": {"x" * 6_000: {}}}]}}}, "properties.a.anyOf.1.properties"),
        ({"properties": {"a": {"$ref": "https://example.com"}}}, "properties.a.$ref"),
        ({"$defs": {"b": {"pattern": "("}}, "properties": {"a": {"$ref": "#/$defs/b"}}}, "$defs.b.pattern"),
        (nested(40, lambda inner: {"items": inner}), "properties.x" + ".items" * 32),
    ],
    ids=["minItems", "multipleOf", "value", "name", "ref", "definition", "levels"],
)
def test_a_refusal_names_the_place(schema: dict[str, Any], place: str) -> None:
    assert refusal(schema) == place


def test_the_schemas_of_one_request_share_a_budget() -> None:
    budget = Budget()
    for _ in range(6):
        hold(objects(490), PLACE, budget, strict=True)

    assert refusal(objects(490), budget) == "properties"
    hold(objects(490), PLACE, Budget(), strict=True)


def test_what_many_tools_share_is_no_reason_to_refuse_one() -> None:
    budget = Budget()
    for _ in range(128):
        hold(within({"type": "string", "minLength": 1, "format": "date"}) | objects(20), PLACE, budget, strict=False)
