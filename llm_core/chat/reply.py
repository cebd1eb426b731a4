"""From the engine's events to the caller's: raw text goes through the reply parser, everything else passes."""

from __future__ import annotations

from dataclasses import replace

from llm_core.chat.chat import PreparedChat
from llm_core.engine.sequence import EngineEvent, Piece
from llm_core.errors import LLMError
from llm_core.events import ChatEvent, ContentDelta, Done, FinishReason


class RawTranslator:
    """Translates the events of a raw prompt's completion, in order: all of it is text."""

    def translate(self, event: EngineEvent) -> list[ChatEvent]:
        """The caller's events for one of the engine's.

        Raises:
            LLMError: The engine reported it in place of `Done`.
        """
        match event:
            case Piece():
                return [ContentDelta(event.text, event.logprobs)]
            case LLMError():
                raise event
            case _:
                return [event]


class ReplyTranslator:
    """Translates the events of one reply, in order."""

    def __init__(self, prepared: PreparedChat) -> None:
        self._prepared = prepared
        self._parser = prepared.parser
        self._thought_tokens, self._thought_ended = 0, False

    def translate(self, event: EngineEvent) -> list[ChatEvent]:
        """The caller's events for one of the engine's.

        Raises:
            LLMError: The engine reported it in place of `Done`.
        """
        match event:
            case Piece():
                deltas: list[ChatEvent] = list(self._parser.feed(event.text, event.logprobs))
                self._count_thought(event.generated)
                return deltas
            case Done():
                rest = self._parser.finish(is_cut=event.finish_reason != "stop")
                self._count_thought(event.usage.completion_tokens)
                usage, dropped = replace(event.usage, reasoning_tokens=self._thought_tokens), self._prepared.dropped
                if usage.cache_miss == "new" and self._prepared.has_moved:
                    usage = replace(usage, cache_miss="trimmed")
                return [*rest, replace(event, finish_reason=self._why(event), usage=usage, dropped_messages=dropped)]
            case LLMError():
                raise event
            case _:
                return [event]

    def _count_thought(self, generated: int) -> None:
        """Counts the tokens so far as thinking, up to the one that ends it."""
        if not self._thought_ended and (self._parser.has_thought or self._parser.is_thinking):
            self._thought_tokens, self._thought_ended = generated, not self._parser.is_thinking

    def _why(self, done: Done) -> FinishReason:
        """A reply that ended by itself after a call waits for its result."""
        return "tool_calls" if done.finish_reason == "stop" and self._parser.has_called else done.finish_reason
