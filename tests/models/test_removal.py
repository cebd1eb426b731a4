"""Removing models: just what is meant, and nothing that is elsewhere."""

from __future__ import annotations

from pathlib import Path

import pytest

from llm_core.errors import ModelError
from llm_core.models.cache import cached_models
from llm_core.models.removal import Removed, remove_model
from llm_core.models.resolve import find, resolve
from llm_core.models.source import BundledModel, parse_source
from tests.models.conftest import COMMIT, NEXT_COMMIT, Hub, Repository, gguf

MANY = {"README.md": b"#", "a-Q4_K_M.gguf": gguf(3000), "a-Q8_0.gguf": gguf(5000)}
SPLIT = {"q/b-00001-of-00002.gguf": gguf(2000), "q/b-00002-of-00002.gguf": gguf(1500)}


@pytest.fixture(autouse=True)
def repositories(hub: Hub, cache: Path) -> dict[str, Repository]:
    hub.repositories = {"o/many": Repository(MANY), "o/split": Repository(SPLIT)}
    return hub.repositories


def pulled(*specs: str) -> None:
    for spec in specs:
        resolve(parse_source(spec), on_progress=lambda _done, _message: None)


def removed(spec: str, models_dir: Path | None = None) -> Removed:
    return remove_model(parse_source(spec), models_dir=models_dir)


def refusal(spec: str, models_dir: Path | None = None) -> str:
    with pytest.raises(ModelError) as refused:
        removed(spec, models_dir)
    return refused.value.message


def here() -> list[str]:
    return [str(model.source) for model in cached_models()]


def bytes_in(folder: Path) -> int:
    return sum(file.stat().st_size for file in folder.rglob("*") if file.is_file() and not file.is_symlink())


class TestOfTheHub:
    def test_a_model_is_gone_and_its_bytes_are_free(self, cache: Path) -> None:
        pulled("hf:o/split")

        gone = removed("hf:o/split")

        assert gone.freed_bytes == 3500
        assert {file.name for file in gone.files} == {Path(name).name for name in SPLIT}
        assert here() == []
        assert bytes_in(cache) < 1000

    def test_another_model_of_its_repository_stays(self) -> None:
        pulled("hf:o/many:a-Q4_K_M.gguf", "hf:o/many:a-Q8_0.gguf")

        assert removed("hf:o/many:*Q8*").freed_bytes == 5000

        assert here() == ["hf:o/many:a-Q4_K_M.gguf"]
        assert find(parse_source("hf:o/many")).path.read_bytes() == MANY["a-Q4_K_M.gguf"]

    def test_bytes_that_another_commit_has_too_stay(self, repositories: dict[str, Repository]) -> None:
        pulled("hf:o/many:a-Q8_0.gguf")
        repositories["o/many"].commit = NEXT_COMMIT
        pulled("hf:o/many:a-Q8_0.gguf")

        assert removed("hf:o/many:a-Q8_0.gguf").freed_bytes == 0
        assert here() == [f"hf:o/many:a-Q8_0.gguf@{COMMIT}"]

        assert removed(f"hf:o/many:a-Q8_0.gguf@{COMMIT}").freed_bytes == 5000
        assert here() == []

    def test_what_came_of_a_download_of_its_repository_stays(self, cache: Path) -> None:
        pulled("hf:o/many:a-Q8_0.gguf")
        part = cache / "models--o--many" / "blobs" / "0f.incomplete"
        part.write_bytes(b"some")

        assert removed("hf:o/many:a-Q8_0.gguf").freed_bytes == 5000

        assert part.exists()
        assert here() == []

    def test_it_can_be_fetched_again(self) -> None:
        pulled("hf:o/many:a-Q8_0.gguf")
        removed("hf:o/many:a-Q8_0.gguf")

        pulled("hf:o/many:a-Q8_0.gguf")

        assert here() == ["hf:o/many:a-Q8_0.gguf"]

    def test_what_is_not_here_or_not_clear_is_refused(self) -> None:
        assert "hf:o/many is not on this machine" in refusal("hf:o/many")
        pulled("hf:o/many:a-Q4_K_M.gguf", "hf:o/many:a-Q8_0.gguf")
        assert "or means several models" in refusal("hf:o/many:a-*")
        assert len(here()) == 2


class TestOfTheFolder:
    @pytest.fixture
    def folder(self, tmp_path: Path) -> Path:
        folder = tmp_path / "models"
        (folder / "sub").mkdir(parents=True)
        for name in ("a.gguf", "sub/b-00001-of-00002.gguf", "sub/b-00002-of-00002.gguf"):
            (folder / name).write_bytes(gguf())
        return folder

    def test_a_model_is_gone_with_all_its_parts_and_others_stay(self, folder: Path) -> None:
        gone = removed(str(folder / "sub/b-00001-of-00002.gguf"), folder)

        assert gone.freed_bytes == 2000
        assert [file.name for file in folder.rglob("*.gguf")] == ["a.gguf"]

    def test_a_link_goes_and_what_it_leads_to_stays(self, folder: Path, tmp_path: Path) -> None:
        (tmp_path / "real.gguf").write_bytes(gguf())
        (folder / "link.gguf").symlink_to(tmp_path / "real.gguf")

        assert removed(str(folder / "link.gguf"), folder).freed_bytes == 0

        assert not (folder / "link.gguf").is_symlink()
        assert (tmp_path / "real.gguf").exists()

    def test_a_file_elsewhere_stays_by_whatever_way_it_is_named(self, folder: Path, tmp_path: Path) -> None:
        outside = tmp_path / "elsewhere" / "c.gguf"
        outside.parent.mkdir()
        outside.write_bytes(gguf())
        (folder / "linked").symlink_to(outside.parent)
        (folder / "notes.txt").write_text("no model")

        for way in (outside, "../elsewhere/c.gguf", "linked/c.gguf", "notes.txt", ".", "gone.gguf"):
            assert "is not removed: it is no model of LLM_MODELS_DIR" in refusal(str(folder / way), folder)
        assert "only models below LLM_MODELS_DIR are" in refusal(str(folder / "a.gguf"))

        assert outside.exists()
        assert (folder / "a.gguf").exists()


def test_the_bundled_model_stays() -> None:
    assert "is a part of the installation and stays" in refusal("bundled")
    assert find(BundledModel()).path.exists()
