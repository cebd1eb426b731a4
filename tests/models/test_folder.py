"""The models in a folder of the operator's."""

from __future__ import annotations

import os
from pathlib import Path

import pytest

from llm_core.models import folder as folder_module
from llm_core.models.folder import MAX_DEPTH, models_below
from llm_core.models.source import FileModel, parse_source
from tests.models.conftest import gguf


def written(folder: Path, *names: str) -> Path:
    for name in names:
        (folder / name).parent.mkdir(parents=True, exist_ok=True)
        (folder / name).write_bytes(gguf())
    return folder


def found(folder: Path) -> list[str]:
    return [model.path.relative_to(folder).as_posix() for model in models_below(folder)]


def test_models_are_found_at_any_place_below_and_are_sources_that_can_be_named(tmp_path: Path) -> None:
    written(tmp_path, "b.gguf", "a/c-Q4_K_M.gguf")
    (tmp_path / "notes.txt").write_text("no model")

    models = models_below(tmp_path)

    assert [model.source for model in models] == [
        FileModel(tmp_path / "a/c-Q4_K_M.gguf"),
        FileModel(tmp_path / "b.gguf"),
    ]
    assert all(parse_source(str(model.source)) == model.source for model in models)


def test_a_split_model_is_one_and_is_left_out_where_a_part_is_missing(
    tmp_path: Path, caplog: pytest.LogCaptureFixture
) -> None:
    written(tmp_path, "big-00001-of-00002.gguf", "big-00002-of-00002.gguf", "half-00001-of-00002.gguf")

    assert found(tmp_path) == ["big-00001-of-00002.gguf"]
    assert "half-00002-of-00002.gguf is missing" in caplog.text


def test_companions_and_hidden_files_are_no_models(tmp_path: Path) -> None:
    written(tmp_path, "mmproj-a-F16.gguf", "a.imatrix.gguf", ".hidden.gguf", ".cache/b.gguf", "a.gguf")

    assert found(tmp_path) == ["a.gguf"]


def test_what_is_no_model_is_left_out_with_a_line_in_the_log(tmp_path: Path, caplog: pytest.LogCaptureFixture) -> None:
    written(tmp_path, "a.gguf")
    (tmp_path / "page.gguf").write_bytes(b"<html>")
    (tmp_path / "folder.gguf").mkdir()
    (tmp_path / "dead.gguf").symlink_to(tmp_path / "gone")
    os.mkfifo(tmp_path / "pipe.gguf")

    assert found(tmp_path) == ["a.gguf"]
    assert "page.gguf is not a GGUF file" in caplog.text
    assert "pipe.gguf is not a file" in caplog.text
    assert "dead.gguf is not a file" in caplog.text


def test_a_folder_that_is_not_there_has_no_models(tmp_path: Path, caplog: pytest.LogCaptureFixture) -> None:
    assert models_below(tmp_path / "none") == []
    assert "No such file or directory" in caplog.text


def test_a_link_to_a_folder_is_followed_and_one_that_leads_back_ends(tmp_path: Path) -> None:
    written(tmp_path / "elsewhere", "a.gguf")
    models = written(tmp_path / "models", "sub/b.gguf")
    (models / "linked").symlink_to(tmp_path / "elsewhere")
    (models / "sub" / "back").symlink_to(models)

    assert found(models) == ["linked/a.gguf", "sub/b.gguf"]


def test_the_search_is_bounded(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    deep = "/".join(["d"] * MAX_DEPTH)
    written(tmp_path, f"{deep}/in.gguf", f"{deep}/d/out.gguf")
    assert found(tmp_path) == [f"{deep}/in.gguf"]

    written(tmp_path, "a.gguf", "b.gguf", "c.gguf")
    monkeypatch.setattr(folder_module, "MAX_MODELS", 2)
    assert found(tmp_path) == ["a.gguf", "b.gguf"]
    monkeypatch.setattr(folder_module, "MAX_NAMES", 1)
    assert found(tmp_path) == ["a.gguf"]
