"""The one backend that says what a test tells it to; above it everything is the real thing."""

from __future__ import annotations

import threading
from collections.abc import Callable, Iterable
from concurrent.futures import Future
from contextlib import suppress

from llm_core.backends.backend import Backend, LoadStatus
from llm_core.backends.vocabulary import Vocabulary
from llm_core.completion_request import AnyRequest
from llm_core.embedding import VectorRequest
from llm_core.engine.facts import EngineStats
from llm_core.errors import InvalidRequest
from llm_core.events import ChatEvent, Done, Timings, Usage
from llm_core.models.info import ModelInfo
from llm_core.reading import Sink
from llm_core.request import ChatRequest

ScriptedEvent = ChatEvent | BaseException
Script = Callable[[ChatRequest, threading.Event], Iterable[ChatEvent]]
"""What is said to a request: events, or what it raises. The `Event` is set when the request is cancelled."""

CANCELLED = Done("cancelled", Usage(), Timings())
INFO = ModelInfo("scripted", "scripted", None, None, "none", "none", 0, 0, 0, None, True, False)


class ScriptedSubmission:
    """A request that is being answered by a script."""

    def __init__(self, sink: Sink[ScriptedEvent]) -> None:
        self.stopped = threading.Event()
        self._sink, self._lock, self._is_over = sink, threading.Lock(), False

    def translate(self, event: ScriptedEvent) -> list[ChatEvent]:
        if isinstance(event, BaseException):
            raise event
        return [event]

    def cancel(self) -> None:
        self.stopped.set()
        self.send(CANCELLED)

    def send(self, event: ScriptedEvent) -> None:
        with self._lock, suppress(RuntimeError):  # the reader's event loop is closed
            if not self._is_over:
                self._is_over = isinstance(event, (Done, BaseException))
                self._sink(event)

    def run(self, script: Script, request: ChatRequest) -> None:
        try:
            for event in script(request, self.stopped):
                self.send(event)
                if self.stopped.is_set():
                    return
        except BaseException as error:
            self.send(error)


class ScriptedBackend:
    """Answers each request with what `script` says to it, on a thread of its own.

    Args:
        real: Says how far the model has loaded, and what it is; None: there is one, and it has.

    Attributes:
        requests: All that were submitted.
        submissions: What became of each.
    """

    def __init__(self, script: Script, real: Backend[object] | None = None) -> None:
        self.script, self._real = script, real
        self.requests: list[ChatRequest] = []
        self.submissions: list[ScriptedSubmission] = []
        self.is_closed = False

    def start(self) -> Future[ModelInfo]:
        if self._real is not None:
            return self._real.start()
        info: Future[ModelInfo] = Future()
        info.set_result(INFO)
        return info

    def status(self) -> LoadStatus:
        return LoadStatus("ready", 1.0, "It is ready.") if self._real is None else self._real.status()

    def submit(self, request: AnyRequest, sink: Sink[ScriptedEvent]) -> ScriptedSubmission:
        assert isinstance(request, ChatRequest)
        submission = ScriptedSubmission(sink)
        self.requests.append(request)
        self.submissions.append(submission)
        threading.Thread(target=submission.run, args=(self.script, request), daemon=True).start()
        return submission

    def embed(self, request: VectorRequest, sink: Sink[ScriptedEvent]) -> ScriptedSubmission:
        raise InvalidRequest("It makes no vectors.", param="model")

    def count_tokens(self, request: ChatRequest) -> int:
        return sum(len(message.content) for message in request.messages)

    def vocabulary(self, model: str = "") -> Vocabulary:
        raise InvalidRequest("It has none.")

    def stats(self) -> EngineStats | None:
        return None

    def forget(self, owner: str, session: str) -> None:
        """Keeps nothing."""

    def also_has(self) -> tuple[str, ...]:
        return ()

    def clear_cache(self) -> None:
        """There is none."""

    def close(self) -> None:
        """Ends what still runs."""
        self.is_closed = True
        for submission in self.submissions:
            submission.cancel()
