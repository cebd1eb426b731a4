"""Steps of several engines of one process, one after the other: they share the cores, which would else fight for them.

llama.cpp's threads wait for each other some thousand times a token. Two engines with a thread for each core would have
each wait for threads that do not run; in turns both get what the cores can do.
"""

from __future__ import annotations

import threading
from collections import deque
from collections.abc import Callable, Iterator
from contextlib import contextmanager


class Turns:
    """A lock that is handed on in the order in which it was asked for."""

    def __init__(self) -> None:
        self._lock = threading.Lock()  # guards the two that follow
        self._waiting: deque[threading.Event] = deque()
        self._interrupt: Callable[[], None] | None = None

    @property
    def is_wanted(self) -> bool:
        """Whether another engine waits for its turn."""
        return bool(self._waiting)

    @contextmanager
    def take(self, interrupt: Callable[[], None]) -> Iterator[None]:
        """Waits for a turn, and has it.

        Args:
            interrupt: Called from other threads as soon as somebody waits for this turn's end.
        """
        self._begin(interrupt)
        try:
            yield
        finally:
            self._end()

    def _begin(self, interrupt: Callable[[], None]) -> None:
        with self._lock:
            holder, mine = self._interrupt, threading.Event()
            if holder is None:
                self._interrupt = interrupt
                return
            self._waiting.append(mine)
            holder()
        mine.wait()
        self._interrupt = interrupt

    def _end(self) -> None:
        with self._lock:
            if self._waiting:
                self._interrupt = _nobody
                self._waiting.popleft().set()
            else:
                self._interrupt = None


def _nobody() -> None:
    """Stands for the one who is about to begin."""


TURNS = Turns()
"""Those of this process."""
