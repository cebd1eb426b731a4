"""What chat needs of a model: its vocabulary and what its file says about prompts."""

from __future__ import annotations

from typing import Protocol


class Tokenizer(Protocol):
    """A vocabulary, safe to use from any thread. `llm_core.engine.llama.model.Model` is one.

    Attributes:
        chat_template: Jinja source, or None where the model's file has none.
        bos_text, eos_text: Texts of the tokens that begin and end a text; "" where there is none.
        add_bos: Whether prompts begin with BOS.
        control_texts: Texts of all control tokens.
    """

    @property
    def chat_template(self) -> str | None: ...

    @property
    def bos_text(self) -> str: ...

    @property
    def eos_text(self) -> str: ...

    @property
    def add_bos(self) -> bool: ...

    @property
    def control_texts(self) -> tuple[str, ...]: ...

    def tokenize(self, text: str, *, add_special: bool, parse_special: bool) -> list[int]:
        """Token ids. `parse_special` lets `<|im_start|>` and the like become control tokens."""
