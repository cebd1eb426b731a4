"""How much memory there is left for this process: what the system has, and what a container's limit leaves of it."""

from __future__ import annotations

from pathlib import Path

import psutil

_CGROUP = Path("/sys/fs/cgroup")  # in a container its own; elsewhere the whole system's, which has no limit


def free_memory() -> int:
    """Bytes that can be taken without others being swapped out, or this process being killed."""
    available = int(psutil.virtual_memory().available)
    left = _left_by_container()
    return available if left is None else min(available, left)


def _left_by_container() -> int | None:
    """None where there is no limit (control groups v2; the older kind is not looked for)."""
    try:
        limit = int((_CGROUP / "memory.max").read_text())  # or the word `max`
        used = int((_CGROUP / "memory.current").read_text())
        facts = dict(line.split() for line in (_CGROUP / "memory.stat").read_text().splitlines())
        # Pages of files that were not read lately make room for others.
        return max(0, limit - used + int(facts.get("inactive_file", "0")))
    except (OSError, ValueError):
        return None
