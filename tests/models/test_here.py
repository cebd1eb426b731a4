"""The models on this machine, with what they are and whether they fit."""

from __future__ import annotations

from pathlib import Path

import pytest

from llm_core.models.here import Wish, models_here
from llm_core.models.resolve import resolve
from llm_core.models.source import FileModel, HubModel, parse_source
from llm_core.settings import Settings
from tests.models.conftest import Hub, Repository
from tests.models.gguf_file import model_file

WISH = Wish(bound=4_000_000_000, slots=8)


@pytest.fixture(autouse=True)
def downloaded(hub: Hub, cache: Path) -> None:
    hub.repositories["o/r"] = Repository({"a-Q8_0.gguf": model_file(general__license="mit")})
    resolve(parse_source("hf:o/r"), on_progress=lambda _done, _message: None)


def sources(models_dir: Path | None = None, *also: str) -> list[str]:
    here = models_here(WISH, models_dir=models_dir, also=map(parse_source, also))
    return [str(model.resolved.source) for model in here]


def test_the_bundled_one_the_cache_the_folder_and_what_was_named_are_there_once(tmp_path: Path) -> None:
    folder = tmp_path / "models"
    folder.mkdir()
    for path in (folder / "b.gguf", tmp_path / "c.gguf"):
        path.write_bytes(model_file())

    assert sources() == ["bundled", "hf:o/r:a-Q8_0.gguf"]
    assert sources(folder, "hf:o/r", "bundled", str(folder / "b.gguf"), str(tmp_path / "c.gguf"), "hf:o/none") == [
        "bundled",
        "hf:o/r:a-Q8_0.gguf",
        str(folder / "b.gguf"),
        str(tmp_path / "c.gguf"),
    ]


def test_what_is_told_of_one_is_of_its_header() -> None:
    bundled, downloaded = models_here(WISH)

    assert downloaded.info is not None
    assert downloaded.memory is not None
    assert (downloaded.info.name, downloaded.info.license, downloaded.info.context_train) == ("a", "mit", 4096)
    assert downloaded.memory.need.kv == 8 * 4096 * 4 * 2 * (64 + 64) * 2
    assert bundled.memory is not None
    assert (bundled.memory.fit, bundled.memory.context, bundled.memory.slots) == ("fits", 4096, 8)


def test_a_context_is_never_more_than_a_model_was_trained_for() -> None:
    wish = Wish(bound=1, slots=1, context=100_000)

    assert [(model.memory.context, model.memory.fit) for model in models_here(wish) if model.memory] == [
        (8192, "too_large"),
        (4096, "too_large"),
    ]


def test_one_that_cannot_be_read_says_why(tmp_path: Path) -> None:
    (tmp_path / "a.gguf").write_bytes(b"GGUF and no more")

    *_, broken = models_here(WISH, models_dir=tmp_path)

    assert broken.resolved.source == FileModel(tmp_path / "a.gguf")
    assert (broken.info, broken.memory) == (None, None)
    assert "has a header that cannot be read" in str(broken.problem)


def test_half_a_model_that_was_named_says_what_is_missing(tmp_path: Path) -> None:
    path = tmp_path / "a-00001-of-00002.gguf"
    path.write_bytes(model_file())

    *_, half = models_here(WISH, also=[FileModel(path)])

    assert "a-00002-of-00002.gguf cannot be read: No such file" in str(half.problem)


def test_the_wish_is_the_operators() -> None:
    settings = Settings(parallel=2, context_tokens=1024, kv_type="q8_0", prepare="off")

    assert Wish.of(settings, 7) == Wish(7, 2, 1024, "q8_0", False)
    assert Wish.of(settings).bound > 0


def test_a_model_of_the_hub_keeps_its_source() -> None:
    assert models_here(WISH)[1].resolved.source == HubModel("o/r", "a-Q8_0.gguf")
