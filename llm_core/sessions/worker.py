"""Who makes a reply: a name for this process that others on the same database can check."""

from __future__ import annotations

import os
import socket
from pathlib import Path

import psutil

# Longer than a checkpoint ever takes; only asked where the process runs on another machine.
LEASE_SECONDS = 15.0


def this_worker() -> str:
    """Host, process id, and when the process began, since ids come again."""
    return _name(os.getpid())


def is_gone(worker: str, heartbeat_at: float, now: float) -> bool:
    """Whether the process that was to finish a turn has ended. On this machine that is known at once."""
    host, _, rest = worker.partition("/")
    if host != socket.gethostname():
        return now - heartbeat_at > LEASE_SECONDS
    process_id = rest.partition("/")[0]
    try:
        return not process_id.isdecimal() or _name(int(process_id)) != worker
    except (psutil.Error, OSError):
        return True


def _name(process_id: int) -> str:
    return f"{socket.gethostname()}/{process_id}/{_began(process_id)}"


def _began(process_id: int) -> str:
    """When a process began, in words that stay the same while it lives.

    psutil's `create_time` does not on Linux, where it changes whenever the clock is set.

    Raises:
        psutil.Error, OSError: It has ended, though its parent may not have heard of that.
    """
    process = psutil.Process(process_id)
    if process.status() == psutil.STATUS_ZOMBIE:
        raise psutil.ZombieProcess(process_id)
    if not psutil.LINUX:
        return f"{process.create_time():.2f}"
    boot = Path("/proc/sys/kernel/random/boot_id").read_text().strip()
    after_name = Path(f"/proc/{process_id}/stat").read_text(errors="replace").rpartition(")")[2].split()
    return f"{boot}+{after_name[19]}"  # proc(5): starttime, in clock ticks since the boot
