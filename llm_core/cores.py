"""How many cores there are for this process."""

from __future__ import annotations

import psutil


def default_threads() -> int:
    """As many threads as the machine has physical cores, where this process may use them all."""
    cores = psutil.cpu_count(logical=False) or psutil.cpu_count() or 1
    try:
        allowed = len(psutil.Process().cpu_affinity())
    except (AttributeError, psutil.Error):  # not every system has affinities
        return cores
    return max(1, min(cores, allowed))
