"""The client on the real model: sync and async alike, from any thread, and a reader who leaves stops the request."""

from __future__ import annotations

import asyncio
import subprocess
import sys
from collections.abc import AsyncIterator, Iterator
from concurrent.futures import ThreadPoolExecutor
from contextlib import aclosing, closing
from pathlib import Path

import pytest

from llm_core.client import LLMClient, get_llm_client
from llm_core.errors import (
    ContextOverflow,
    EngineClosed,
    InvalidRequest,
    ModelError,
    SessionBusy,
    SessionNotFound,
    SettingsError,
)
from llm_core.events import ContentDelta, Done, Queued
from llm_core.settings import Settings
from tests.waiting import is_idle, stats_of, wait_until

ROOT = Path(__file__).resolve().parents[1]
QUESTION = [{"role": "user", "content": "What is the capital of France?"}]
STORY = [{"role": "user", "content": "Tell me a very long story about the sea."}]
GREEDY = {"temperature": 0, "max_tokens": 24}


@pytest.fixture(scope="module")
def client() -> Iterator[LLMClient]:
    with LLMClient(Settings(parallel=4, context_tokens=1024)) as client:
        yield client


def test_generate_stream_yields_text_that_joins_to_what_generate_returns(client: LLMClient) -> None:
    pieces = list(client.generate_stream(QUESTION, **GREEDY))
    assert len(pieces) > 2
    assert all(isinstance(piece, str) and piece for piece in pieces)
    assert "".join(pieces) == client.generate(QUESTION, **GREEDY)
    assert "Paris" in "".join(pieces)


def test_chat_stream_begins_with_the_queue_and_ends_with_done_and_chat_is_its_sum(client: LLMClient) -> None:
    events = list(client.chat_stream(QUESTION, **GREEDY))
    assert isinstance(events[0], Queued)
    assert isinstance(events[-1], Done)
    text = "".join(event.text for event in events if isinstance(event, ContentDelta))
    reply = client.chat(QUESTION, **GREEDY)
    assert (reply.content, reply.finish_reason) == (text, events[-1].finish_reason)
    assert reply.usage.completion_tokens == events[-1].usage.completion_tokens
    assert reply.usage.cached_tokens == reply.usage.prompt_tokens - 1, "the same prompt again is cached"


async def test_the_async_twins_give_the_same(client: LLMClient) -> None:
    expected = client.generate(QUESTION, **GREEDY)
    assert await client.agenerate(QUESTION, **GREEDY) == expected
    assert "".join([piece async for piece in client.agenerate_stream(QUESTION, **GREEDY)]) == expected
    assert (await client.achat(QUESTION, **GREEDY)).content == expected
    assert isinstance([event async for event in client.achat_stream(QUESTION, **GREEDY)][-1], Done)


def test_closing_the_iterator_cancels_the_request(client: LLMClient) -> None:
    with closing(client.generate_stream(STORY, max_tokens=900)) as pieces:
        next(pieces)
        assert stats_of(client).running == 1
    wait_until(lambda: is_idle(client), "the engine is idle")


async def test_cancelling_the_task_cancels_the_request(client: LLMClient) -> None:
    started = asyncio.Event()

    async def read() -> None:
        async with aclosing(client.achat_stream(STORY, max_tokens=900)) as events:
            async for event in events:
                if isinstance(event, ContentDelta):
                    started.set()

    task = asyncio.create_task(read())
    await started.wait()
    task.cancel()
    with pytest.raises(asyncio.CancelledError):
        await task
    await asyncio.to_thread(wait_until, lambda: is_idle(client), "the engine is idle")


def test_many_threads_and_event_loops_share_one_client(client: LLMClient) -> None:
    expected = client.generate(QUESTION, **GREEDY)

    def ask(number: int) -> str:
        if number % 2:
            return asyncio.run(client.agenerate(QUESTION, **GREEDY))
        return client.generate(QUESTION, **GREEDY)

    with ThreadPoolExecutor(8) as pool:
        assert set(pool.map(ask, range(12))) == {expected}
    assert is_idle(client)


