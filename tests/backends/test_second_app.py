"""An engine in a process of its own, a second copy of this app: what it notices, and what is noticed of its end.

That callers can rely on the same as with an engine of their own is for `test_suites.py`.
"""

from __future__ import annotations

from collections.abc import Callable, Iterator
from contextlib import closing
from pathlib import Path
from typing import Any

import httpx
import pytest

from llm_core.client import LLMClient
from llm_core.errors import EngineFailed, EngineUnreachable
from llm_core.events import ContentDelta, Done, Queued
from llm_core.settings import Settings
from tests.backends.conftest import App
from tests.waiting import wait_until

QUESTION = [{"role": "user", "content": "What is the capital of France?"}]
STORY = [{"role": "user", "content": "Tell me a very long story about the sea."}]
GREEDY = {"temperature": 0, "max_tokens": 24}

pytestmark = pytest.mark.slow


@pytest.fixture(scope="module")
def remote_client(engine_app: App, tmp_path_factory: pytest.TempPathFactory) -> Iterator[LLMClient]:
    """A client whose engine is the other app."""
    settings = Settings(server_url=engine_app.url, data_dir=tmp_path_factory.mktemp("front"))
    with LLMClient(settings) as client:
        client.wait_ready(30)
        yield client


def engine_is_idle(app: App) -> bool:
    queue = httpx.get(f"{app.url}/api/llm/health", timeout=10).json()["queue"]
    return (queue["running"], queue["waiting"]) == (0, 0)


def test_the_text_is_the_sum_of_its_pieces_and_that_of_the_engine_itself(
    remote_client: LLMClient, engine_app: App
) -> None:
    events = list(remote_client.chat_stream(QUESTION, **GREEDY))
    body = {"messages": QUESTION, **GREEDY}
    there = httpx.post(f"{engine_app.url}/v1/chat/completions", json=body, timeout=60).json()

    text = "".join(event.text for event in events if isinstance(event, ContentDelta))
    assert text == there["choices"][0]["message"]["content"]
    assert "Paris" in text
    assert isinstance(events[0], Queued)
    assert isinstance(events[-1], Done)
    assert events[-1].usage.prompt_tokens == there["usage"]["prompt_tokens"]


def test_a_reader_who_leaves_stops_the_engine(remote_client: LLMClient, engine_app: App) -> None:
    with closing(remote_client.generate_stream(STORY, max_tokens=900)) as pieces:
        next(pieces)
        assert not engine_is_idle(engine_app)

    wait_until(lambda: engine_is_idle(engine_app), "the engine has stopped")


def test_an_engine_that_is_killed_in_the_middle_gives_an_error_and_an_interrupted_turn(
    tmp_path: Path, make_client: Callable[..., LLMClient]
) -> None:
    app = App(tmp_path, LLM_CONTEXT_TOKENS="1024", LLM_PARALLEL="1")
    try:
        app.wait_ready()
        client = make_client(app.url)
        client.wait_ready(30)
        events: Any = client.chat_session_stream("killed", STORY[0]["content"], max_tokens=900)
        text = ""
        while len(text) < 20:
            event = next(events)
            text += event.text if isinstance(event, ContentDelta) else ""
        app.kill()

        with pytest.raises((EngineFailed, EngineUnreachable)):
            list(events)
        turn = client.sessions.get("killed").turns[-1]
        assert turn.status == "interrupted"
        assert turn.messages[-1].content.startswith(text)
        assert turn.error
        assert client.status().state in ("ready", "loading")
    finally:
        app.close()
