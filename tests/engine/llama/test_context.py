"""Loading and sizing: what cannot work says so in a sentence, before anything else is done."""

from __future__ import annotations

import os
import subprocess
import sys
from pathlib import Path

import numpy as np
import pytest

from llm_core.cores import default_threads
from llm_core.engine.capacity import context_tokens
from llm_core.engine.llama import context as context_module
from llm_core.engine.llama.context import Batch, Context
from llm_core.engine.llama.model import Model
from llm_core.errors import EngineClosed, ModelError, SettingsError
from llm_core.kv_type import BLOCK_BYTES, KvType

from .. import random_model


def with_other_architecture(model_path: Path, target: Path, name: bytes) -> Path:
    """A copy of the model that claims another architecture, of a name as long as its own."""
    data = bytearray(model_path.read_bytes())
    at = data.index(b"llama")
    data[at : at + len(name)] = name
    target.write_bytes(data)
    return target


def test_loading_shows_progress(model_path: Path) -> None:
    seen: list[float] = []
    Model.load(model_path, on_progress=seen.append).close()
    assert seen == sorted(seen)
    assert seen[-1] == 1.0
    assert len(seen) > 3


def test_a_missing_file_is_named(tmp_path: Path) -> None:
    with pytest.raises(ModelError, match=r"There is no file .*none\.gguf"):
        Model.load(tmp_path / "none.gguf")


def test_a_folder_is_no_model(tmp_path: Path) -> None:
    with pytest.raises(ModelError, match="is not a file"):
        Model.load(tmp_path)


@pytest.mark.parametrize("content", [b"", b"GG", b"PK\x03\x04 a zip"])
def test_a_file_that_is_no_gguf_is_refused(tmp_path: Path, content: bytes) -> None:
    (tmp_path / "x.gguf").write_bytes(content)
    with pytest.raises(ModelError, match="is not a GGUF file"):
        Model.load(tmp_path / "x.gguf")


@pytest.mark.parametrize("kept", [10, 5_000, 40_000_000])
def test_a_truncated_file_is_refused(model_path: Path, tmp_path: Path, kept: int) -> None:
    (tmp_path / "x.gguf").write_bytes(model_path.read_bytes()[:kept])
    with pytest.raises(ModelError, match="cut short or damaged"):
        Model.load(tmp_path / "x.gguf")


def test_an_unknown_architecture_is_named(model_path: Path, tmp_path: Path) -> None:
    path = with_other_architecture(model_path, tmp_path / "x.gguf", b"xlstm")
    with pytest.raises(ModelError, match="architecture 'xlstm'"):
        Model.load(path)


def test_a_control_token_is_one_only_where_special_text_is_parsed(model: Model) -> None:
    (control,) = model.tokenize("<|im_start|>", add_special=False, parse_special=True)
    plain = model.tokenize("<|im_start|>", add_special=False, parse_special=False)
    assert control not in plain
    assert len(plain) > 1
    assert model.token_bytes(control) == b""
    assert model.token_bytes(control, special=True) == b"<|im_start|>"
    assert "<|im_start|>" in model.control_texts


def test_a_closed_model_says_so(model_path: Path) -> None:
    model = Model.load(model_path, vocab_only=True)
    model.close()
    with pytest.raises(EngineClosed):
        model.tokenize("Hello", add_special=False, parse_special=False)


def test_more_context_than_trained_for_names_the_variable_and_the_range(model: Model) -> None:
    with pytest.raises(SettingsError, match=r"LLM_CONTEXT_TOKENS=9000 .*at most 8192"):
        context_tokens(model, wanted=9000, slots=8)


def test_the_default_context_is_4096_and_shrinks_where_memory_is_short(
    model: Model, caplog: pytest.LogCaptureFixture
) -> None:
    assert context_tokens(model, wanted=None, slots=8, free_bytes=10**12) == 4096
    assert not caplog.records
    lowered = context_tokens(model, wanted=None, slots=8, free_bytes=400_000_000)
    assert lowered == 1280
    assert "memory is short" in caplog.text
    assert lowered * 8 * model.kv_bytes_per_token() < 400_000_000


