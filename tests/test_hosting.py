"""On a Hugging Face Space: where data goes, and what people are told of how long it lasts."""

from __future__ import annotations

from pathlib import Path

import pytest

from llm_core import hosting
from llm_core.settings import Settings


@pytest.fixture
def disk(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Path:
    """A Space's /data, and a list of mounts that `mount` writes."""
    disk = tmp_path / "data"
    disk.mkdir()
    monkeypatch.setattr(hosting, "SPACE_DISK", disk)
    monkeypatch.setattr(hosting, "_MOUNTS", tmp_path / "mounts")
    monkeypatch.setattr(hosting.persistent_disk, "__defaults__", (tmp_path / "mounts",))
    monkeypatch.setenv("SPACE_ID", "owner/name")
    monkeypatch.delenv("LLM_DATA_DIR", raising=False)
    return disk


def mount(disk: Path, *kinds: str) -> None:
    lines = ["overlay / overlay rw 0 0", *(f"/dev/x {disk} {kind} rw 0 0" for kind in kinds)]
    (disk.parent / "mounts").write_text("\n".join(lines))


def test_sessions_go_to_the_persistent_disk_of_a_space(disk: Path) -> None:
    mount(disk, "ext4")

    settings = Settings.load()

    assert settings.data_dir == disk / "llm_core"
    assert settings.sessions_url().database == f"{disk}/llm_core/sessions.db"


@pytest.mark.parametrize("kinds", [[], ["fuse.hf-mount"], ["nfs4"], ["9p"], ["ext4", "fuse.hf-mount"]])
def test_what_is_no_disk_is_no_place_for_a_database(disk: Path, kinds: list[str]) -> None:
    mount(disk, *kinds)

    settings = Settings.load()

    assert not settings.data_dir.is_relative_to(disk)
    assert settings.storage_notice() == "This Space has no persistent disk: conversations are kept until it restarts."


def test_a_disk_that_cannot_be_written_is_none(disk: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    mount(disk, "ext4")
    monkeypatch.setattr(hosting.os, "access", lambda _path, _mode: False)

    assert hosting.persistent_disk() is None


def test_where_nothing_is_lost_nothing_is_said(disk: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    mount(disk, "ext4")
    monkeypatch.setattr(Path, "is_mount", lambda path: path == disk)
    assert Settings.load().storage_notice() == ""

    monkeypatch.setenv("LLM_DATABASE_URL", "postgresql+psycopg://host/chat")
    monkeypatch.setenv("LLM_DATA_DIR", "/tmp/x")
    assert Settings.load().storage_notice() == ""


def test_elsewhere_nothing_changes(disk: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    mount(disk, "ext4")
    monkeypatch.delenv("SPACE_ID")

    settings = Settings.load()

    assert not settings.data_dir.is_relative_to(disk)
    assert settings.storage_notice() == ""
    assert not settings.fallback
