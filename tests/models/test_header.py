"""What a model's header says, and that nothing in it is believed."""

from __future__ import annotations

import struct
import subprocess
import sys
from pathlib import Path

import pytest
from hypothesis import HealthCheck, given, settings
from hypothesis import strategies as st

from llm_core.engine.llama.model import Model
from llm_core.errors import ModelError
from llm_core.gguf import MAX_TEXT_BYTES, read_header
from llm_core.kv_type import BLOCK_BYTES
from llm_core.models.header import ModelHeader, read_model_header
from llm_core.models.info import describe
from llm_core.models.resolve import find
from llm_core.models.source import BundledModel
from tests.engine.conftest import model as model  # the fixtures
from tests.engine.conftest import model_path as model_path
from tests.engine.conftest import sliding_window_model as sliding_window_model
from tests.engine.conftest import sliding_window_path as sliding_window_path
from tests.engine.random_model import lfm2, mamba
from tests.models.gguf_file import gguf_file, model_file, text

USUAL = {"a.number": 7, "a.text": "it", "a.list": [1, 2], "words": ["a", "b", "c"], "flag": True, "share": 0.5}


def written(tmp_path: Path, data: bytes, name: str = "a.gguf") -> Path:
    (tmp_path / name).write_bytes(data)
    return tmp_path / name


def header_of(tmp_path: Path, data: bytes) -> ModelHeader:
    return read_model_header(written(tmp_path, data))


def refusal(tmp_path: Path, data: bytes) -> str:
    with pytest.raises(ModelError) as refused:
        header_of(tmp_path, data)
    return refused.value.message


class TestReader:
    def test_numbers_texts_and_short_arrays_are_kept_and_of_long_ones_the_length(self, tmp_path: Path) -> None:
        header = read_header(written(tmp_path, gguf_file(USUAL | {"long": list(range(5000))}, [(3, 4), (5,)])))

        assert header.values == {"a.number": 7, "a.text": "it", "a.list": (1, 2), "flag": True, "share": 0.5}
        assert header.lengths == {"a.list": 2, "words": 3, "long": 5000}
        assert header.parameters == 17

    @pytest.mark.parametrize(
        ("data", "said"),
        [
            (gguf_file(USUAL, version=1), "version 1"),
            (gguf_file(USUAL, version=3 << 24), "version 50331648"),  # the bytes of version 3 the other way round
            (gguf_file(USUAL, counts=(0, 1 << 60)), "for entries is more than"),
            (gguf_file(USUAL, counts=(1 << 60, 0)), "for tensors is more than"),
            (gguf_file(USUAL, counts=(0, 7)), "cut short"),
            (gguf_file({}, [(1 << 50,)]), "for a dimension is more than"),
            (gguf_file({}, [(1,) * 9]), "for dimensions is more than"),
            (gguf_file({}, counts=(0, 1)) + text("k") + struct.pack("<I", 99), "the unknown type 99"),
            (gguf_file({}, counts=(0, 1)) + text("k") + struct.pack("<IIQ", 9, 9, 1), "the unknown type 9"),
            (gguf_file({}, counts=(0, 1)) + text("k") + struct.pack("<IQ", 8, 1 << 40), "for the bytes of a text"),
            (gguf_file({}, counts=(0, 1)) + text("k") + struct.pack("<IIQ", 9, 4, 1 << 40), "the length of an array"),
            (gguf_file({}, counts=(0, 1)) + text("k") + struct.pack("<IIQ", 9, 4, 1 << 20), "cut short"),
            (
                gguf_file({}, counts=(0, 1)) + text("k") + struct.pack("<IIQQ", 9, 8, 2, MAX_TEXT_BYTES + 1),
                "for the bytes of a text",
            ),
        ],
    )
    def test_what_no_model_has_is_refused_before_it_is_read(self, tmp_path: Path, data: bytes, said: str) -> None:
        assert said in refusal(tmp_path, data)

    @given(cut=st.integers(0, 400), byte=st.integers(0, 400), to=st.integers(0, 255))
    @settings(max_examples=300, deadline=None, suppress_health_check=[HealthCheck.function_scoped_fixture])
    def test_a_header_that_is_damaged_anywhere_is_read_or_refused(
        self, tmp_path: Path, cut: int, byte: int, to: int
    ) -> None:
        data = bytearray(model_file(general__name="Ä", words=["a", "b"], heads=[1, 2]))
        if byte < len(data):
            data[byte] = to

        for broken in (bytes(data), bytes(data[:cut])):
            try:
                header = header_of(tmp_path, broken)
            except ModelError:
                continue
            assert header.kv_bytes_per_token() >= 0


