"""Sizes of models, and in words."""

from __future__ import annotations

from pathlib import Path

from llm_core.models.choice import parts_of


def size_text(size: float) -> str:
    """A number of bytes as the Hub and file managers write it: `98.4 MB`."""
    for unit in ("bytes", "kB", "MB", "GB"):
        if size < 1000:
            return f"{size:.0f} {unit}" if unit == "bytes" else f"{size:.1f} {unit}"
        size /= 1000
    return f"{size:.1f} TB"


def size_on_disk(path: Path) -> int:
    """Bytes of a model's file, or of all parts of a split one that are there."""
    parts = map(path.with_name, parts_of(path.name))
    return sum(part.stat().st_size for part in parts if part.exists())
