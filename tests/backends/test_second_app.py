"""What callers rely on, once more: the same client, but its replies come from a second copy of this app over `/v1`."""

from __future__ import annotations

import asyncio
import json
from collections.abc import Callable, Iterator
from concurrent.futures import ThreadPoolExecutor
from contextlib import closing
from pathlib import Path
from typing import Any

import httpx
import pytest

from llm_core.client import LLMClient
from llm_core.errors import ContextOverflow, EngineFailed, EngineUnreachable, SessionBusy, SessionNotFound
from llm_core.events import ContentDelta, Done, Queued
from llm_core.settings import Settings
from tests.backends.conftest import App, wait_until

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


class TestChat:
    def test_the_text_is_the_sum_of_its_pieces_and_that_of_the_engine_itself(
        self, remote_client: LLMClient, engine_app: App
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

    async def test_the_async_twins_give_the_same(self, remote_client: LLMClient) -> None:
        expected = remote_client.generate(QUESTION, **GREEDY)

        assert await remote_client.agenerate(QUESTION, **GREEDY) == expected
        assert "".join([piece async for piece in remote_client.agenerate_stream(QUESTION, **GREEDY)]) == expected

    def test_threads_and_event_loops_share_one_client(self, remote_client: LLMClient) -> None:
        expected = remote_client.generate(QUESTION, **GREEDY)

        def ask(number: int) -> str:
            if number % 2:
                return asyncio.run(remote_client.agenerate(QUESTION, **GREEDY))
            return remote_client.generate(QUESTION, **GREEDY)

        with ThreadPoolExecutor(6) as pool:
            assert set(pool.map(ask, range(6))) == {expected}

    def test_a_reader_who_leaves_stops_the_engine(self, remote_client: LLMClient, engine_app: App) -> None:
        with closing(remote_client.generate_stream(STORY, max_tokens=900)) as pieces:
            next(pieces)
            assert not engine_is_idle(engine_app)

        wait_until(lambda: engine_is_idle(engine_app), "the engine has stopped")

    def test_the_same_seed_gives_the_same_and_stop_texts_are_not_shown(self, remote_client: LLMClient) -> None:
        replies = {remote_client.generate(STORY, temperature=1.2, seed=7, max_tokens=12) for _ in range(2)}

        assert len(replies) == 1
        assert "Paris" not in remote_client.generate(QUESTION, stop=["Paris"], **GREEDY)

    def test_logprobs(self, remote_client: LLMClient) -> None:
        reply = remote_client.chat(QUESTION, logprobs=2, **GREEDY)

        assert "".join(each.token for each in reply.logprobs) == reply.content
        assert all(len(each.top) == 2 for each in reply.logprobs)

    def test_a_conversation_that_is_too_long_is_refused_or_loses_its_oldest_turns(
        self, remote_client: LLMClient
    ) -> None:
        turns = [
            {"role": role, "content": f"{number}: the sea is wide and the ship is small. " * 6}
            for number in range(8)
            for role in ("user", "assistant")
        ]
        with pytest.raises(ContextOverflow):
            remote_client.chat([*turns, *QUESTION])
        reply = remote_client.chat([*turns, *QUESTION], overflow="drop_oldest", **GREEDY)

        assert reply.dropped_messages > 0
        assert reply.dropped_messages % 2 == 0

    def test_the_form_of_a_reply(self, remote_client: LLMClient) -> None:
        schema = {
            "type": "object",
            "properties": {"city": {"enum": ["Paris", "Rome"]}},
            "required": ["city"],
            "additionalProperties": False,
        }
        wanted = {"type": "json_schema", "json_schema": {"name": "answer", "schema": schema}}
        reply = remote_client.chat(QUESTION, response_format=wanted, **GREEDY)

        assert json.loads(reply.content)["city"] in ("Paris", "Rome")

    def test_a_call_that_is_demanded(self, remote_client: LLMClient) -> None:
        parameters = {
            "type": "object",
            "properties": {"city": {"enum": ["Paris", "Rome"]}},
            "required": ["city"],
            "additionalProperties": False,
        }
        tool = {"type": "function", "function": {"name": "weather", "parameters": parameters}}
        choice = {"type": "function", "function": {"name": "weather"}}
        reply = remote_client.chat(QUESTION, tools=[tool], tool_choice=choice, temperature=0, max_tokens=60)

        (call,) = reply.tool_calls
        assert (reply.finish_reason, call.name) == ("tool_calls", "weather")
        assert json.loads(call.arguments)["city"] in ("Paris", "Rome")


class TestSessions:
    def test_a_session_remembers_what_was_said(self, remote_client: LLMClient) -> None:
        remote_client.chat_session("memory", "My name is Bo.", **GREEDY)
        reply = remote_client.chat_session("memory", "What is my name?", **GREEDY)

        assert reply.usage.cached_tokens > reply.usage.prompt_tokens / 2, "the engine has the first turn in its cache"
        history = remote_client.session_history("memory")
        assert [message.role for message in history] == ["user", "assistant"] * 2
        assert history[-1].content == reply.content

    def test_one_turn_at_a_time_and_a_stopped_reply_stays_as_far_as_it_came(self, remote_client: LLMClient) -> None:
        with closing(remote_client.chat_session_stream("busy", STORY[0]["content"], max_tokens=900)) as events:
            text = ""
            while len(text) < 20:
                event = next(events)
                text += event.text if isinstance(event, ContentDelta) else ""
            with pytest.raises(SessionBusy):
                remote_client.chat_session("busy", "Hello?")

        turn = remote_client.sessions.get("busy").turns[-1]
        assert turn.messages[-1].content.startswith(text)
        assert turn.status == "cancelled"

    def test_a_session_belongs_to_its_owner(self, remote_client: LLMClient) -> None:
        remote_client.chat_session("diary", "My secret is 4711.", owner="alice", **GREEDY)

        with pytest.raises(SessionNotFound):
            remote_client.session_history("diary", owner="bob")

    def test_a_long_session_goes_on_without_its_oldest_turns(self, remote_client: LLMClient) -> None:
        said = "The sea is wide and the ship is small. " * 40
        dropped = [remote_client.chat_session("long", said, max_tokens=4).dropped_messages for _ in range(3)]

        assert dropped[0] == 0
        assert dropped[-1] > 0


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
