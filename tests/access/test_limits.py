"""How many requests are allowed, counted in one process or by several together."""

from __future__ import annotations

import shutil
import subprocess
from collections.abc import Iterator
from pathlib import Path

import pytest
from starlette.requests import HTTPConnection

from llm_core.access.gate import OWNER_KEY
from llm_core.access.limits import CallerLimit
from llm_core.errors import RateLimited
from llm_core.rate_limit import RateLimit
from llm_core.settings import Settings
from scripts.system_packages import NO_REDIS
from tests.missing import skip_unless_ci
from tests.waiting import free_port, is_open, wait_until


@pytest.fixture
def redis_port(tmp_path: Path) -> Iterator[int]:
    """The port of a Redis of the test's own. Without one the test skips, but never in CI."""
    program = shutil.which("redis-server")
    if program is None:
        skip_unless_ci("the tests on Redis", NO_REDIS)
    port = free_port()
    command = [program, "--port", str(port), "--bind", "127.0.0.1", "--save", "", "--dir", str(tmp_path)]
    server = subprocess.Popen(command, stdout=subprocess.DEVNULL)
    try:
        wait_until(lambda: is_open(port), "Redis listens")
        yield port
    finally:
        server.kill()
        server.wait(10)


def test_processes_that_share_a_redis_count_together(redis_port: int) -> None:
    url = f"redis://127.0.0.1:{redis_port}"
    first, second = RateLimit("3/minute", url), RateLimit("3/minute", url)
    first.check("ann")
    second.check("ann")
    first.check("ann")

    with pytest.raises(RateLimited) as refused:
        second.check("ann")
    assert refused.value.retry_after is not None
    assert 1 <= refused.value.retry_after <= 60
    second.check("bob")


def test_one_who_is_refused_is_told_when_the_next_is_allowed() -> None:
    limit = RateLimit("2/hour")
    limit.check("ann")
    limit.check("ann")

    with pytest.raises(RateLimited) as refused:
        limit.check("ann")
    assert refused.value.retry_after is not None
    assert 2400 < refused.value.retry_after <= 3600, "an hour after the first"


def test_without_an_answer_from_redis_each_process_counts_for_itself(caplog: pytest.LogCaptureFixture) -> None:
    limit = RateLimit("2/minute", f"redis://:hunter2@127.0.0.1:{free_port()}")
    limit.check("ann")
    limit.check("ann")

    with pytest.raises(RateLimited):
        limit.check("ann")
    assert "Redis does not answer" in caplog.text
    assert "hunter2" not in caplog.text


# ── callers over HTTP ────────────────────────────────────────────────────────────────────────────────────────────────


def caller(address: str, owner: str = "") -> HTTPConnection:
    return HTTPConnection({"type": "http", "client": (address, 1), OWNER_KEY: owner})


def is_limited(limit: CallerLimit, who: HTTPConnection, requests: int = 100) -> bool:
    try:
        for _ in range(requests):
            limit.check_caller(who)
    except RateLimited:
        return True
    return False


@pytest.mark.parametrize("address", ["127.0.0.1", "::1"])
def test_who_calls_from_this_machine_a_server_for_it_alone_is_not_counted(address: str) -> None:
    assert not is_limited(CallerLimit(Settings()), caller(address))


@pytest.mark.parametrize(
    ("who", "settings"),
    [
        (caller("127.0.0.1"), {"rate_limit": "60/minute"}),
        (caller("127.0.0.1", "name:ann"), {}),
        (caller("127.0.0.1", "address:127.0.0.1"), {}),
        (caller("192.0.2.7"), {}),
    ],
    ids=["where the settings say so", "with a token", "where others can call too", "from elsewhere, through a proxy"],
)
def test_all_others_are_counted(who: HTTPConnection, settings: dict[str, str]) -> None:
    assert is_limited(CallerLimit(Settings(**settings)), who)
