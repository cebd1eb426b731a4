"""Where this process runs, as far as that decides what it may do: on a Hugging Face Space or not, and on which disk."""

from __future__ import annotations

import os
from pathlib import Path

from platformdirs import user_data_path

SPACE_VARIABLE = "SPACE_ID"
SPACE_DISK = Path("/data")

_MOUNTS = Path("/proc/self/mounts")
# A Space's /data may be a bucket too, seen through a network file system, on which SQLite loses what it has locked and
# synced. What is not known to be a disk is taken for no disk.
_DISKS = frozenset({"ext2", "ext3", "ext4", "xfs", "btrfs", "zfs", "f2fs"})


def on_space() -> bool:
    """Whether this is a Hugging Face Space."""
    return SPACE_VARIABLE in os.environ


def persistent_disk(mounts: Path = _MOUNTS) -> Path | None:
    """Where a Space's persistent disk is; None where it has none, or one that cannot be written.

    Args:
        mounts: The system's list of what is mounted.
    """
    try:
        lines = mounts.read_text(encoding="utf-8", errors="replace").splitlines()
    except OSError:
        return None
    kinds = {fields[1]: fields[2] for line in lines if len(fields := line.split()) > 2}  # the last mount is on top
    is_disk = kinds.get(str(SPACE_DISK)) in _DISKS
    return SPACE_DISK if is_disk and os.access(SPACE_DISK, os.W_OK) else None


def default_data_dir() -> Path:
    """The folder for what outlives the process: of a Space its persistent disk, else the platform's for user data."""
    if on_space() and (disk := persistent_disk()):
        return disk / "llm_core"
    return user_data_path("llm_core", appauthor=False)


def outlives_restart(folder: Path) -> bool:
    """Whether what is in `folder` is there after a restart. On a Space only what is on a mount at /data is."""
    return not on_space() or (folder.is_relative_to(SPACE_DISK) and SPACE_DISK.is_mount())
