"""`MQTTChatClient` on the real model: the methods of `LLMClient`, through a broker."""

from __future__ import annotations

import asyncio
from collections.abc import Iterator
from contextlib import aclosing, closing
from pathlib import Path
from typing import Any

import pytest

from llm_core.cancellation import Cancellation
from llm_core.client import LLMClient
from llm_core.errors import (
    BrokerError,
    InvalidRequest,
    LLMError,
    ProjectNotFound,
    SessionNotFound,
    SettingsError,
    TooLarge,
)
from llm_core.events import ChatEvent, ContentDelta, Done, Queued, ToolCallDelta
from llm_core.mqtt import MQTTChatClient
from llm_core.mqtt.client.pending import Pending
from llm_core.reply_builder import ReplyBuilder
from tests.waiting import free_port

from ..conftest import QUESTION, STORY, Broker, running_broker, serving, settings_for, wait_until

USAGE = {"prompt_tokens": 3, "cached_tokens": 0, "completion_tokens": 2, "cache_miss": "new"}
DONE = {"type": "done", "seq": 3, "content": "Hello", "finish_reason": "stop", "usage": USAGE}
SHORT: dict[str, Any] = {"max_tokens": 8}
NOW = {"type": "function", "function": {"name": "now"}}


@pytest.fixture(scope="module")
def chat(broker: Broker, worker: LLMClient) -> Iterator[MQTTChatClient]:
    with MQTTChatClient(broker.url, name="program", project="lab") as chat:
        yield chat


def is_idle(worker: LLMClient) -> bool:
    stats = worker.stats()
    return stats is not None and (stats.running, stats.waiting) == (0, 0)


def test_text_comes_in_pieces_or_whole_as_from_the_model_itself(chat: MQTTChatClient, worker: LLMClient) -> None:
    expected = worker.generate(QUESTION, **SHORT)

    assert "".join(chat.generate_stream(QUESTION, **SHORT)) == expected
    assert chat.generate(QUESTION, **SHORT) == expected


async def test_the_async_twins_give_the_same(chat: MQTTChatClient, worker: LLMClient) -> None:
    expected = worker.generate(QUESTION, **SHORT)

    assert "".join([piece async for piece in chat.agenerate_stream(QUESTION, **SHORT)]) == expected
    assert await chat.agenerate(QUESTION, **SHORT) == expected
    assert (await chat.achat(QUESTION, **SHORT)).content == expected
    events = [event async for event in chat.achat_stream(QUESTION, **SHORT)]
    assert isinstance(events[0], Queued)
    assert isinstance(events[-1], Done)


def test_a_cancellation_ends_the_reply_with_what_there_is(chat: MQTTChatClient, worker: LLMClient) -> None:
    cancellation = Cancellation()
    with closing(chat.chat_stream(STORY, cancellation=cancellation, max_tokens=900, logit_bias={2: -100})) as events:
        text = ""
        for event in events:
            if isinstance(event, ContentDelta):
                text += event.text
                cancellation.cancel()
    assert isinstance(event, Done)
    assert (event.finish_reason, bool(text)) == ("cancelled", True)
    assert is_idle(worker)


def test_leaving_the_loop_stops_the_reply(chat: MQTTChatClient, worker: LLMClient) -> None:
    with closing(chat.generate_stream(STORY, max_tokens=900, logit_bias={2: -100})) as pieces:
        assert next(pieces)
        assert not is_idle(worker)
    wait_until(lambda: is_idle(worker), "the reply is stopped")


async def test_cancelling_the_task_stops_the_reply(chat: MQTTChatClient, worker: LLMClient) -> None:
    begun = asyncio.Event()

    async def read() -> None:
        async with aclosing(chat.agenerate_stream(STORY, max_tokens=900, logit_bias={2: -100})) as pieces:
            async for _ in pieces:
                begun.set()

    task = asyncio.create_task(read())
    await begun.wait()
    task.cancel()
    with pytest.raises(asyncio.CancelledError):
        await task
    await asyncio.to_thread(wait_until, lambda: is_idle(worker), "the reply is stopped")


def test_a_session_is_remembered(chat: MQTTChatClient, worker: LLMClient) -> None:
    chat.chat_session("s", "My name is Bo.", **SHORT)
    events = list(chat.chat_session_stream("s", "What is my name?", **SHORT))

    assert isinstance(events[-1], Done)
    assert len(worker.session_history("s", owner="name:program")) == 4


