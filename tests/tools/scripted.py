"""A client whose generations are what a test says, and the ways to ask it."""

from __future__ import annotations

import asyncio
import itertools
import threading
from collections.abc import AsyncGenerator, Callable, Generator, Iterable, Sequence
from typing import Any, Literal

from llm_core.client import LLMClient
from llm_core.errors import LLMError
from llm_core.events import (
    ChatEvent,
    ChatReply,
    ContentDelta,
    Done,
    FinishReason,
    Queued,
    Timings,
    ToolCallDelta,
    ToolResult,
    Usage,
)
from llm_core.request import ChatRequest
from llm_core.settings import Settings
from tests.scripted_backend import ScriptedBackend

QUESTION = [{"role": "user", "content": "Well?"}]
Mode = Literal["chat", "achat", "session", "asession"]
MODES: tuple[Mode, ...] = ("chat", "achat", "session", "asession")
_numbers = itertools.count()


class ScriptedClient(LLMClient):
    """The real client over a backend that says what it is told to.

    Args:
        generations: Their events, one after another; the last one comes again and again. An error is raised.

    Attributes:
        asked: The request of each generation.
    """

    def __init__(self, *generations: Iterable[ChatEvent] | LLMError, **settings: Any) -> None:
        said = [each if isinstance(each, LLMError) else list(each) for each in generations]

        def script(_request: ChatRequest, _stopped: threading.Event) -> Generator[ChatEvent]:
            events = said[min(len(self.asked), len(said)) - 1]
            if isinstance(events, LLMError):
                raise events
            yield Queued(0)
            yield from events

        backend = ScriptedBackend(script)
        super().__init__(Settings(**({"database_url": "sqlite://"} | settings)), backend=backend)
        self.asked = backend.requests


def done(reason: FinishReason = "stop", *, tokens: int = 5, rate: float = 50.0) -> Done:
    return Done(reason, Usage(20, 10, tokens), Timings(1.0, 30.0, rate))


def saying(text: str) -> list[ChatEvent]:
    """A generation that is text."""
    return [ContentDelta(text), done()]


def calling(*calls: tuple[str, str], text: str = "", reason: FinishReason = "tool_calls") -> list[ChatEvent]:
    """A generation that calls functions: names and the JSON of their arguments. The first has the id `call-0`."""
    events: list[ChatEvent] = [ContentDelta(text)] if text else []
    for index, (name, arguments) in enumerate(calls):
        events.append(ToolCallDelta(index, id=f"call-{index}", name=name))
        events += [ToolCallDelta(index, arguments=piece) for piece in (arguments[:4], arguments[4:])]
    return [*events, done(reason)]


def ask(client: LLMClient, mode: Mode = "chat", **options: Any) -> list[ChatEvent]:
    """The events of a reply, in one of the four modes."""
    session = f"session-{next(_numbers)}"
    match mode:
        case "chat":
            return list(client.chat_stream(QUESTION, **options))
        case "achat":
            return asyncio.run(_all(lambda: client.achat_stream(QUESTION, **options)))
        case "session":
            return list(client.chat_session_stream(session, "Well?", **options))
        case "asession":
            return asyncio.run(_all(lambda: client.achat_session_stream(session, "Well?", **options)))


def ask_whole(client: LLMClient, mode: Mode, **options: Any) -> ChatReply:
    """The whole reply, in one of the four modes."""
    session = f"session-{next(_numbers)}"
    match mode:
        case "chat":
            return client.chat(QUESTION, **options)
        case "achat":
            return asyncio.run(client.achat(QUESTION, **options))
        case "session":
            return client.chat_session(session, "Well?", **options)
        case "asession":
            return asyncio.run(client.achat_session(session, "Well?", **options))


async def _all(make: Callable[[], AsyncGenerator[ChatEvent]]) -> list[ChatEvent]:
    return [event async for event in make()]


def results(events: Iterable[ChatEvent]) -> list[ToolResult]:
    return [event for event in events if isinstance(event, ToolResult)]


def end(events: Sequence[ChatEvent]) -> Done:
    last = events[-1]
    assert isinstance(last, Done)
    return last
