"""What a model needs of memory."""

from __future__ import annotations

from dataclasses import replace
from pathlib import Path

import pytest
from hypothesis import given
from hypothesis import strategies as st

from llm_core.errors import ModelError
from llm_core.models.fit import (
    LEAST_CONTEXT,
    Fitting,
    Footprint,
    Need,
    fit,
    footprint_of,
    longest_text,
    longest_that_fits,
    need_of_vectors,
    why_too_large,
)
from llm_core.models.header import ModelHeader, read_model_header
from llm_core.models.resolve import find
from llm_core.models.source import BundledModel
from tests.models.gguf_file import Value, gguf_file, model_file

MIB = 1024 * 1024
BUNDLED = Footprint(weights=145_000_000, kv_bytes_per_token=23_040, heads=9, embedding_length=576, vocab_size=49_152)
GEMMA = Footprint(weights=250_000_000, kv_bytes_per_token=18_432, heads=4, embedding_length=640, vocab_size=262_144)


@pytest.mark.parametrize(
    ("footprint", "context", "slots", "kv", "compute"),
    [  # what llama.cpp logged for these: KV buffers, and compute and output buffers together
        (BUNDLED, 512, 1, 11.25, 4.29),
        (BUNDLED, 2048, 8, 360, 13.10),
        (BUNDLED, 4096, 8, 720, 23.10),
        (GEMMA, 512, 1, 9, 5.94),
        (GEMMA, 2048, 8, 288, 16.44),
        (GEMMA, 4096, 8, 576, 22.44),
    ],
)
def test_the_estimate_is_a_little_more_than_what_llama_cpp_takes(
    footprint: Footprint, context: int, slots: int, kv: float, compute: float
) -> None:
    need = footprint.need(context=context, slots=slots)

    assert need.kv == kv * MIB
    assert compute <= need.compute / MIB <= compute + 4
    assert need.total == footprint.weights + need.kv + need.compute


BERT = {"embedding_length": 384, "attention.head_count": 12, "attention.causal": False, "pooling_type": 1}
LAST = 3


def vector_model(path: Path, architecture: str = "bert", **facts: Value) -> ModelHeader:
    """The header of one with a vocabulary of 30,522 tokens, at `path`."""
    tokens = [str(number) for number in range(30_522)]
    path.write_bytes(model_file(architecture, tokenizer__ggml__tokens=tokens, **facts))
    return read_model_header(path)


@pytest.mark.parametrize(("longest", "compute"), [(512, 69.2), (2048, 274.0)])
def test_so_it_is_where_vectors_are_made(tmp_path: Path, longest: int, compute: float) -> None:
    need = need_of_vectors(tmp_path / "x.gguf", vector_model(tmp_path / "x.gguf", **BERT), longest)

    assert need.kv == 0
    assert compute <= need.compute / MIB <= 1.15 * compute
    assert need.weights == (tmp_path / "x.gguf").stat().st_size


def test_texts_are_shorter_where_memory_is_short(tmp_path: Path) -> None:
    path = tmp_path / "x.gguf"
    header = vector_model(path, **BERT | {"context_length": 8192})

    assert longest_text(header, None) == 2048
    assert longest_text(header, 9000) == 8192
    assert longest_that_fits(path, header, 2048, 1000 * MIB)[0] == 2048
    longest, need = longest_that_fits(path, header, 2048, 200 * MIB)
    assert (longest, need.total <= 200 * MIB) == (1024, True)
    with pytest.raises(ModelError, match=r"x.gguf needs .* of memory, and 10.5 MB are there. Choose a smaller model."):
        longest_that_fits(path, header, 2048, 10 * MIB)


def test_a_model_that_reads_texts_in_parts_keeps_keys_and_values_of_one(tmp_path: Path) -> None:
    path = tmp_path / "x.gguf"
    header = vector_model(path, "qwen3", pooling_type=LAST)
    need = need_of_vectors(path, header, 2048)

    assert need.kv == header.kv_bytes_per_token() * (2048 + 128)
    assert need.compute < 20 * MIB


