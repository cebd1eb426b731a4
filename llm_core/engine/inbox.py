"""What callers' threads hand to the engine's: requests, jobs, and the end. How many requests it has is counted here."""

from __future__ import annotations

import queue
import threading
from collections.abc import Callable
from concurrent.futures import Future
from dataclasses import dataclass

from llm_core.engine.sequence import Sequence
from llm_core.errors import LLMError, QueueFull


@dataclass(frozen=True, slots=True)
class Job:
    """Work that needs the engine's thread, between two steps."""

    work: Callable[[], None]
    done: Future[None]

    def run(self) -> None:
        try:
            self.work()
        except Exception as error:
            self.done.set_exception(error)
        else:
            self.done.set_result(None)


class Close:
    """The last command."""


Command = Sequence | Job | Close


class Inbox:
    """Commands in the order in which they came. Safe from any thread.

    Args:
        slots: Requests that run at a time.
        queue_limit: Requests that may wait beside them.
    """

    def __init__(self, *, slots: int, queue_limit: int) -> None:
        self._slots, self._queue_limit = slots, queue_limit
        self._commands: queue.SimpleQueue[Command] = queue.SimpleQueue()
        self._lock = threading.Lock()  # guards the two that follow
        self._accepted = 0
        self._refusal: LLMError | None = None

    @property
    def accepted(self) -> int:
        """Requests that have come in and not ended."""
        return self._accepted

    @property
    def refusal(self) -> LLMError | None:
        """Why nothing is taken in any more, None while it is."""
        return self._refusal

    def submit(self, sequence: Sequence) -> None:
        """Takes a request in.

        Raises:
            QueueFull: As many requests wait as may.
            LLMError: What `refuse` was given.
        """
        with self._lock:
            if self._refusal is not None:
                raise self._refusal
            if self._accepted >= self._slots + self._queue_limit:
                raise QueueFull(
                    f"{self._queue_limit} requests are waiting already. Try again in a few seconds.", retry_after=5
                )
            self._accepted += 1
            self._commands.put(sequence)

    def put(self, command: Job | Close) -> None:
        self._commands.put(command)

    def refuse(self, error: LLMError) -> None:
        """Refuses requests from now on, with the first error that this is told."""
        with self._lock:
            self._refusal = self._refusal or error

    def release(self) -> None:
        """A request has ended."""
        with self._lock:
            self._accepted -= 1

    @property
    def is_empty(self) -> bool:
        """Whether there is nothing to take."""
        return self._commands.empty()

    def take(self, *, wait: bool, seconds: float | None = None) -> Command | None:
        """The next command, None where there is none.

        Args:
            wait: Until there is one.
            seconds: The longest wait; None for any.
        """
        try:
            return self._commands.get(block=wait, timeout=seconds)
        except queue.Empty:
            return None

    def counts(self, taken: int) -> bool:
        """Whether the count is right where `taken` requests have been taken out and not ended."""
        with self._lock:
            return taken <= self._accepted <= taken + self._commands.qsize()
