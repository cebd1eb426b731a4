"""A request at one of several models: counted until its reply has ended, and told at its end which model it was."""

from __future__ import annotations

import threading
from collections.abc import Callable
from dataclasses import replace
from typing import Any

from llm_core.backends.backend import Submission
from llm_core.backends.member import Member
from llm_core.errors import LLMError
from llm_core.events import ChatEvent, Done
from llm_core.reading import Sink


class Counted:
    """A request's sink, which says once that the reply has ended."""

    def __init__(self, sink: Sink[Any], ended: Callable[[], None]) -> None:
        self._sink, self._ended, self._lock, self._is_over = sink, ended, threading.Lock(), False

    def __call__(self, event: Any) -> None:
        try:
            self._sink(event)
        finally:
            if isinstance(event, (Done, LLMError)):
                self.end()

    def end(self) -> None:
        with self._lock:
            first, self._is_over = not self._is_over, True
        if first:
            self._ended()


class Named:
    """A model's submission, whose end says which model it was."""

    def __init__(self, inner: Submission[Any], member: Member) -> None:
        self._inner, self._member = inner, member
        self.cancel = inner.cancel

    def translate(self, event: Any) -> list[ChatEvent]:
        events = self._inner.translate(event)
        if events and isinstance(events[-1], Done):
            events[-1] = replace(events[-1], model=self._member.name)
        return events
