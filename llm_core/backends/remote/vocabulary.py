"""The vocabulary of a model elsewhere: llama-server and this app tell it, by the same routes."""

from __future__ import annotations

from collections.abc import Callable, Sequence
from dataclasses import dataclass
from typing import Any

from llm_core.backends.remote.reader import text_of
from llm_core.backends.remote.wire import conversation_of
from llm_core.backends.vocabulary import Token
from llm_core.request import ChatRequest

Ask = Callable[[str, dict[str, Any], Callable[[Any], Any]], Any]
"""Sends a body to a path of an engine, and has its answer read."""


@dataclass(frozen=True, slots=True)
class RemoteVocabulary:
    """A `llm_core.backends.vocabulary.Vocabulary`."""

    _ask: Ask

    def tokenize(self, text: str, *, add_special: bool, parse_special: bool) -> tuple[Token, ...]:
        body = {"content": text, "add_special": add_special, "parse_special": parse_special, "with_pieces": True}
        tokens: tuple[Token, ...] = self._ask("/tokenize", body, _tokens)
        return tokens

    def detokenize(self, tokens: Sequence[int]) -> str:
        text: str = self._ask("/detokenize", {"tokens": list(tokens)}, lambda answer: text_of(answer["content"]))
        return text

    def apply_template(self, request: ChatRequest) -> str:
        text: str = self._ask("/apply-template", conversation_of(request), lambda answer: text_of(answer["prompt"]))
        return text


def _tokens(answer: Any) -> tuple[Token, ...]:
    return tuple(Token(int(each["id"]), _bytes(each["piece"])) for each in answer["tokens"])


def _bytes(piece: Any) -> bytes:
    """llama-server writes bytes that are no text as numbers."""
    return piece.encode() if isinstance(piece, str) else bytes(piece)
