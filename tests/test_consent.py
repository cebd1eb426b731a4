"""Whoever sits at the terminal is asked before a tool is called, and nobody else can agree."""

from __future__ import annotations

import io
import os
import pty
import threading
from collections.abc import Iterator
from typing import TextIO

import pytest

from llm_core.consent import KeyboardConsent
from llm_core.messages import FunctionCall, ToolCall
from llm_core.terminal import Screen

CALL = ToolCall(id="c", function=FunctionCall(name="files.write", arguments='{"path": "a\x1b[2J"}'))


@pytest.fixture
def keyboard() -> Iterator[tuple[TextIO, int]]:
    """A terminal, and the end at which is typed."""
    typed, shown = pty.openpty()
    with os.fdopen(shown, "r") as terminal:
        yield terminal, typed
    os.close(typed)


@pytest.mark.parametrize(("answer", "may"), [("y", True), ("YES", True), ("n", False), ("", False), ("yellow", False)])
def test_only_a_yes_is_a_yes(keyboard: tuple[TextIO, int], answer: str, may: bool) -> None:
    notes = io.StringIO()
    os.write(keyboard[1], f"{answer}\n".encode())
    assert KeyboardConsent(Screen(io.StringIO(), notes), keyboard[0])(CALL) is may
    assert 'files.write with {"path": "a[2J"}' in notes.getvalue(), "nothing that the model wrote commands the terminal"


def test_where_there_is_no_terminal_nobody_agrees() -> None:
    notes = io.StringIO()
    assert KeyboardConsent(Screen(io.StringIO(), notes), io.StringIO("y\n"))(CALL) is False
    assert "not called" in notes.getvalue()


def test_who_stops_the_reply_is_not_waited_for_and_keeps_the_line(keyboard: tuple[TextIO, int]) -> None:
    consent = KeyboardConsent(Screen(io.StringIO(), io.StringIO()), keyboard[0])
    answers: list[bool] = []
    asking = threading.Thread(target=lambda: answers.append(consent(CALL)))
    asking.start()
    while asking.is_alive():
        consent.stop()
        asking.join(0.05)
    os.write(keyboard[1], b"the next message\n")
    assert (answers, keyboard[0].readline()) == ([False], "the next message\n")
