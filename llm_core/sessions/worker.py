"""Who makes a reply: a name for this process that others on the same database can check."""

from __future__ import annotations

import os
import socket

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
    except psutil.Error:
        return True


def _name(process_id: int) -> str:
    return f"{socket.gethostname()}/{process_id}/{psutil.Process(process_id).create_time():.2f}"
