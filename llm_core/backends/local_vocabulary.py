"""The vocabulary of a model in this process."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass

from llm_core.backends.vocabulary import Token
from llm_core.chat.chat import Chat
from llm_core.engine.llama.model import Model
from llm_core.errors import InvalidRequest
from llm_core.request import ChatRequest


@dataclass(frozen=True, slots=True)
class LocalVocabulary:
    """A `llm_core.backends.vocabulary.Vocabulary`."""

    _model: Model
    _chat: Chat

    def tokenize(self, text: str, *, add_special: bool, parse_special: bool) -> tuple[Token, ...]:
        ids = self._model.tokenize(text, add_special=add_special, parse_special=parse_special)
        return tuple(Token(each, self._model.token_bytes(each, special=True)) for each in ids)

    def detokenize(self, tokens: Sequence[int]) -> str:
        last = self._model.vocab_size - 1
        if any(not 0 <= token <= last for token in tokens):
            raise InvalidRequest(f"tokens: ids go from 0 to {last}.", param="tokens")
        return b"".join(self._model.token_bytes(each, special=True) for each in tokens).decode("utf-8", "replace")

    def apply_template(self, request: ChatRequest) -> str:
        return self._chat.template.write(request.messages, tools=request.callable_tools, thinking=request.thinking)
