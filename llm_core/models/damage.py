"""Whether a file in huggingface_hub's cache has the bytes that the Hub has. The cache names large files by their hash;
huggingface_hub itself looks at the size only."""

from __future__ import annotations

import hashlib
import re
from pathlib import Path

SHA256 = re.compile(r"[0-9a-f]{64}")


def hash_of(file: Path) -> str | None:
    """The SHA-256 that a cached file should have; None where the cache does not tell."""
    name = file.resolve().name
    return name if SHA256.fullmatch(name) else None


def is_damaged(file: Path) -> bool:
    """Whether a cached file has other bytes than its hash says. Reads all of it: 1 to 5 s for each GB."""
    expected = hash_of(file)
    if expected is None:
        return False
    with file.open("rb") as opened:
        return hashlib.file_digest(opened, "sha256").hexdigest() != expected


def remove(file: Path) -> None:
    """Takes a file out of the cache, and the name by which a commit knows it."""
    file.resolve().unlink(missing_ok=True)
    file.unlink(missing_ok=True)