async def test_what_was_said_in_a_session_is_read_and_forgotten(chat: MQTTChatClient, worker: LLMClient) -> None:
    chat.chat_session("read", "My name is Bo.", system_prompt="Be brief.", **SHORT)
    messages = await chat.asession_history("read")

    assert messages == worker.session_history("read", owner="name:program")
    assert messages == chat.session_history("read")
    chat.delete_session("read")
    for look_after in (chat.session_history, chat.delete_session):
        with pytest.raises(SessionNotFound):
            look_after("read")
    with pytest.raises(SessionNotFound):
        worker.session_history("read", owner="name:program")


def test_what_cannot_be_sent_is_refused_by_its_name(chat: MQTTChatClient) -> None:
    with pytest.raises(InvalidRequest, match="tools: cannot be sent over MQTT"):
        chat.chat(QUESTION, tools=[is_idle])


@pytest.mark.parametrize("message", [b"Hello", "a\ud800b"])
def test_a_message_that_cannot_be_sent_is_refused_and_the_client_goes_on(chat: MQTTChatClient, message: Any) -> None:
    with pytest.raises(InvalidRequest, match="message: cannot be sent over MQTT"):
        chat.chat_session("unsendable", message)
    with pytest.raises(InvalidRequest, match="temperature: cannot be sent over MQTT"):
        chat.generate(QUESTION, temperature=float("nan"))
    with pytest.raises(InvalidRequest, match="messages must be a list"):
        chat.generate(message)

    assert chat.generate(QUESTION, **SHORT)


def test_a_conversation_may_have_the_calls_of_a_reply_as_they_came(chat: MQTTChatClient) -> None:
    reply = chat.chat(QUESTION, tools=[NOW], tool_choice="required", max_tokens=30)
    called = {"role": "assistant", "content": reply.content, "tool_calls": reply.tool_calls}
    results = [{"role": "tool", "tool_call_id": call.id, "content": "Rain"} for call in reply.tool_calls]

    assert chat.generate([*QUESTION, called, *results], tools=[NOW], tool_choice="none", **SHORT)


def test_what_is_refused_is_raised_as_the_local_client_would(chat: MQTTChatClient) -> None:
    with pytest.raises(InvalidRequest, match="temperature"):
        chat.generate(QUESTION, temperature=9)


def test_a_request_that_is_too_long_for_the_worker_is_refused_at_once(chat: MQTTChatClient) -> None:
    with pytest.raises(TooLarge, match="are read"):
        chat.generate([{"role": "user", "content": "x" * 1_100_000}])


@pytest.mark.parametrize("limit", ["message_size_limit 5000", "max_packet_size 5000"])
def test_what_is_too_long_for_the_broker_is_refused_and_ends_neither_client_nor_worker(
    mosquitto: str, tmp_path: Path, limit: str
) -> None:
    with (
        running_broker(tmp_path / "broker", limit) as broker,
        serving(settings_for(broker, tmp_path / "worker")),
        MQTTChatClient(broker.url, name="talker") as chat,
    ):
        with pytest.raises(TooLarge, match="more than"):
            chat.generate([{"role": "user", "content": "x" * 6000}])
        for _ in range(3):
            chat.chat_session("long", "word " * 400, max_tokens=2)
        if "message" in limit:
            with pytest.raises(TooLarge, match="max_bytes"):
                chat.session_history("long")
        else:  # it says so when it is connected to, so that the reply comes in parts
            assert [each.role for each in chat.session_history("long")].count("user") == 3

        assert chat.generate(QUESTION, **SHORT)


def test_a_broker_that_does_not_let_the_client_ask_is_named(mosquitto: str, tmp_path: Path) -> None:
    (tmp_path / "acl").write_text("topic readwrite other/#\n")
    with (
        running_broker(tmp_path / "broker", f"acl_file {tmp_path}/acl") as broker,
        MQTTChatClient(broker.url, name="kitchen") as chat,
        pytest.raises(BrokerError, match="does not let this client publish on llm/default/request/kitchen"),
    ):
        chat.generate(QUESTION)


def test_calls_come_as_events(chat: MQTTChatClient) -> None:
    reply = chat.chat(QUESTION, tools=[NOW], tool_choice="required", max_tokens=30)

    assert [call.name for call in reply.tool_calls] == ["now"]


def test_where_nobody_answers_it_says_so(broker: Broker) -> None:
    for url in (broker.url, f"mqtt://127.0.0.1:{free_port()}"):
        with (
            MQTTChatClient(url, name="lonely", prefix="nobody", patience=1.5) as chat,
            pytest.raises(BrokerError, match="Nobody has answered"),
        ):
            chat.generate(QUESTION)


def test_a_closed_client_says_so(broker: Broker) -> None:
    chat = MQTTChatClient(broker.url, name="gone")
    chat.close()
    with pytest.raises(BrokerError, match="closed"):
        chat.generate(QUESTION)


