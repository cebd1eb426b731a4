"""A client of the page whose generations a test writes, event by event, and holds up where it likes."""

from __future__ import annotations

import threading
from collections.abc import Callable, Generator

from llm_core.client import LLMClient
from llm_core.events import ChatEvent, Done, Timings, Usage
from llm_core.messages import Message
from llm_core.request import ChatRequest
from llm_core.settings import Settings
from tests.scripted_backend import ScriptedBackend

Script = Callable[[], Generator[ChatEvent]]

SIGNAL_SECONDS = 60.0
END = Done("stop", Usage(20, 0, 5), Timings(0, 100, 50))


class ScriptedClient(LLMClient):
    """The real client over a backend that says what `script` yields.

    Args:
        real: Says how far the model has loaded.
        port: To be served on.

    Attributes:
        requests: Of each generation.
        stopped: Set when the last one is stopped.
    """

    script: Script
    stopped: threading.Event

    def __init__(self, real: LLMClient, port: int) -> None:
        backend = ScriptedBackend(self.say, real.models)
        super().__init__(Settings(GRADIO_SERVER_PORT=port), backend=backend)
        self.requests = backend.requests

    def say(self, _request: ChatRequest, stopped: threading.Event) -> Generator[ChatEvent]:
        self.stopped = stopped
        return self.script()

    @property
    def asked(self) -> list[list[Message]]:
        """The messages of each generation, the system prompt's taken off."""
        conversations = [list(request.messages) for request in self.requests]
        assert all(messages[0].role == "system" for messages in conversations)
        return [messages[1:] for messages in conversations]


class Signal:
    """Lets a script wait for the test."""

    def __init__(self) -> None:
        self._given = threading.Event()

    def give(self) -> None:
        self._given.set()

    def wait(self) -> None:
        assert self._given.wait(SIGNAL_SECONDS)
