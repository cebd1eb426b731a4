"""Two copies of the app, one PostgreSQL: fifty sessions that are spoken to on either, all at once."""

from __future__ import annotations

import json
import threading
import time
from collections import Counter
from collections.abc import Iterator
from concurrent.futures import ThreadPoolExecutor

import httpx
import pytest

from tests.backends.conftest import App
from tests.backends.fake_engine import FakeEngine, chunk, reply, streams

from .postgres import Postgres

SESSIONS, TURNS, CALLERS = 50, 4, 20
SECONDS = 120
WORDS = [f"w{number} " for number in range(6)]

pytestmark = pytest.mark.slow


@pytest.fixture(scope="module")
def engine() -> Iterator[FakeEngine]:
    """What is tested is what is kept of replies, not who makes them."""
    engine = FakeEngine()
    engine.answers = [streams(reply(*WORDS), pause=0.01)]
    yield engine
    engine.close()


@pytest.fixture(scope="module")
def apps(postgres: Postgres, engine: FakeEngine, tmp_path_factory: pytest.TempPathFactory) -> Iterator[tuple[App, App]]:
    url = postgres.make_database()
    folder = tmp_path_factory.mktemp("apps")
    first, second = (App(folder, LLM_DATABASE_URL=url, LLM_SERVER_URL=engine.url) for _ in range(2))  # at once
    for app in (first, second):
        app.wait_ready()
    yield first, second
    first.close()
    second.close()


def test_no_turn_is_interleaved_and_none_is_lost(apps: tuple[App, App]) -> None:
    answered: Counter[str] = Counter()
    refused = 0
    counting = threading.Lock()
    until = time.monotonic() + SECONDS

    def speak(work: int) -> None:
        nonlocal refused
        session = f"s{work % SESSIONS}"
        app = apps[(work // SESSIONS + work) % 2]
        with httpx.Client(base_url=app.url, timeout=60) as http:
            while time.monotonic() < until:
                asked = {"session_id": session, "message": f"turn {work}", "max_tokens": 8}
                answer = http.post("/api/llm/chat/session", json=asked)
                if answer.status_code == 200:
                    assert answer.json()["content"] == "".join(WORDS)
                    with counting:
                        answered[session] += 1
                    return
                assert answer.status_code == 409, answer.text
                with counting:
                    refused += 1
                time.sleep(0.05)
        pytest.fail(f"{session} was busy all the time")

    # In this order callers of the same session come close together, on different processes.
    order = sorted(range(SESSIONS * TURNS), key=lambda work: (work % SESSIONS, work))
    with ThreadPoolExecutor(CALLERS) as pool:
        list(pool.map(speak, order))

    assert set(answered.values()) == {TURNS}
    assert refused > 0, "turns of one session did compete"
    for number in range(SESSIONS):
        app = apps[number % 2]
        messages = httpx.get(f"{app.url}/api/llm/chat/session/s{number}/history", timeout=30).json()["messages"]
        assert [message["role"] for message in messages] == ["user", "assistant"] * TURNS
        assert {message["content"] for message in messages[1::2]} == {"".join(WORDS)}
        assert len({message["content"] for message in messages[::2]}) == TURNS


def test_a_stream_begun_on_one_is_resumed_on_the_other(apps: tuple[App, App], engine: FakeEngine) -> None:
    first, second = apps
    engine.answers.append(streams([chunk({"content": f"{number} "}) for number in range(300)], pause=0.02))
    engine.answers = engine.answers[-1:]
    body = {"session_id": "resumed", "message": "Count"}
    with httpx.stream("POST", f"{first.url}/api/llm/chat/session/stream", json=body, timeout=60) as answer:
        begun = _events(answer, 5)
    stream_id, last = begun[0][1]["stream_id"], begun[-1][0]

    headers = {"Last-Event-ID": str(last)}
    with httpx.stream("GET", f"{second.url}/api/llm/streams/{stream_id}", headers=headers, timeout=60) as answer:
        assert answer.status_code == 200
        resumed = _events(answer, 10)
    assert [number for number, _ in resumed] == list(range(last + 1, last + 11))

    assert httpx.delete(f"{second.url}/api/llm/streams/{stream_id}", timeout=30).status_code < 300
    with httpx.stream("GET", f"{second.url}/api/llm/streams/{stream_id}", timeout=60) as answer:
        whole = _events(answer, 10_000)
    assert whole[-1][1]["finish_reason"] == "cancelled"
    text = "".join(event.get("content", "") for _, event in whole)
    assert text == "".join(f"{number} " for number in range(text.count(" ")))


def _events(answer: httpx.Response, count: int) -> list[tuple[int, dict[str, object]]]:
    """The first events of a stream, with their numbers."""
    read, number = [], 0
    for line in answer.iter_lines():
        if line.startswith("id: "):
            number = int(line.removeprefix("id: "))
        elif line.startswith("data: "):
            read.append((number, json.loads(line.removeprefix("data: "))))
            if len(read) == count:
                break
    return read
