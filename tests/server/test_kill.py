"""`kill -9` in the middle of a reply: what was said is there, what was made is there but for its last second."""

from __future__ import annotations

import json
import multiprocessing
import os
import random
import signal
import sqlite3
import threading
from contextlib import closing, suppress
from multiprocessing.context import ForkServerContext, ForkServerProcess
from pathlib import Path

import httpx
import pytest

from tests.waiting import free_port, wait_until

TICK_SECONDS = 0.05
pytestmark = [pytest.mark.slow, pytest.mark.timeout(400)]

ROOT = Path(__file__).resolve().parents[2]
KILLS = 20
LONGEST_RUN_SECONDS = 2.0
STORY = {"message": "Tell me a very long story about the sea.", "max_tokens": 900, "logit_bias": {"2": -100}}


@pytest.fixture(scope="module")
def context() -> ForkServerContext:
    """Starts apps quickly: the parent of them all has imported Gradio already, and nothing else."""
    context = multiprocessing.get_context("forkserver")
    context.set_forkserver_preload(["llm_core.server.server"])
    return context


def start_app(context: ForkServerContext, port: int, data_dir: Path) -> ForkServerProcess:
    """`app.py`, as a process of its own."""
    variables = {
        "GRADIO_SERVER_PORT": str(port),
        "LLM_DATA_DIR": str(data_dir),
        "LLM_PARALLEL": "1",
        "LLM_CONTEXT_TOKENS": "1024",
    }
    program = (
        f"import os, runpy; os.chdir({str(ROOT)!r}); os.environ.update({variables!r}); "
        "runpy.run_path('app.py', run_name='__main__')"
    )
    process = context.Process(target=exec, args=(program,), daemon=True)
    process.start()
    url = f"http://127.0.0.1:{port}/api/llm/health"
    wait_until(lambda: answers(url), "the app is ready", seconds=60)
    return process


def answers(url: str) -> bool:
    try:
        return httpx.get(url).status_code == 200
    except httpx.TransportError:
        return False


def test_a_killed_server_loses_no_message_and_at_most_a_second_of_text(
    context: ForkServerContext, tmp_path: Path
) -> None:
    port, dice = free_port(), random.Random(20)
    url = f"http://127.0.0.1:{port}/api/llm/"
    received: dict[str, tuple[str, str]] = {}

    for number in range(KILLS):
        process = start_app(context, port, tmp_path)
        session = f"run-{number}"
        received[session] = read_until_killed(url, session, process, after=dice.uniform(0.0, LONGEST_RUN_SECONDS))
        process.join()
        assert integrity(tmp_path / "sessions.db") == "ok"

    process = start_app(context, port, tmp_path)
    try:
        for session, (stream_id, text) in received.items():
            history = httpx.get(f"{url}chat/session/{session}/history").json()["messages"]
            assert history[0]["content"] == STORY["message"]
            assert history[-1]["status"] == "interrupted"
            saved = history[1]["content"] if len(history) > 1 else ""
            assert saved.startswith(text), "what had been received a second before the end"
            if stream_id:
                with httpx.stream("GET", f"{url}streams/{stream_id}") as again:
                    events = [json.loads(line[6:]) for line in again.iter_lines() if line.startswith("data: ")]
                assert "".join(event.get("content", "") for event in events) == saved
                assert events[-1]["code"] == "interrupted"
            again_ = httpx.post(
                f"{url}chat/session", json={"session_id": session, "message": "Go on.", "max_tokens": 2}, timeout=60
            )
            assert again_.status_code == 200
    finally:
        process.terminate()
        process.join(30)


def read_until_killed(url: str, session: str, process: ForkServerProcess, *, after: float) -> tuple[str, str]:
    """The stream's id, and the text that was received until a second before the kill."""
    assert process.pid is not None
    moments: list[tuple[int, str]] = []
    ticks, pause = 0, threading.Event()  # no clock: that goes on while the machine stands still

    def kill() -> None:
        nonlocal ticks
        while ticks * TICK_SECONDS < after and not pause.wait(TICK_SECONDS):
            ticks += 1
        os.kill(process.pid or 0, signal.SIGKILL)

    stream_id = ""
    killing = threading.Thread(target=kill)
    with suppress(httpx.TransportError):
        body = STORY | {"session_id": session}
        with httpx.stream("POST", f"{url}chat/session/stream", json=body, timeout=60) as reply:
            killing.start()
            for line in reply.iter_lines():
                if line.startswith("data: "):
                    event = json.loads(line[6:])
                    stream_id = event.get("stream_id", stream_id)
                    moments.append((ticks, event.get("content", "")))
    killing.join()
    return stream_id, "".join(text for moment, text in moments if (ticks - moment) * TICK_SECONDS > 1)


def integrity(database: Path) -> str:
    with closing(sqlite3.connect(database)) as connection:
        (said,) = connection.execute("PRAGMA integrity_check").fetchone()
    return str(said)
