"""A stop that works from any thread, before, while and after the request runs."""

from __future__ import annotations

import threading
from collections.abc import Callable
from typing import ParamSpec, Protocol, TypeVar


class Stoppable(Protocol):
    """What a `Cancellation` may stop."""

    def cancel(self) -> None:
        """Ends it soon; safe from any thread."""


P = ParamSpec("P")
Begun = TypeVar("Begun", bound=Stoppable)


class Cancellation:
    """Stops one request.

    Example:
        ```python
        cancellation = Cancellation()
        threading.Timer(2.0, cancellation.cancel).start()
        reply = client.chat(messages, cancellation=cancellation)  # finish_reason "cancelled", unless it was quick
        ```
    """

    def __init__(self) -> None:
        self._lock = threading.Lock()
        self._cancelled = False
        self._stop: Callable[[], None] | None = None

    @property
    def cancelled(self) -> bool:
        return self._cancelled

    def cancel(self) -> None:
        """The reply ends with the finish reason `cancelled`. A second call does nothing."""
        with self._lock:
            if self._cancelled:
                return
            self._cancelled, stop = True, self._stop
        if stop is not None:
            stop()

    def bind(self, stop: Callable[[], None]) -> None:
        """Says how the request is stopped, once that is known; where it is cancelled already, `stop` runs now."""
        with self._lock:
            self._stop, cancelled = stop, self._cancelled
        if cancelled:
            stop()

    def begin(self, begin: Callable[P, Begun], /, *args: P.args, **options: P.kwargs) -> Begun:
        """Begins what this stops, and stops it as soon as it is there where this is cancelled meanwhile: whoever waits
        for a thread that begins something may leave, and the thread goes on."""
        begun = begin(*args, **options)
        self.bind(begun.cancel)
        return begun
