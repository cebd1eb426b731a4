"""A client of the page whose generations a test writes, event by event, and holds up where it likes."""

from __future__ import annotations

import threading
from collections.abc import Callable, Generator

from llm_core.backends.backend import LoadStatus
from llm_core.cancellation import Cancellation
from llm_core.client import LLMClient
from llm_core.events import ChatEvent, Done, Timings, Usage
from llm_core.messages import Message
from llm_core.models.info import ModelInfo
from llm_core.request import ChatRequest
from llm_core.settings import Settings

Script = Callable[[], Generator[ChatEvent]]

SIGNAL_SECONDS = 60.0
END = Done("stop", Usage(20, 0, 5), Timings(0, 100, 50))


class ScriptedClient(LLMClient):
    """The real client in everything but its generations: those are what `script` yields.

    Args:
        real: Says how far the model has loaded.
        port: To be served on.

    Attributes:
        requests: Of each generation.
        asked: Their messages, the system prompt's taken off.
    """

    script: Script

    def __init__(self, real: LLMClient, port: int) -> None:
        super().__init__(Settings(GRADIO_SERVER_PORT=port))
        self.requests: list[ChatRequest] = []
        self.asked: list[list[Message]] = []
        self._real = real

    def status(self) -> LoadStatus:
        return self._real.status()

    def wait_ready(self, timeout: float | None = None) -> ModelInfo:
        return self._real.wait_ready(timeout)

    def _stream(self, request: ChatRequest, cancellation: Cancellation) -> Generator[ChatEvent]:
        system, *conversation = request.messages
        assert system.role == "system"
        self.requests.append(request)
        self.asked.append(conversation)
        return self.script()


class Signal:
    """Lets a script wait for the test."""

    def __init__(self) -> None:
        self._given = threading.Event()

    def give(self) -> None:
        self._given.set()

    def wait(self) -> None:
        assert self._given.wait(SIGNAL_SECONDS)
