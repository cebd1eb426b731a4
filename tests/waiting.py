"""Waiting on conditions, the conditions that many tests wait for, and ports for their servers."""

from __future__ import annotations

import os
import socket
import threading
from collections.abc import Callable, Iterator
from contextlib import suppress
from itertools import count

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


def _port_numbers() -> Iterator[int]:
    """Below those that the system gives to callers, and others in each of the processes that share the tests: a port is
    free for a while before its server takes it."""
    worker = int(os.environ.get("PYTEST_XDIST_WORKER", "gw0").removeprefix("gw"))
    first = 12_000 + worker % 4 * 5000
    while True:
        yield first + next(_TAKEN) % 5000


_TAKEN = count(os.getpid() * 61)  # tests that run tests have the same worker's name
_PORTS = _port_numbers()


def free_port() -> int:
    for port in _PORTS:
        with socket.socket() as probe, suppress(OSError):
            probe.bind(("127.0.0.1", port))
            return port
    raise AssertionError("there is no end of them")


def is_open(port: int) -> bool:
    """Whether a server listens on a port of this machine."""
    with socket.socket() as caller:
        return caller.connect_ex(("127.0.0.1", port)) == 0