@pytest.mark.parametrize("kv_type", [kind for kind in BLOCK_BYTES if kind != "f16"])
def test_keys_and_values_in_fewer_bits_take_less_and_say_much_the_same(model: Model, kv_type: KvType) -> None:
    prompt = np.array(model.tokenize("The lighthouse and the storm. " * 12, add_special=False, parse_special=False))

    def looked_at(kv_type: KvType) -> tuple[int, int]:
        """The likeliest token after the prompt, and the bytes of its state."""
        context = Context(model, slots=2, context_tokens=256, batch_tokens=128, threads=2, kv_type=kv_type)
        try:
            batch = Batch(128)
            batch.add(0, 0, prompt, wants_logits=True)
            context.decode(batch)
            likeliest = int(context.logits(len(prompt) - 1).argmax())
            state, _ = context.save(0)
            assert context.restore(1, state)
            assert context.trim(1, 10)
            return likeliest, len(state)
        finally:
            context.close()

    (expected, whole), (likeliest, smaller) = looked_at("f16"), looked_at(kv_type)
    assert likeliest == expected
    for kind, size in (("f16", whole), (kv_type, smaller)):
        assert size == pytest.approx(model.kv_bytes_per_token(kind) * len(prompt), rel=0.01)


def test_more_tokens_fit_in_fewer_bits(model: Model) -> None:
    lowered = context_tokens(model, wanted=None, slots=8, kv_type="q8_0", free_bytes=400_000_000)
    assert lowered == 2816
    assert lowered * 8 * model.kv_bytes_per_token("q8_0") < 400_000_000


def test_heads_of_no_whole_blocks_are_refused_by_the_settings_name(model_path: Path, tmp_path: Path) -> None:
    model = Model.load(random_model.lfm2(model_path, tmp_path / "x.gguf", heads=4))
    try:
        with pytest.raises(SettingsError, match=r"LLM_KV_TYPE=q8_0 .*x\.gguf: its heads have 16 numbers.*Allowed: f16"):
            context_tokens(model, wanted=None, slots=1, kv_type="q8_0")
        assert context_tokens(model, wanted=512, slots=1) == 512
    finally:
        model.close()


def test_a_model_that_cannot_have_flash_attention_is_refused_by_the_settings_name(
    model: Model, monkeypatch: pytest.MonkeyPatch
) -> None:
    off = context_module.lib.LLAMA_FLASH_ATTN_TYPE_DISABLED
    monkeypatch.setattr(context_module, "flash_attention_type", lambda *_asked: off)
    with pytest.raises(SettingsError, match=r"LLM_KV_TYPE=q8_0 needs flash attention"):
        Context(model, slots=1, context_tokens=256, batch_tokens=64, threads=1, kv_type="q8_0")


def test_threads_are_physical_cores() -> None:
    assert default_threads() >= 1


@pytest.mark.parametrize(
    ("given", "waits"),
    [
        ({}, "1000 active" if sys.platform == "linux" else "1000 None"),
        ({"GOMP_SPINCOUNT": "7"}, "7 None"),
        ({"OMP_WAIT_POLICY": "PASSIVE"}, "None PASSIVE"),
    ],
)
def test_threads_spin_for_a_moment_unless_the_environment_says_otherwise(given: dict[str, str], waits: str) -> None:
    looked_at = "map(os.environ.get, ('GOMP_SPINCOUNT', 'OMP_WAIT_POLICY'))"
    program = f"import os, llm_core.engine.llama.library; print(*{looked_at})"
    bare = {name: value for name, value in os.environ.items() if name not in {"GOMP_SPINCOUNT", "OMP_WAIT_POLICY"}}
    said = subprocess.run(
        [sys.executable, "-c", program], env=bare | given, capture_output=True, text=True, check=True
    ).stdout

    assert said.strip() == waits
