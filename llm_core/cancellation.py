"""A stop that works from any thread, before, while and after the request runs."""

from __future__ import annotations

import threading
from collections.abc import Callable


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
