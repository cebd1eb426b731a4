"""Sizes in words."""

from __future__ import annotations


def size_text(size: float) -> str:
    """A number of bytes as the Hub and file managers write it: `98.4 MB`."""
    for unit in ("bytes", "kB", "MB", "GB"):
        if size < 1000:
            return f"{size:.0f} {unit}" if unit == "bytes" else f"{size:.1f} {unit}"
        size /= 1000
    return f"{size:.1f} TB"
