"""Steps of several engines of one process, one after the other: they share the cores, which would else fight for them.

llama.cpp's threads wait for each other some thousand times a token. Two engines with a thread for each core would have
each wait for threads that do not run; in turns both get what the cores can do.
"""

from __future__ import annotations

import math
import threading
import time
from collections import deque
from collections.abc import Callable, Iterator
from contextlib import contextmanager

IDLE_SECONDS = 0.2


class Turns:
    """A lock that is handed on in the order in which it was asked for.

    Attributes:
        begun: How many turns have been given so far.
    """

    def __init__(self) -> None:
        self.begun = 0
        self._lock = threading.Lock()  # guards what follows
        self._waiting: deque[threading.Event] = deque()
        self._interrupt: Callable[[], None] | None = None
        self._ended_at = -math.inf

    @property
    def is_wanted(self) -> bool:
        """Whether another engine waits for its turn."""
        return bool(self._waiting)

    @property
    def is_idle(self) -> bool:
        """Whether no engine computes: a running one takes its next turn within milliseconds of the one before."""
        with self._lock:
            return self._interrupt is None and time.monotonic() - self._ended_at > IDLE_SECONDS

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
                self.begun += 1
                return
            self._waiting.append(mine)
            holder()
        mine.wait()
        self._interrupt = interrupt

    def _end(self) -> None:
        with self._lock:
            self._ended_at = time.monotonic()
            if self._waiting:
                self._interrupt = _nobody
                self.begun += 1  # here, as the thread that has it now may take a while to wake
                self._waiting.popleft().set()
            else:
                self._interrupt = None


def _nobody() -> None:
    """Stands for the one who is about to begin."""


TURNS = Turns()
"""Those of this process."""