def test_a_loop_that_is_closed_under_a_stream_stops_it(client: LLMClient) -> None:
    async def leave() -> AsyncIterator[object]:
        events = client.achat_stream(STORY, max_tokens=900)
        await anext(events)
        return events

    asyncio.run(leave())
    wait_until(lambda: is_idle(client), "the engine is idle")


def test_a_bad_request_is_refused_at_the_call_and_names_the_field(client: LLMClient) -> None:
    with pytest.raises(InvalidRequest, match="temperature") as refused:
        client.chat_stream(QUESTION, temperature=float("nan"))
    assert refused.value.param == "temperature"
    with pytest.raises(InvalidRequest, match=r"messages\.0\.role"):
        client.achat_stream([{"role": "boss", "content": "Hi"}])
    with pytest.raises(InvalidRequest, match="tools"):
        client.chat(QUESTION, tools=[{"type": "function"}])


def test_a_conversation_that_is_too_long_is_refused_or_loses_its_oldest_turns(client: LLMClient) -> None:
    turns = [
        {"role": role, "content": f"{number}: the sea is wide and the ship is small. " * 6}
        for number in range(8)
        for role in ("user", "assistant")
    ]
    with pytest.raises(ContextOverflow, match="maximum context length is 1023 tokens"):
        client.chat([*turns, *QUESTION])
    reply = client.chat([*turns, *QUESTION], overflow="drop_oldest", **GREEDY)
    assert reply.dropped_messages > 0
    assert reply.dropped_messages % 2 == 0
    assert reply.usage.prompt_tokens < 1024


@pytest.mark.local_engine
def test_the_log_says_once_who_spoils_the_prefix_of_their_prompts(
    client: LLMClient, caplog: pytest.LogCaptureFixture
) -> None:
    rules = "Be short, kind and true. " * 60
    for minute in range(6):
        said = [{"role": "system", "content": f"It is 10:0{minute}. {rules}"}, *QUESTION]
        client.generate(said, max_tokens=1, owner="name:ann")

    (told,) = [message for message in caplog.messages if "system prompts" in message]
    assert "name:ann" in told


def test_the_operators_system_prompt_is_used_where_none_is_given() -> None:
    with LLMClient(
        Settings(parallel=1, context_tokens=256, system_prompt="Answer with the one word: BANANA")
    ) as client:
        without = client.chat(QUESTION, max_tokens=1).usage.prompt_tokens
        own = [{"role": "system", "content": "Hi"}, *QUESTION]
        assert without > client.chat(own, max_tokens=1).usage.prompt_tokens


def test_a_session_remembers_what_was_said(client: LLMClient) -> None:
    client.chat_session("memory", "My name is Bo.", **GREEDY)
    reply = client.chat_session("memory", "What is my name?", **GREEDY)
    assert reply.usage.cached_tokens > reply.usage.prompt_tokens / 2, "the first turn is part of the second's prompt"
    history = client.session_history("memory")
    assert [message.role for message in history] == ["user", "assistant"] * 2
    assert history[-1].content == reply.content


async def test_a_session_works_the_same_in_event_loops(client: LLMClient) -> None:
    await client.achat_session("amemory", "My name is Bo.", **GREEDY)
    events = [event async for event in client.achat_session_stream("amemory", "What is my name?", **GREEDY)]
    assert isinstance(events[-1], Done)
    assert events[-1].usage.cached_tokens > events[-1].usage.prompt_tokens / 2
    assert [message.role for message in client.session_history("amemory")] == ["user", "assistant"] * 2
    client.delete_session("amemory")
    with pytest.raises(SessionNotFound):
        client.session_history("amemory")


