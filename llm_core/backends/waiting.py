"""A request whose model is not ready: it tells its reader how far that is, and goes to the model when it is there."""

from __future__ import annotations

import threading
import time
from collections.abc import Callable
from concurrent.futures import Future
from concurrent.futures import TimeoutError as NotYet
from typing import Any

from llm_core.backends.backend import LoadStatus, Submission
from llm_core.cancellation import Cancellation
from llm_core.errors import LLMError, TimedOut
from llm_core.events import ChatEvent, Done, Loading, Timings, Usage
from llm_core.reading import Sink

LOOK_SECONDS = 0.25  # between two looks at how far loading is


class WaitingSubmission:
    """A request that waits for its model, on a thread of its own.

    Args:
        start: Begins to load the model, or says that it has been.
        status: How far that is.
        submit: Hands the request in; None where the model has gone again meanwhile.
        sink: Gets `Loading`, then what the model's own backend sends, or an error.
        timeout: Seconds that the model may take.
        ended: Called when it waits no more, however that came.
    """

    def __init__(
        self,
        start: Callable[[], Future[Any]],
        status: Callable[[], LoadStatus],
        submit: Callable[[], Submission[Any] | None],
        sink: Sink[Any],
        timeout: float,
        ended: Callable[[], None],
    ) -> None:
        self._start, self._status, self._submit, self._sink = start, status, submit, sink
        self._ended = ended
        self._deadline = time.monotonic() + timeout
        self._cancellation = Cancellation()
        self._handed_in = threading.Event()
        self._inner: Submission[Any] | None = None
        self._is_handing_in = False
        threading.Thread(target=self._run, name="llm-waiting", daemon=True).start()

    def translate(self, event: Any) -> list[ChatEvent]:
        if isinstance(event, Loading):
            return [event]
        if self._is_handing_in:  # its first events may be read before it has been handed in as a whole
            self._handed_in.wait()
        if self._inner is not None:
            return self._inner.translate(event)
        if isinstance(event, LLMError):
            raise event
        return [event]

    def cancel(self) -> None:
        self._cancellation.cancel()

    def _run(self) -> None:
        try:
            while self._inner is None:
                if not self._is_ready():
                    self._sink(Done("cancelled", Usage(), Timings()))
                    return
                self._is_handing_in = True
                self._inner = self._submit()
                self._is_handing_in = self._inner is not None
        except LLMError as error:
            self._is_handing_in = False
            self._sink(error)
        except RuntimeError:  # the reader's event loop is closed
            return
        else:
            self._cancellation.bind(self._inner.cancel)
        finally:
            self._handed_in.set()
            self._ended()

    def _is_ready(self) -> bool:
        """Waits for the model. False: the request was cancelled meanwhile."""
        before: LoadStatus | None = None
        while not self._cancellation.cancelled:
            try:
                self._start().result(LOOK_SECONDS)
            except NotYet:
                status = self._status()
                if status != before:
                    self._sink(Loading(status.message, status.progress))
                before = status
                if time.monotonic() > self._deadline:
                    raise TimedOut(f"The model was not ready in the time of the request. {status.message}") from None
            else:
                return True
        return False
