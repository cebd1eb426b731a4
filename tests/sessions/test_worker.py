"""The name of a process: how others on its database know that it lives, or that it has gone."""

from __future__ import annotations

import socket
import subprocess
import sys
from collections.abc import Iterator

import psutil
import pytest

from llm_core.sessions import worker
from llm_core.sessions.worker import LEASE_SECONDS, is_gone, this_worker
from tests.waiting import wait_until

pytestmark = pytest.mark.slow
NOW = 1_000_000.0


@pytest.fixture
def process() -> Iterator[subprocess.Popen[bytes]]:
    """Another one, which waits until it is ended."""
    process = subprocess.Popen([sys.executable, "-c", "input()"], stdin=subprocess.PIPE)
    yield process
    process.kill()
    process.wait()


def test_a_process_is_there_until_it_has_ended(process: subprocess.Popen[bytes]) -> None:
    name = worker._name(process.pid)

    assert not is_gone(name, heartbeat_at=0, now=NOW)
    process.kill()
    process.wait()
    assert is_gone(name, heartbeat_at=NOW, now=NOW)


def test_one_that_nobody_has_waited_for_is_gone_too(process: subprocess.Popen[bytes]) -> None:
    name = worker._name(process.pid)

    process.kill()
    wait_until(lambda: psutil.Process(process.pid).status() == psutil.STATUS_ZOMBIE, "the process has ended")

    assert is_gone(name, heartbeat_at=NOW, now=NOW)


@pytest.mark.skipif(not psutil.LINUX, reason="psutil counts from the boot on Linux alone")
def test_setting_the_clock_ends_nobody(monkeypatch: pytest.MonkeyPatch) -> None:
    name, began = this_worker(), psutil.Process().create_time()
    booted = psutil.boot_time()
    monkeypatch.setattr(psutil._pslinux, "boot_time", lambda: booted + 3600)

    assert psutil.Process().create_time() > began + 3000, "psutil's time goes with the clock"
    assert this_worker() == name
    assert not is_gone(name, heartbeat_at=NOW, now=NOW)


def test_a_process_that_has_anothers_id_is_not_that_one() -> None:
    host, process_id, _ = this_worker().split("/")

    assert is_gone(f"{host}/{process_id}/1.00", heartbeat_at=NOW, now=NOW)
    assert is_gone(f"{host}/?/1.00", heartbeat_at=NOW, now=NOW)


def test_of_one_on_another_machine_the_last_sign_of_life_decides() -> None:
    name = f"not-{socket.gethostname()}/1/1.00"

    assert not is_gone(name, heartbeat_at=NOW - LEASE_SECONDS, now=NOW)
    assert is_gone(name, heartbeat_at=NOW - LEASE_SECONDS - 1, now=NOW)
