"""The table of models worth knowing."""

from __future__ import annotations

from pathlib import Path

import pytest

from llm_core.models.choice import choose
from llm_core.models.fit import footprint_of
from llm_core.models.header import read_model_header
from llm_core.models.quantization import quantization_in
from llm_core.models.recommended import Recommended, best_for, recommended, table
from llm_core.models.resolve import find
from llm_core.models.source import BundledModel, HubModel
from tests.engine.conftest import sliding_window_path as sliding_window_path  # the fixture

GB = 1_000_000_000


@pytest.mark.parametrize("model", table(), ids=lambda model: model.name)
def test_a_row_names_one_file_and_its_figures_agree(model: Recommended) -> None:
    assert model.why.endswith(".")
    if isinstance(model.source, HubModel):
        assert model.source.file
        assert choose(model.source, [model.source.file]).files == (model.source.file,)
        assert quantization_in(model.source.file) in ("Q4_K_M", "Q8_0", "MXFP4")
    assert 4 <= 8 * model.size_bytes / model.parameters <= 9.5, "bits a weight"
    assert model.footprint.kv_bytes_per_token % 1024 == 0 or model.source == BundledModel()


def test_no_model_is_there_twice_and_the_bundled_one_is_first() -> None:
    assert len({model.source for model in table()}) == len({model.name for model in table()}) == len(table()) >= 12
    assert table()[0].source == BundledModel()


def test_what_can_be_looked_up_here_is_as_it_is_said(sliding_window_path: Path) -> None:
    rows = {model.name: model for model in table()}
    path = find(BundledModel()).path
    real, row = footprint_of(path, read_model_header(path)), rows["SmolLM2-135M-Instruct"]
    assert row.size_bytes == pytest.approx(path.stat().st_size, rel=0.01)
    assert row.footprint.weights == pytest.approx(real.weights, rel=0.01)
    assert (row.footprint.kv_bytes_per_token, row.footprint.heads) == (real.kv_bytes_per_token, real.heads)
    assert (row.footprint.embedding_length, row.footprint.vocab_size) == (real.embedding_length, real.vocab_size)

    gemma, row = read_model_header(sliding_window_path), rows["gemma-3-270m-it"]
    assert row.footprint.kv_bytes_per_token == gemma.kv_bytes_per_token()
    assert (row.footprint.heads, row.footprint.vocab_size) == (gemma.heads, gemma.vocab_size)
    assert row.context_train == gemma.context_train
    assert row.parameters == pytest.approx(gemma.parameters, rel=0.01)


def test_the_best_model_that_fits_is_better_where_there_is_more_memory() -> None:
    names = [best.model.name for gb in (0.4, 1, 3, 8, 16, 32) if (best := best_for(int(gb * GB), slots=1)) is not None]

    order = [model.name for model in table()]
    assert [order.index(name) for name in names] == sorted({order.index(name) for name in names})
    assert names[-1] == order[-1]


def test_every_model_is_told_with_its_fit() -> None:
    every = recommended(3 * GB)

    assert [each.model for each in every] == list(table())
    assert every[0].fit == "fits"
    assert every[-1].fit == "too_large"
    assert best_for(100_000_000) is None


def test_the_need_follows_what_was_wished_for() -> None:
    first, *_ = recommended(GB, slots=2, context=32_768)
    fewer_bits, *_ = recommended(GB, slots=2, context=32_768, kv_type="q8_0")

    assert first.context == 8192, "it was not trained for more"
    assert first.need.kv == 2 * 8192 * 23_040
    assert fewer_bits.need.kv == first.need.kv * 34 // 64
