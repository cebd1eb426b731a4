"""When a deleted session is forgotten: as soon as nobody can take that back any more."""

from __future__ import annotations

import logging
import threading
from collections.abc import Callable

from llm_core.errors import LLMError

log = logging.getLogger(__name__)


class Forgetting:
    """Timers of deletions. Safe from any thread.

    Args:
        forget: Forgets the sessions whose time has come.
    """

    def __init__(self, forget: Callable[[], None]) -> None:
        self._forget = forget
        self._lock = threading.Lock()
        self._timers: list[threading.Timer] = []

    def after(self, seconds: float) -> None:
        """Looks once so much later."""
        timer = threading.Timer(seconds, self._run)
        timer.daemon = True
        with self._lock:
            self._timers = [*(each for each in self._timers if each.is_alive()), timer]
            timer.start()

    def close(self) -> None:
        with self._lock:
            for timer in self._timers:
                timer.cancel()

    def _run(self) -> None:
        try:
            self._forget()
        except LLMError as error:  # the next turn that is begun tries it again
            log.warning("deleted sessions could not be forgotten: %s", error)
