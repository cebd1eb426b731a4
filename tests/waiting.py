"""Waiting on conditions, the conditions that many tests wait for, and ports for their servers."""

from __future__ import annotations

import socket
import threading
from collections.abc import Callable

import pytest

from llm_core.client import LLMClient
from llm_core.engine.facts import EngineStats

LOOK_SECONDS = 0.02


def wait_until(condition: Callable[[], bool], what: str, seconds: float = 60.0) -> None:
    """Looks again and again until `condition` holds; fails after that time, and says that it waited for `what`."""
    pause = threading.Event()
    for _ in range(int(seconds / LOOK_SECONDS)):
        if condition():
            return
        pause.wait(LOOK_SECONDS)
    pytest.fail(f"waited {seconds:.0f} s in vain: {what}")


def stats_of(client: LLMClient) -> EngineStats:
    stats = client.stats()
    assert stats is not None
    return stats


def is_idle(client: LLMClient) -> bool:
    return (stats_of(client).running, stats_of(client).waiting) == (0, 0)


def free_port() -> int:
    with socket.socket() as probe:
        probe.bind(("127.0.0.1", 0))
        return int(probe.getsockname()[1])


def is_open(port: int) -> bool:
    """Whether a server listens on a port of this machine."""
    with socket.socket() as caller:
        return caller.connect_ex(("127.0.0.1", port)) == 0