def test_a_client_may_be_closed_twice_and_before_those_who_read(broker: Broker, worker: LLMClient) -> None:
    with MQTTChatClient(broker.url, name="early", project="lab") as chat:
        left = chat.generate_stream(STORY, max_tokens=900, logit_bias={2: -100})
        read = chat.generate_stream(STORY, max_tokens=900, logit_bias={2: -100})
        assert next(left)
        assert next(read)
        chat.close()

    left.close()
    with pytest.raises(BrokerError, match="closed"):
        for _ in read:
            pass


@pytest.mark.parametrize(
    "options",
    [
        {"url": "http://broker"},
        {"url": "mqtt://broker", "name": "a/b"},
        {"url": "mqtt://broker", "project": "status"},
        {"url": "mqtts://broker", "ca_file": "/nowhere.pem"},
    ],
)
def test_what_cannot_be_used_is_a_settings_error(options: dict[str, str]) -> None:
    with pytest.raises(SettingsError):
        MQTTChatClient(**({"name": "a"} | options))  # type: ignore[arg-type]


# ── messages in any state ────────────────────────────────────────────────────────────────────────────────────────────


def told(*messages: dict[str, Any]) -> tuple[list[ChatEvent | LLMError], list[bool]]:
    """The events that messages mean, and after which of them others were to be asked for."""
    events: list[ChatEvent | LLMError] = []
    pending = Pending({}, events.append)
    return events, [pending.receive(message) for message in messages]


def delta(seq: int, text: str) -> dict[str, Any]:
    return {"type": "delta", "seq": seq, "content": text}


def text_of(events: list[ChatEvent | LLMError]) -> str:
    return "".join(event.text for event in events if isinstance(event, ContentDelta))


def test_a_piece_that_comes_twice_counts_once() -> None:
    events, _ = told(delta(1, "Hel"), delta(1, "Hel"), delta(2, "lo"), delta(1, "Hel"), DONE)
    assert text_of(events) == "Hello"


def test_a_missing_piece_is_asked_for_once_and_what_follows_waits_for_it() -> None:
    events, complete = told(delta(1, "H"), delta(3, "lo"), delta(4, "!"), delta(2, "el"), delta(3, "lo"))
    assert complete == [True, False, True, True, True]
    assert text_of(events) == "Hello"


def test_the_end_brings_what_was_lost() -> None:
    events, _ = told(delta(1, "He"), DONE)
    assert text_of(events) == "Hello"


def test_a_split_reply_of_which_a_part_is_lost_is_an_error_and_not_a_shorter_text() -> None:
    events, _ = told(delta(1, "He"), DONE | {"content": None, "split": True})
    assert isinstance(events[-1], BrokerError)


def test_calls_add_up_whatever_was_lost_of_them() -> None:
    call = {"id": "c1", "type": "function", "function": {"name": "now", "arguments": '{"a": 1}'}}
    first = {"index": 0, "id": "c1", "type": "function", "function": {"name": "now", "arguments": '{"a'}}
    other = {"id": "c2", "type": "function", "function": {"name": "later", "arguments": "{}"}}
    done = DONE | {"content": "", "tool_calls": [call, other]}
    events, _ = told({"type": "delta", "seq": 1, "tool_calls": [first]}, done)

    builder = ReplyBuilder()
    for event in events:
        assert not isinstance(event, LLMError)
        builder.add(event)
    assert [(each.id, each.name, each.arguments) for each in builder.reply().tool_calls] == [
        ("c1", "now", '{"a": 1}'),
        ("c2", "later", "{}"),
    ]
    assert len([event for event in events if isinstance(event, ToolCallDelta)]) == 3


def test_what_the_end_brings_is_whole_where_the_results_before_it_were_lost() -> None:
    call = {"index": 0, "id": "c1", "type": "function", "function": {"name": "now", "arguments": "{}"}}
    last = {"id": "c2", "type": "function", "function": {"name": "later", "arguments": '{"minutes": 5}'}}
    done = DONE | {"seq": 9, "content": "It is noon.", "tool_calls": [last]}
    events, _ = told(delta(1, "I look."), {"type": "delta", "seq": 2, "tool_calls": [call]}, done)

    assert text_of(events) == "I look.It is noon."
    (asked,) = [event for event in events if isinstance(event, ToolCallDelta) and event.id == "c2"]
    assert (asked.name, asked.arguments) == ("later", '{"minutes": 5}')


def test_an_error_has_its_own_kind_and_says_when_to_try_again() -> None:
    (error,), _ = told({"type": "error", "code": "project_not_found", "message": "No.", "retry_after": 3})
    assert isinstance(error, ProjectNotFound)
    assert error.retry_after == 3
