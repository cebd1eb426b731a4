"""A client whose engine says what a test tells it to; template, parser, sessions and doorways are the real ones."""

from __future__ import annotations

import itertools
from collections.abc import Iterator
from contextlib import contextmanager
from types import SimpleNamespace
from typing import Any

import pytest

from llm_core.client import LLMClient
from llm_core.engine.engine import Engine
from llm_core.engine.llama.model import Model
from llm_core.engine.sequence import GenerationRequest, Piece, Sink
from llm_core.events import Done, FinishReason, Queued, Timings, Usage
from tests.elsewhere import with_engine_of

WEATHER: dict[str, Any] = {
    "type": "function",
    "function": {
        "name": "get_weather",
        "description": "The weather in a city, now",
        "parameters": {
            "type": "object",
            "properties": {"city": {"type": "string", "maxLength": 20}},
            "required": ["city"],
            "additionalProperties": False,
        },
    },
}
GET_WEATHER = {"type": "function", "function": {"name": "get_weather"}}
QUESTION = [{"role": "user", "content": "What is the weather in Paris and in Rome?"}]
PARIS, ROME = '{"city": "Paris"}', '{"city": "Röm"}'
CALL_PARIS = f'<tool_call>\n{{"name": "get_weather", "arguments": {PARIS}}}\n</tool_call>'
CALL_ROME = f'<tool_call>\n{{"name": "get_weather", "arguments": {ROME}}}\n</tool_call>'
TWO_CALLS = f"{CALL_PARIS}\n{CALL_ROME}"
HALF_A_CALL = CALL_ROME[: CALL_ROME.index("Röm") + 1]


class Script:
    """What the engine says, and what it was asked.

    Attributes:
        prompts: The prompts, as text.
    """

    def __init__(self, vocabulary: Model, replies: Iterator[str], reason: FinishReason) -> None:
        self.prompts: list[str] = []
        self._vocabulary, self._replies, self._reason = vocabulary, replies, reason

    def submit(self, request: GenerationRequest, sink: Sink) -> Any:
        tokens = (self._vocabulary.token_bytes(token, special=True) for token in request.prompt)
        self.prompts.append(b"".join(tokens).decode("utf-8", "replace"))
        sink(Queued(0))
        text = next(self._replies)
        for number, start in enumerate(range(0, len(text), 3), 1):
            sink(Piece(text[start : start + 3], generated=number))
        sink(Done(self._reason, Usage(10, 4, 2), Timings(1.0, 20.0, 50.0)))
        return SimpleNamespace(cancel_requested=False)


@contextmanager
def saying(client: LLMClient, *replies: str, reason: FinishReason = "stop") -> Iterator[Script]:
    """The engine says these replies, one for each request, and the last one from then on."""
    client = with_engine_of(client)
    engine: Engine = client.models.member().backend.loaded().engine
    script = Script(engine.model, itertools.chain(replies, itertools.repeat(replies[-1])), reason)
    with pytest.MonkeyPatch.context() as patch:
        patch.setattr(engine, "submit", script.submit)
        yield script
