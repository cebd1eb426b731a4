"""What a model's texts are in tokens, for callers who want to see that: a part of the seam."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass
from typing import Protocol

from llm_core.request import ChatRequest


@dataclass(frozen=True, slots=True)
class Token:
    """A token of a text.

    Attributes:
        data: Its bytes, which need not be a character by themselves.
    """

    id: int
    data: bytes


class Vocabulary(Protocol):
    """One model's. Safe from any thread, and may wait."""

    def tokenize(self, text: str, *, add_special: bool, parse_special: bool) -> tuple[Token, ...]:
        """The tokens of a text.

        Args:
            add_special: With those that the model puts around each text, such as BOS.
            parse_special: `<|im_start|>` and the like become control tokens.

        Raises:
            InvalidRequest: An engine elsewhere does not tell.
        """

    def detokenize(self, tokens: Sequence[int]) -> str:
        """The text of tokens, with the names of control tokens.

        Raises:
            InvalidRequest: An id is none of the vocabulary's, or an engine elsewhere does not tell.
        """

    def apply_template(self, request: ChatRequest) -> str:
        """The prompt of a conversation as text, without BOS. What in it is a control token and what a user wrote that
        reads like one is told apart no more.

        Raises:
            InvalidRequest: The template refuses the conversation, or an engine elsewhere does not tell.
        """
