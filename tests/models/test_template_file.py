"""A chat template of the operator's own: read whole, or refused in a sentence that names its file."""

from __future__ import annotations

from pathlib import Path

import pytest

from llm_core.errors import ModelError
from llm_core.models.template_file import MAX_BYTES, read_template


def test_the_source_is_read_as_it_is(tmp_path: Path) -> None:
    path = tmp_path / "x.jinja"
    path.write_text("{{ messages }}\n é", encoding="utf-8")

    assert read_template(path) == "{{ messages }}\n é"
    assert read_template(None) is None


@pytest.mark.parametrize(
    ("content", "told"),
    [
        (b"x" * (MAX_BYTES + 1), "longer than 1,000,000 bytes"),
        (b"ok \xff", "not UTF-8: byte 3"),
        (b" \n", "is empty"),
        (None, "cannot be read: No such file"),
    ],
    ids=lambda value: str(value)[:20],
)
def test_what_is_no_template_is_refused(tmp_path: Path, content: bytes | None, told: str) -> None:
    path = tmp_path / "x.jinja"
    if content is not None:
        path.write_bytes(content)

    with pytest.raises(ModelError, match=f"^The chat template {path} .*{told}"):
        read_template(path)


def test_a_folder_is_refused(tmp_path: Path) -> None:
    with pytest.raises(ModelError, match="cannot be read"):
        read_template(tmp_path)
