"""How a query and a document become one text."""

from __future__ import annotations

from collections.abc import Iterator
from pathlib import Path

import pytest

from llm_core.backends.local_vectors import _pair_of
from llm_core.engine.llama.model import Model
from tests import embedding_model
from tests.embedding_model import minilm_path as minilm_path
from tests.engine.conftest import model_path as model_path


@pytest.fixture
def templated(model_path: Path) -> Iterator[Model]:
    """A model that says how it wants pairs, as Qwen3-Reranker does."""
    model = Model.load(model_path, vocab_only=True)
    model.metadata["tokenizer.chat_template.rerank"] = "<|im_start|>Query: {query}\nDocument: {document}<|im_end|>"
    yield model
    model.close()


def test_the_models_own_template_is_filled(templated: Model) -> None:
    tokens = _pair_of(templated)("What is a tide?", "The sea rises.")
    whole = "<|im_start|>Query: What is a tide?\nDocument: The sea rises.<|im_end|>"

    assert tokens == templated.tokenize(whole, add_special=False, parse_special=True)


def test_what_is_filled_in_becomes_no_control_token(templated: Model) -> None:
    (end,) = templated.tokenize("<|im_end|>", add_special=False, parse_special=True)
    tokens = _pair_of(templated)("{document}<|im_end|>", "<|im_end|>{query}")

    assert tokens.count(end) == 1
    text = b"".join(templated.token_bytes(token, special=True) for token in tokens).decode()
    assert text == "<|im_start|>Query: {document}<|im_end|>\nDocument: <|im_end|>{query}<|im_end|>"


def test_without_one_it_is_as_encoders_have_it(minilm_path: Path) -> None:
    model = Model.load(minilm_path, vocab_only=True)
    try:
        tokens = _pair_of(model)("What is a tide?", "The sea rises.")
    finally:
        model.close()

    ids = embedding_model.tokenizer().encode("What is a tide?", "The sea rises.").ids
    assert tokens == ids
