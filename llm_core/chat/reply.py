"""From the engine's events to the caller's: raw text goes through the reply parser, everything else passes."""

from __future__ import annotations

from dataclasses import replace

from llm_core.chat.chat import PreparedChat
from llm_core.engine.sequence import EngineEvent, Piece
from llm_core.errors import LLMError
from llm_core.events import ChatEvent, Done, FinishReason


class ReplyTranslator:
    """Translates the events of one reply, in order."""

    def __init__(self, prepared: PreparedChat) -> None:
        self._prepared = prepared
        self._parser = prepared.parser

    def translate(self, event: EngineEvent) -> list[ChatEvent]:
        """The caller's events for one of the engine's.

        Raises:
            LLMError: The engine reported it in place of `Done`.
        """
        match event:
            case Piece():
                return list(self._parser.feed(event.text, event.logprobs))
            case Done():
                rest = self._parser.finish(is_cut=event.finish_reason != "stop")
                usage, dropped = event.usage, self._prepared.dropped
                if usage.cache_miss == "new" and self._prepared.has_moved:
                    usage = replace(usage, cache_miss="trimmed")
                return [*rest, replace(event, finish_reason=self._why(event), usage=usage, dropped_messages=dropped)]
            case LLMError():
                raise event
            case _:
                return [event]

    def _why(self, done: Done) -> FinishReason:
        """A reply that ended by itself after a call waits for its result."""
        return "tool_calls" if done.finish_reason == "stop" and self._parser.has_called else done.finish_reason
