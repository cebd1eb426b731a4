"""How much memory is left."""

from __future__ import annotations

from pathlib import Path

import psutil
import pytest

from llm_core import memory
from llm_core.memory import free_memory


@pytest.fixture(autouse=True)
def cgroup(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Path:
    """A system with 8 GB available, and a place for a container's limit."""
    monkeypatch.setattr(memory, "_CGROUP", tmp_path)
    monkeypatch.setattr(psutil, "virtual_memory", lambda: type("Memory", (), {"available": 8_000})())
    return tmp_path


def write(cgroup: Path, limit: str, used: str, stat: str = "anon 1\ninactive_file 500\n") -> None:
    (cgroup / "memory.max").write_text(limit)
    (cgroup / "memory.current").write_text(used)
    (cgroup / "memory.stat").write_text(stat)


def test_without_a_container_it_is_what_the_system_says(cgroup: Path) -> None:
    assert free_memory() == 8_000


@pytest.mark.parametrize(
    ("limit", "used", "left"),
    [("max\n", "9000\n", 8_000), ("4000\n", "1500\n", 3_000), ("100000\n", "0\n", 8_000), ("1000\n", "2000\n", 0)],
)
def test_a_containers_limit_counts_where_it_leaves_less(cgroup: Path, limit: str, used: str, left: int) -> None:
    write(cgroup, limit, used)

    assert free_memory() == left


def test_what_cannot_be_understood_is_no_limit(cgroup: Path) -> None:
    write(cgroup, "4000", "1000", stat="one two three")

    assert free_memory() == 8_000
