"""Asks at the keyboard whether a call of a tool may be made."""

from __future__ import annotations

import select
import sys
import threading
from typing import TextIO

from llm_core.messages import ToolCall
from llm_core.terminal import Screen

LOOK_SECONDS = 0.2
YES = frozenset({"y", "yes"})


class KeyboardConsent:
    """What `on_tool_call` is given: called on a thread of the reply, while whoever is asked may as well press Ctrl-C.

    Args:
        keyboard: Where the answer is typed. What is no terminal has nobody who could agree.
    """

    def __init__(self, screen: Screen, keyboard: TextIO | None = None) -> None:
        self._screen, self._keyboard = screen, keyboard or sys.stdin
        self._stopped = threading.Event()

    def __call__(self, call: ToolCall) -> bool:
        """Whether it may be made: yes, where the answer begins so."""
        if not self._keyboard.isatty():
            self._screen.note(f"{call.name} is not called: there is no terminal at which somebody could agree.")
            return False
        self._screen.note(f"The model wants to call {call.name} with {call.arguments}\nType y and Enter to allow it.")
        line = self._line()
        return line is not None and line.strip().lower() in YES

    def _line(self) -> str | None:
        """What is typed next; None once the reply has been stopped. Reading would keep the line from who is next."""
        self._stopped.clear()
        while not self._stopped.is_set():
            if select.select([self._keyboard], [], [], LOOK_SECONDS)[0]:
                return self._keyboard.readline()
        return None

    def stop(self) -> None:
        """Nobody waits for the answer any more."""
        self._stopped.set()
