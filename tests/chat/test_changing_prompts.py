"""Who spoils the prefix of every prompt with the time of day at its head is told so, once."""

from __future__ import annotations

import pytest

from llm_core.chat.changing_prompts import LEAST_CHARS, TIMES, ChangingPrompts

RULES = "Be short, kind and true. " * (LEAST_CHARS // 20)


def told(caplog: pytest.LogCaptureFixture, *asked: tuple[str, str]) -> list[str]:
    """What the log says of these owners' prompts, one after another."""
    prompts = ChangingPrompts()
    for owner, system in asked:
        prompts.look(owner, system)
    return caplog.messages


def clock(owner: str, count: int = TIMES + 5, text: str = "It is 10:{:02}. " + RULES) -> list[tuple[str, str]]:
    return [(owner, text.format(minute)) for minute in range(count)]


def test_the_time_of_day_at_the_head_is_said_once_for_each_owner(caplog: pytest.LogCaptureFixture) -> None:
    first, second = told(caplog, *clock("name:ann"), *clock("name:bob"))

    assert first.startswith("The system prompts of name:ann differ from character ")
    assert "at the end" in first
    assert "name:bob" in second


@pytest.mark.parametrize(
    "asked",
    [
        clock("", TIMES),
        clock("", text=RULES + "It is 10:{:02}."),
        clock("", text="It is 10:{:02}. Be short."),
        [("", RULES)] * 20,
        [("", f"You talk with {name}. {RULES}") for _ in range(20) for name in ("Ann", "Bob", "Eve")],
        [(f"name:{number}", system) for number, (_, system) in enumerate(clock(""))],
        [("", f"{number} " * 40 + RULES) for number in range(10, 30)],
    ],
    ids=["seldom", "at the end", "short", "the same", "by turns", "of many owners", "others"],
)
def test_other_prompts_are_nobodys_business(caplog: pytest.LogCaptureFixture, asked: list[tuple[str, str]]) -> None:
    assert told(caplog, *asked) == []