def test_one_turn_at_a_time_and_a_stopped_reply_stays_as_far_as_it_came(client: LLMClient) -> None:
    with closing(client.chat_session_stream("busy", STORY[0]["content"], max_tokens=900)) as events:
        text = ""
        while len(text) < 20:
            event = next(events)
            text += event.text if isinstance(event, ContentDelta) else ""
        with pytest.raises(SessionBusy):
            client.chat_session("busy", "Hello?")
    assert client.session_history("busy")[-1].content.startswith(text)
    wait_until(lambda: is_idle(client), "the engine is idle")


def test_a_session_belongs_to_its_owner(client: LLMClient) -> None:
    client.chat_session("diary", "My secret is 4711.", owner="alice", **GREEDY)
    with pytest.raises(SessionNotFound):
        client.session_history("diary", owner="bob")


@pytest.mark.parametrize("session_id", ["", "a/b", "x" * 129, "a b"])
def test_a_session_id_that_is_not_allowed_is_refused(client: LLMClient, session_id: str) -> None:
    with pytest.raises(InvalidRequest, match="session_id"):
        client.chat_session(session_id, "Hello")


@pytest.mark.local_engine
def test_a_model_that_cannot_be_loaded_fails_every_call_with_the_reason(tmp_path: Path) -> None:
    with LLMClient(Settings(model=str(tmp_path / "none.gguf"))) as client:
        for _ in range(2):
            with pytest.raises(ModelError, match=r"none\.gguf"):
                client.generate(QUESTION)
        assert client.status().state == "failed"
        assert "none.gguf" in client.status().message


@pytest.mark.local_engine
def test_more_context_than_the_model_knows_is_a_settings_error() -> None:
    with LLMClient(Settings(context_tokens=9000)) as client, pytest.raises(SettingsError, match="at most 8192"):
        client.wait_ready()


@pytest.mark.local_engine
def test_loading_happens_in_the_background_and_tells_how_far_it_is() -> None:
    with LLMClient(Settings(parallel=1, context_tokens=256)) as client:
        assert client.status().state == "idle"
        client.start()
        assert client.status().state in ("loading", "ready")
        info = client.wait_ready(timeout=60)
        assert client.status().state == "ready"
        assert info.context_train == 8192
        assert info.license == "apache-2.0"


def test_a_closed_client_says_so_and_ends_what_runs() -> None:
    client = LLMClient(Settings(parallel=1, context_tokens=512))
    pieces = client.generate_stream(STORY, max_tokens=400)
    next(pieces)
    client.close()
    client.close()
    with pytest.raises(EngineClosed):
        list(pieces)
    with pytest.raises(EngineClosed):
        client.generate(QUESTION)


def test_there_is_one_client_for_the_process() -> None:
    with ThreadPoolExecutor(4) as pool:
        clients = set(pool.map(lambda _: get_llm_client(), range(4)))
    assert len(clients) == 1


RELOADED = """
import importlib, sys
from llm_core import events
from llm_core.client import LLMClient
from llm_core.settings import Settings

client = LLMClient(Settings(parallel=1, context_tokens=512, database_url="sqlite://"))
client.generate([{"role": "user", "content": "Hi"}], max_tokens=1)
for name in sys.argv[1:]:
    importlib.reload(sys.modules[name])
try:
    client.generate([{"role": "user", "content": "Hi"}], max_tokens=1)
finally:
    client.close()
"""


@pytest.mark.slow
@pytest.mark.parametrize("reader", ["llm_core.reply_builder", "llm_core.backends.generation"])
def test_modules_that_are_loaded_again_under_an_engine_are_told_at_once(reader: str) -> None:
    """`reader` knows the classes of the new `llm_core.events`; the engine makes events of those before."""
    command = [sys.executable, "-c", RELOADED, "llm_core.events", reader]
    ran = subprocess.run(command, cwd=ROOT, capture_output=True, text=True, timeout=100, check=False)

    assert ran.returncode == 1
    assert "Restart Python." in ran.stderr
