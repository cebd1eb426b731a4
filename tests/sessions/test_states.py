"""What the engine keeps on disk of a session: it is there after `kill -9`, and gone with the session."""

from __future__ import annotations

import json
import os
import signal
import subprocess
import sys
import threading
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import pytest

from llm_core import LLMClient
from llm_core.engine.kv.entry import DiskEntry, HostEntry
from llm_core.engine.kv.state_folder import StateFolder
from llm_core.engine.kv.state_path import state_folder, state_path
from llm_core.sessions.database import open_database
from llm_core.sessions.store import SessionStore
from llm_core.settings import Settings
from tests.waiting import wait_until

ROOT = Path(__file__).resolve().parents[2]
LONG = "Tell me about the lighthouse, the storm and the ship that came too late. " * 40
TURN = """
import json, sys
from llm_core import LLMClient
client = LLMClient()
reply = client.chat_session("trip", sys.argv[1], max_tokens=6, temperature=0)
print(json.dumps([reply.usage.prompt_tokens, reply.usage.cached_tokens, reply.content]), flush=True)
sys.stdin.read()
client.close()
"""

pytestmark = pytest.mark.local_engine


class Process:
    """A process that has said one thing in a session, and waits."""

    def __init__(self, data_dir: Path, message: str, **variables: str) -> None:
        self.popen = subprocess.Popen(
            [sys.executable, "-c", TURN, message],
            cwd=ROOT,
            env=os.environ | {"LLM_DATA_DIR": str(data_dir), "LLM_PARALLEL": "2"} | variables,
            stdin=subprocess.PIPE,
            stdout=subprocess.PIPE,
            text=True,
        )
        assert self.popen.stdout is not None
        line = self.popen.stdout.readline()
        self.prompt_tokens, self.cached_tokens, self.text = json.loads(line)

    def kill(self) -> None:
        self.popen.send_signal(signal.SIGKILL)
        self.popen.communicate()

    def end(self) -> None:
        self.popen.communicate("")
        assert self.popen.returncode == 0


@pytest.mark.slow
@pytest.mark.parametrize("end", [Process.kill, Process.end])
def test_after_a_kill_or_a_restart_the_next_turn_goes_on_from_the_disk(tmp_path: Path, end: object) -> None:
    first = Process(tmp_path, LONG)
    if end is Process.kill:
        wait_until(state_path(state_folder(tmp_path, "bundled"), "", "trip").exists, "the state is on disk", seconds=60)
        first.kill()
    else:
        first.end()
    assert first.prompt_tokens > 600
    second = Process(tmp_path, "And then?")
    second.end()
    assert second.cached_tokens >= first.prompt_tokens
    # A state is there again, and cut for another message: what is said twice is read once.
    third = Process(tmp_path, "Thank you.", LLM_KV_DISK_MB="0")
    third.end()
    assert third.cached_tokens == 0
    assert not list(state_folder(tmp_path, "bundled").glob("*.kv"))


@pytest.fixture
def client(tmp_path: Path) -> Iterator[LLMClient]:
    settings = Settings(data_dir=tmp_path, parallel=2, context_tokens=512, session_limit=2)
    with LLMClient(settings) as client:
        yield client


def say(client: LLMClient, session: str, owner: str = "ann") -> Path:
    client.chat_session(session, LONG[:600], owner=owner, max_tokens=2)
    path = state_path(state_folder(client.settings.data_dir, "bundled"), owner, session)
    wait_until(path.exists, "the state is on disk", seconds=60)
    return path


def test_a_session_that_is_deleted_takes_its_state_with_it(client: LLMClient) -> None:
    hers, his = say(client, "trip"), say(client, "trip", "bob")
    client.delete_session("trip", owner="ann")
    assert not hers.exists()
    assert his.exists()


def test_a_session_that_makes_room_takes_its_state_with_it(client: LLMClient) -> None:
    paths = [say(client, name) for name in ("a", "b", "c")]
    assert [path.exists() for path in paths] == [False, True, True]


def test_a_state_goes_with_its_session_though_no_model_is_loaded(client: LLMClient, tmp_path: Path) -> None:
    path = say(client, "trip")
    client.close()
    with LLMClient(client.settings) as other:
        other.delete_session("trip", owner="ann")
    assert not path.exists()


@pytest.fixture
def elsewhere(client: LLMClient) -> Iterator[LLMClient]:
    """Stands for another process with the same data: it has loaded no model."""
    with LLMClient(client.settings) as elsewhere:
        yield elsewhere


def test_a_session_that_is_deleted_elsewhere_before_it_was_written_leaves_nothing(
    client: LLMClient, elsewhere: LLMClient, monkeypatch: pytest.MonkeyPatch
) -> None:
    write, has_ended = StateFolder.write, threading.Event()

    def write_late(folder: StateFolder, entry: HostEntry, **options: Any) -> DiskEntry | None:
        if entry.session == "trip":
            assert has_ended.wait(60)
            elsewhere.delete_session("trip", owner="ann")
        return write(folder, entry, **options)

    monkeypatch.setattr(StateFolder, "write", write_late)
    client.chat_session("trip", LONG[:600], owner="ann", max_tokens=2)
    has_ended.set()
    say(client, "next", "bob")  # written after that one
    assert not elsewhere.sessions.has("trip", owner="ann")
    assert not state_path(state_folder(client.settings.data_dir, "bundled"), "ann", "trip").exists()


def test_what_a_kill_in_the_middle_of_a_deletion_has_left_goes_at_the_next_start(client: LLMClient) -> None:
    path, other = say(client, "trip"), say(client, "other")
    client.close()
    store = SessionStore(open_database(client.settings.sessions_url()))  # it has nobody forget the state
    store.delete("ann", "trip")
    store.close()
    assert path.exists()
    with LLMClient(client.settings) as again:
        again.wait_ready()
        wait_until(lambda: not path.exists(), "what was left is removed")
    assert other.exists()


def test_what_is_asked_in_no_session_leaves_nothing_on_disk(client: LLMClient, tmp_path: Path) -> None:
    client.generate([{"role": "user", "content": LONG[:600]}], owner="ann", max_tokens=2)
    client.close()
    assert not list(state_folder(tmp_path, "bundled").glob("*.kv"))


def test_where_sessions_are_in_memory_nothing_is_on_disk(tmp_path: Path) -> None:
    settings = Settings(data_dir=tmp_path, database_url="sqlite://", parallel=1, context_tokens=512)
    with LLMClient(settings) as client:
        client.chat_session("trip", LONG[:600], owner="ann", max_tokens=2)
    assert not list(tmp_path.rglob("*.kv"))
