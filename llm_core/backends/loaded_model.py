"""A chat model of this process that is ready, and a request on its way through it."""

from __future__ import annotations

from dataclasses import dataclass

from llm_core.chat.chat import Chat
from llm_core.chat.reply import RawTranslator, ReplyTranslator
from llm_core.engine.engine import Engine
from llm_core.engine.sequence import EngineEvent, Sequence
from llm_core.events import ChatEvent
from llm_core.models.info import ModelInfo
from llm_core.structured_output.constraint import ConstraintCompiler


@dataclass(frozen=True, slots=True)
class LoadedModel:
    """A model that is ready: what it is, how it talks, how it is held to a form, and the engine that runs it."""

    info: ModelInfo
    chat: Chat
    compiler: ConstraintCompiler
    engine: Engine

    def close(self) -> None:
        """Stops the engine; the model stays open."""
        self.engine.close()
        self.compiler.close()


@dataclass(frozen=True, slots=True)
class LocalSubmission:
    """A request on its way through the engine."""

    _translator: ReplyTranslator | RawTranslator
    _engine: Engine
    _sequence: Sequence

    def translate(self, event: EngineEvent) -> list[ChatEvent]:
        return self._translator.translate(event)

    def cancel(self) -> None:
        self._engine.cancel(self._sequence)
