"""The server under a random walk: at times replies fail, the queue is full, and the rate limit is reached."""

from __future__ import annotations

import random
import threading
import time
from collections.abc import Generator
from typing import Any

from llm_core.errors import QueueFull, RateLimited, SequenceFailed
from llm_core.events import ChatEvent, ContentDelta, Queued
from llm_core.request import ChatRequest
from tests.scripted_client import END, ScriptedClient


class WalkedClient(ScriptedClient):
    """Its replies are a few words at a time; some fail, before their first word or after it, and some are refused."""

    def __init__(self, real: Any, port: int, random: random.Random) -> None:
        super().__init__(real, port)
        self._random = random
        self._lock = threading.Lock()
        self.full = False

    def say(self, _request: ChatRequest, stopped: threading.Event) -> Generator[ChatEvent]:
        with self._lock:
            words, wait = self._random.randrange(1, 12), self._random.choice([0.0, 0.01, 0.05])
            fails_after = self._random.choice([None] * 8 + [0, 3])
        if self.full:
            raise QueueFull("As many requests wait already as may. Try again in a few seconds.")
        time.sleep(wait)
        yield Queued(0)
        for number in range(words):
            if stopped.wait(wait):
                return
            if number == fails_after:
                raise SequenceFailed("The engine failed at this request.")
            yield ContentDelta(f"word{number} ")
        yield END


class Limit:
    """The rate limit, reached when the walk says so."""

    def __init__(self) -> None:
        self.is_reached = False

    def check_caller(self, _caller: Any) -> None:
        if self.is_reached:
            raise RateLimited("You have sent as many requests as are allowed in a minute. Try again in a while.")
