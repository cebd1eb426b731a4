"""What the scenarios make of what they see."""

from __future__ import annotations

import asyncio
from collections.abc import AsyncGenerator, AsyncIterator
from pathlib import Path
from typing import Any

import pytest

from bench import lab
from bench.lab import QUICK, Lab, app_name, ways
from bench.scenarios import stop, swa
from bench.scenarios.echo import _copied
from bench.scenarios.overflow import fitting
from bench.scenarios.structured import holds
from bench.scenarios.swa import joined, model_parts
from bench.scenarios.throughput import _compare
from bench.systems import Messages, Piece
from llm_core.models.resolve import find
from llm_core.models.source import BundledModel
from llm_core.settings import Settings

TICKET = """{"title": "Twice", "category": "billing", "priority": "high", "call_back": true,
"customer": {"name": "Ada", "plan": "business", "country": "Norway"},
"deadline": {"weekday": "Monday", "before_noon": false}}"""


@pytest.fixture
async def quick_lab(tmp_path: Path) -> AsyncIterator[Lab]:
    async with Lab(QUICK, find(BundledModel()).path, tmp_path, {}) as quick:
        yield quick


class Later(Settings):
    draft: str = "auto"


def test_a_setting_that_is_not_there_yet_changes_nothing_and_one_that_is_gives_a_second_column(
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    monkeypatch.setattr(lab, "Settings", type("Bare", (), {"model_fields": {}}))
    assert ways("draft", "off") == [{}]
    monkeypatch.setattr(lab, "Settings", Later)
    assert ways("draft", "off") == [{}, {"draft": "off"}]


def test_a_column_is_named_after_what_is_off_in_it() -> None:
    assert app_name({}) == "app"
    assert app_name({"parallel": 1}) == "app LLM_PARALLEL=1"


def test_the_users_figures_are_compared_with_each_peer_that_was_measured() -> None:
    columns = {"first_turn_p95": 1.0, "later_turn_p95": 2.0, "gap_p95": 3.0}

    def row(users: int, system: str, rate: float) -> dict[str, Any]:
        return {"users": users, "system": system, "tokens_per_second": rate} | columns

    alone = [row(8, "app", 30.0), row(8, "llama_cpp.server", 20.0)]
    assert _compare(alone) == {"tokens_per_second_ratio": 1.5, "later_turn_p95_ratio": 1.0}
    found = _compare([*alone, row(8, "llama-server", 60.0), row(1, "app", 3.0), row(1, "llama-server", 2.0)])
    assert (found["8_users.tokens_per_second"], found["1_users.tokens_per_second"]) == (0.5, 1.5)
    assert found["8_users.gap_p95"] == 1.0


@pytest.mark.parametrize(
    ("message", "form", "right"),
    [
        ({"content": TICKET}, "reply", True),
        ({"content": TICKET[:-1]}, "reply", False),
        ({"content": None}, "reply", False),
        ({"content": TICKET}, "call", False),
        ({"content": "", "tool_calls": [{"function": {"name": "file_ticket", "arguments": TICKET}}]}, "call", True),
        ({"content": "", "tool_calls": [{"function": {"name": "file_ticket", "arguments": "{}"}}]}, "call", False),
    ],
)
def test_an_object_counts_only_where_it_holds_to_the_schema(message: dict[str, Any], form: str, right: bool) -> None:
    assert holds(message, form) is right


class Slots:
    """A system that serves so many readers at once, without an end."""

    name = "slots"

    def __init__(self, slots: int) -> None:
        self.free = asyncio.Semaphore(slots)

    async def stream(self, messages: Messages, max_tokens: int, user: str = "") -> AsyncGenerator[Piece]:
        async with self.free:
            while True:
                await asyncio.sleep(0)
                yield "text"


async def test_who_waits_gets_the_slot_of_the_reader_who_leaves(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(stop, "_WAITS_SECONDS", 0.01)
    system = Slots(2)

    took = await stop._next_in_line(system, 2, 0)
    assert took is not None
    assert took > 0
    assert system.free._value == 2, "all have left"
    assert await stop._next_in_line(Slots(3), 2, 0) is None, "nobody had to wait"


def test_what_a_reply_has_copied_is_told_in_words() -> None:
    assert _copied("one two three four", "one two four") == 1.0
    assert _copied("one two three four", "five two six three") == 0.5
    assert _copied("one", "") == 0.0


async def test_a_client_leaves_out_the_fewest_turns_that_make_room(quick_lab: Lab) -> None:
    said = [{"role": "system", "content": "Be brief."}]
    for number in range(12):
        said += [{"role": "user", "content": f"{number} " + "word " * 100}, {"role": "assistant", "content": "Yes."}]
    said.append({"role": "user", "content": "And now?"})
    kept, dropped = fitting(quick_lab, said)

    assert dropped > 0
    assert dropped % 2 == 0
    assert kept == [said[0], *said[1 + dropped :]]
    assert fitting(quick_lab, kept)[1] == 0
    assert fitting(quick_lab, [said[0], *said[1 + dropped - 2 :]])[1] == 2, "one turn more would not have fitted"


def test_a_model_in_parts_is_joined_in_their_order_once(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    packages = [f"model-of-nobody-part{number}" for number in range(1, 5)]
    monkeypatch.syspath_prepend(str(tmp_path))
    monkeypatch.setattr(swa, "PACKAGES", packages)
    assert model_parts() == [], "a package is missing"
    for number, package in enumerate(packages):
        data = tmp_path / package.replace("-", "_") / "data"
        data.mkdir(parents=True)
        (data.parent / "__init__.py").touch()
        (data / f"model.gguf.part{number:02}").write_text(str(number))
    model = joined(model_parts(), tmp_path / "model.gguf")

    assert model.read_text() == "0123"
    assert joined([], model).read_text() == "0123"