def test_the_bundled_model_counts_as_the_copy_that_it_gets(tmp_path: Path) -> None:
    path = find(BundledModel()).path
    header = read_model_header(path)

    assert footprint_of(path, header) == replace(BUNDLED, weights=142_922_196)
    assert footprint_of(path, header, prepares=False).weights == path.stat().st_size
    assert footprint_of(path, header, kv_type="q8_0").kv_bytes_per_token == 23_040 * 34 // 64


@pytest.mark.parametrize(
    ("file_type", "tensors", "is_copied"),
    [(3, (1000, 1000), True), (15, (1000, 1000), False), (3, (1 << 20, 4096), False)],
)
def test_only_a_small_model_in_a_slow_form_gets_a_copy(
    tmp_path: Path, file_type: int, tensors: tuple[int, ...], is_copied: bool
) -> None:
    path = tmp_path / "a.gguf"
    path.write_bytes(model_file(general__file_type=file_type, tensors=[tensors]))

    weights = footprint_of(path, read_model_header(path)).weights

    assert weights == (1_062_500 if is_copied else path.stat().st_size)


def test_all_parts_of_a_split_model_count(tmp_path: Path) -> None:
    path = tmp_path / "a-00001-of-00002.gguf"
    path.write_bytes(model_file(general__file_type=3))
    other = path.with_name("a-00002-of-00002.gguf")
    other.write_bytes(gguf_file({}) + bytes(5000))

    assert footprint_of(path, read_model_header(path)).weights == path.stat().st_size + other.stat().st_size


def test_a_need_fits_is_tight_or_too_large() -> None:
    need = Need(weights=700, kv=200, compute=100)

    assert [fit(need, bound) for bound in (999, 1000, 1176, 1177)] == ["too_large", "tight", "tight", "fits"]


def test_what_would_fit_is_told_of_context_and_of_slots() -> None:
    need = BUNDLED.need(context=4096, slots=8)

    assert BUNDLED.what_would_fit(need.total, context=4096, slots=8) == Fitting(context=4096, slots=8)
    assert BUNDLED.what_would_fit(need.total - 1, context=4096, slots=8) == Fitting(context=3840, slots=7)
    assert BUNDLED.what_would_fit(BUNDLED.weights, context=4096, slots=8) == Fitting(None, None)


def test_who_wants_too_much_is_told_what_would_fit() -> None:
    def said(bound: int) -> str:
        return why_too_large("SmolLM2", BUNDLED, bound, context=4096, slots=8)

    assert said(600_000_000) == (
        "SmolLM2 needs 928.2 MB of memory (145.0 MB for its weights, 755.0 MB for 8 x 4096 tokens), and 600.0 MB are "
        "there. It fits with LLM_PARALLEL=4 or LLM_CONTEXT_TOKENS=2304."
    )
    assert said(100_000_000).endswith("Choose a smaller model; `model recommend` knows some.")


@given(
    footprint=st.sampled_from([BUNDLED, replace(BUNDLED, state_bytes=5_000_000)]),
    bound=st.integers(0, 3 << 30),
    context=st.integers(LEAST_CONTEXT, 40_000),
    slots=st.integers(1, 64),
)
def test_what_is_said_to_fit_does(footprint: Footprint, bound: int, context: int, slots: int) -> None:
    fitting = footprint.what_would_fit(bound, context=context, slots=slots)

    if fitting.context is not None:
        assert footprint.need(context=fitting.context, slots=slots).total <= bound
    if fitting.slots is not None:
        assert footprint.need(context=context, slots=fitting.slots).total <= bound
        if fitting.slots < slots:
            assert footprint.need(context=context, slots=fitting.slots + 1).total > bound


def test_a_recurrent_model_without_keys_and_values_fits_with_any_context() -> None:
    recurrent = replace(BUNDLED, kv_bytes_per_token=0, heads=0, state_bytes=50_000_000)

    assert recurrent.what_would_fit(1 << 30, context=4096, slots=8) == Fitting(context=4096, slots=8)
    assert recurrent.need(context=4096, slots=8).kv == 400_000_000
    assert recurrent.what_would_fit(400_000_000, context=4096, slots=8) == Fitting(context=None, slots=4)
