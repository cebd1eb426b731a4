"""Sizes of models."""

from __future__ import annotations

from pathlib import Path

from llm_core.models.choice import parts_of


def size_on_disk(path: Path) -> int:
    """Bytes of a model's file, or of all parts of a split one that are there."""
    parts = map(path.with_name, parts_of(path.name))
    return sum(part.stat().st_size for part in parts if part.exists())