class TestRealModels:
    def test_the_bundled_model_is_told_as_llama_cpp_tells_it(self, model: Model, model_path: Path) -> None:
        header = read_model_header(model_path)

        assert header.kv_bytes_per_token() == model.kv_bytes_per_token() == 23_040
        assert header.kv_bytes_per_token("q8_0") == model.kv_bytes_per_token("q8_0")
        assert header.vocab_size == model.vocab_size
        assert describe(header, find(BundledModel())) == describe(model, find(BundledModel()))
        assert header.has_system
        assert not header.has_tools

    def test_one_with_a_sliding_window_too(self, sliding_window_model: Model, sliding_window_path: Path) -> None:
        header = read_model_header(sliding_window_path)

        assert header.kv_bytes_per_token() == sliding_window_model.kv_bytes_per_token() == 18_432
        assert header.window == sliding_window_model.window == 512
        assert header.parameters == sliding_window_model.parameters
        assert header.context_train == sliding_window_model.context_train

    def test_of_a_hybrid_one_only_layers_with_attention_keep_keys_and_values(
        self, model_path: Path, tmp_path: Path
    ) -> None:
        header = read_model_header(lfm2(model_path, tmp_path / "a.gguf"))

        assert header.heads_kv == (0, 2, 0, 2)
        assert header.kv_bytes_per_token() == 2 * 2 * (32 + 32) * 2, "llama.cpp logs 2 MiB for 8 x 512 tokens"
        assert header.state_bytes == 2 * 2 * 64 * 4

    def test_a_recurrent_one_keeps_none_and_a_state(self, model_path: Path, tmp_path: Path) -> None:
        header = read_model_header(mamba(model_path, tmp_path / "a.gguf"))

        assert header.kv_bytes_per_token() == 0
        assert header.state_bytes == 4 * (3 * 128 + 128 * 16) * 4, "llama.cpp logs 0.30 MiB for eight"


class TestFacts:
    def test_heads_are_as_long_as_it_says_or_as_their_share(self, tmp_path: Path) -> None:
        assert header_of(tmp_path, model_file()).kv_bytes_per_token() == 4 * 2 * (64 + 64) * 2
        said = model_file(**{"attention.key_length": 128, "attention.value_length": 96})
        assert header_of(tmp_path, said).kv_bytes_per_token() == 4 * 2 * (128 + 96) * 2

    def test_layers_that_share_or_are_recurrent_in_between_keep_none(self, tmp_path: Path) -> None:
        shared = model_file(**{"attention.shared_kv_layers": 3})
        assert header_of(tmp_path, shared).heads_kv == (2,)
        between = model_file(full_attention_interval=4, block_count=10)
        assert header_of(tmp_path, between).heads_kv == (2, 2)

    @pytest.mark.parametrize("type", BLOCK_BYTES)
    def test_fewer_bits_are_fewer_bytes(self, tmp_path: Path, type: str) -> None:
        header = header_of(tmp_path, model_file())

        assert header.kv_bytes_per_token(type) == header.kv_bytes_per_token() * BLOCK_BYTES[type] // BLOCK_BYTES["f16"]

    def test_the_template_tells_what_it_knows(self, tmp_path: Path) -> None:
        template = "{% if tools %}{{ tools }}{% endif %}{% if enable_thinking %}{% endif %}{{ messages }}"
        header = header_of(tmp_path, model_file(tokenizer__chat_template=template))

        assert header.chat_template == template
        assert (header.has_tools, header.can_switch_thinking, header.has_system) == (True, True, False)
        assert header_of(tmp_path, model_file()).chat_template is None

    @pytest.mark.parametrize(
        ("data", "said"),
        [
            (model_file(), None),
            (model_file(general__type="model"), None),
            (model_file(general__type="adapter"), "companion of one: adapter."),
            (model_file("bert", pooling_type=1), None),
        ],
    )
    def test_what_is_no_model_is_known(self, tmp_path: Path, data: bytes, said: str | None) -> None:
        why_not = header_of(tmp_path, data).why_no_model()

        assert why_not is None if said is None else said in str(why_not)

    @pytest.mark.parametrize(
        ("data", "task"),
        [
            (model_file(), "chat"),
            (model_file(pooling_type=0), "chat"),
            (model_file("bert", pooling_type=1), "embedding"),
            (model_file("qwen3", pooling_type=3), "embedding"),
            (model_file("bert", **{"attention.causal": False}), "embedding"),
            (model_file("bert", pooling_type=4, **{"attention.causal": False}), "rerank"),
        ],
    )
    def test_what_a_model_is_for_is_known(self, tmp_path: Path, data: bytes, task: str) -> None:
        assert header_of(tmp_path, data).task == task

    def test_all_parts_of_a_split_model_count(self, tmp_path: Path) -> None:
        first = written(tmp_path, model_file(tensors=[(10, 10)]), "a-00001-of-00002.gguf")
        written(tmp_path, gguf_file({}, [(7,)]), "a-00002-of-00002.gguf")

        header = read_model_header(first)

        assert (header.parameters, header.parts) == (107, 2)

    def test_a_split_model_that_misses_a_part_cannot_be_read(self, tmp_path: Path) -> None:
        with pytest.raises(ModelError, match=r"a-00002-of-00002\.gguf cannot be read: No such file"):
            read_model_header(written(tmp_path, model_file(), "a-00001-of-00002.gguf"))

    @pytest.mark.parametrize("facts", [{"block_count": 1 << 30}, {"embedding_length": "wide"}, {"context_length": 0.5}])
    def test_a_number_that_is_none_is_refused(self, tmp_path: Path, facts: dict[str, int]) -> None:
        assert f"{next(iter(facts))} is " in refusal(tmp_path, model_file(**facts))


def test_a_header_is_read_without_llama_cpp() -> None:
    program = "import sys, llm_core.models.header; print('llama_cpp' in sys.modules)"
    ran = subprocess.run([sys.executable, "-c", program], capture_output=True, text=True, timeout=60, check=True)

    assert ran.stdout == "False\n"
