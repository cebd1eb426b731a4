"""The facts about a model."""

from __future__ import annotations

from dataclasses import dataclass, field
from pathlib import Path

import pytest

from llm_core.engine.llama.model import Model
from llm_core.models.info import ModelInfo, describe
from llm_core.models.resolve import find
from llm_core.models.source import BundledModel, HubModel, ResolvedModel
from llm_core.task import Task


@dataclass
class Header:
    """What `describe` reads of a loaded model."""

    metadata: dict[str, str] = field(default_factory=dict)
    chat_template: str | None = None
    description: str = "llama 4B Q4_K - Medium"
    parameters: int = 4_000_000_000
    context_train: int = 32768
    task: Task = "chat"


def described(
    tmp_path: Path, header: Header, *, file: str = "Qwen3-4B-Q4_K_M.gguf", license: str | None = None
) -> ModelInfo:
    path = tmp_path / file
    path.write_bytes(b"GGUF")
    return describe(header, ResolvedModel(path, HubModel("o/r"), "c" * 40, license))


def test_the_bundled_model() -> None:
    resolved = find(BundledModel())
    model = Model.load(resolved.path, vocab_only=True)
    try:
        info = describe(model, resolved)
    finally:
        model.close()

    assert info == ModelInfo(
        name="SmolLM2-135M-Instruct",
        source="bundled",
        path=resolved.path,
        revision=None,
        architecture="llama",
        quantization="Q4_1",
        parameters=134_515_008,
        size_bytes=98_362_432,
        context_train=8192,
        license="apache-2.0",
        has_chat_template=True,
        can_switch_thinking=False,
        task="chat",
    )


@pytest.mark.parametrize(
    ("metadata", "from_the_hub", "license"),
    [
        ({"general.license": "mit"}, "apache-2.0", "mit"),
        ({}, "apache-2.0", "apache-2.0"),
        ({}, None, None),
        ({"general.license": "other", "general.license.name": "qwen"}, None, "qwen"),
        ({"general.license": "other"}, "gemma", "gemma"),
        ({"general.license": "other"}, None, "other"),
        ({"general.license": "other"}, "other", "other"),
    ],
)
def test_the_licence_is_the_most_telling_of_what_file_and_hub_say(
    tmp_path: Path, metadata: dict[str, str], from_the_hub: str | None, license: str | None
) -> None:
    assert described(tmp_path, Header(metadata), license=from_the_hub).license == license


def test_a_model_is_named_by_its_file_unless_the_file_is_called_model(tmp_path: Path) -> None:
    header = Header({"general.name": "Qwen3 4B"})

    assert described(tmp_path, header).name == "Qwen3-4B"
    assert described(tmp_path, header, file="model-q8_0.gguf").name == "Qwen3 4B"


def test_all_parts_of_a_split_model_count(tmp_path: Path) -> None:
    (tmp_path / "a-00002-of-00002.gguf").write_bytes(bytes(1000))

    info = described(tmp_path, Header(), file="a-00001-of-00002.gguf")

    assert info.size_bytes == 1004
    assert info.name == "a"


def test_the_template_tells_whether_thinking_can_be_switched(tmp_path: Path) -> None:
    assert described(tmp_path, Header(chat_template="{% if enable_thinking %}")).can_switch_thinking
    assert not described(tmp_path, Header(chat_template="{{ messages }}")).can_switch_thinking
    assert not described(tmp_path, Header()).has_chat_template


def test_a_quantization_without_a_number_is_in_the_words_of_llama_cpp(tmp_path: Path) -> None:
    assert described(tmp_path, Header({"general.file_type": "1024"})).quantization == "llama 4B Q4_K - Medium"


def test_a_quantization_that_only_the_file_s_name_tells(tmp_path: Path) -> None:
    assert described(tmp_path, Header(description="")).quantization == "Q4_K_M"
    assert described(tmp_path, Header(description=""), file="a.gguf").quantization == "unknown"
