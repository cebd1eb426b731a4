"""Requests over MQTT and their replies, on a real broker and the real model."""

from __future__ import annotations

import json
from collections.abc import Callable

import pytest
from paho.mqtt.enums import MQTTProtocolVersion

from llm_core.client import LLMClient

from ..conftest import QUESTION, STORY, Broker, Device, text_of

VERSIONS = [MQTTProtocolVersion.MQTTv311, MQTTProtocolVersion.MQTTv5]


@pytest.mark.parametrize("version", VERSIONS, ids=lambda version: version.name)
def test_a_request_is_accepted_streamed_and_done_in_either_version_of_mqtt(
    broker: Broker, worker: LLMClient, make_device: Callable[..., Device], version: MQTTProtocolVersion
) -> None:
    device = make_device(broker, f"oven-{version.name}", version=version)

    device.ask("r1")
    heard = device.reply("r1")

    assert heard[0]["type"] == "accepted"
    assert heard[0]["queue_position"] == 0
    assert heard[0]["worker"]
    assert heard[-1]["type"] == "done"
    assert heard[-1]["content"] == text_of(heard) == worker.generate(QUESTION)
    assert heard[-1]["seq"] == len([message for message in heard if message["type"] == "delta"]) + 1
    assert heard[-1]["finish_reason"] in ("stop", "length")
    assert heard[-1]["usage"]["completion_tokens"] > 0


def test_without_streaming_there_is_only_accepted_and_done(device: Device, worker: LLMClient) -> None:
    device.ask("r1", stream=False)
    heard = device.reply("r1")

    assert [message["type"] for message in heard] == ["accepted", "done"]
    assert heard[-1]["content"] == worker.generate(QUESTION)


def test_a_client_that_can_publish_with_qos_0_only_is_answered(device: Device) -> None:
    request = json.dumps({"request_id": "r1", "messages": QUESTION, "max_tokens": 2})
    device.client.publish(f"llm/lab/request/{device.name}", request, 0)

    assert device.reply("r1")[-1]["type"] == "done"


def test_a_cancelled_reply_ends_with_what_there_is_of_it(device: Device) -> None:
    device.ask("r1", messages=STORY, max_tokens=900, logit_bias={"2": -100})
    while device.next()[1]["type"] != "delta":
        pass
    device.cancel("r1")
    last = device.reply("r1")[-1]

    assert (last["type"], last["finish_reason"]) == ("done", "cancelled")
    assert last["content"]


def test_twenty_devices_stream_at_once_each_in_order_and_whole(
    broker: Broker, worker: LLMClient, make_device: Callable[..., Device]
) -> None:
    devices = [make_device(broker, f"crowd-{number}", version=VERSIONS[number % 2]) for number in range(20)]
    for number, device in enumerate(devices):
        device.ask("r", messages=[{"role": "user", "content": f"Count from {number}."}], max_tokens=5)

    for device in devices:
        heard = device.reply("r")
        assert heard[-1]["type"] == "done", heard[-1]
        assert text_of(heard) == heard[-1]["content"]
        assert device.heard_nothing_for(0), "nobody hears what is another's"


def test_a_reply_goes_to_the_response_topic_with_the_correlation_data(device: Device) -> None:
    topic = f"llm/lab/reply/{device.name}/mine/7"
    device.ask("r1", properties={"ResponseTopic": topic, "CorrelationData": b"\x00\xff7"})
    while device.next()[1]["type"] != "done":
        pass

    assert {message.topic for _, message in device.raw} == {topic}
    assert {message.properties.CorrelationData for _, message in device.raw} == {b"\x00\xff7"}


FORGED = [
    "llm/lab/reply/somebody-else/r1",
    "llm/lab/request/{name}",
    "llm/lab/reply/{name}/#",
    "llm/lab/reply/{name}/+/x",
    "llm/lab/reply/{name}/$SYS",
    "llm/lab/reply/{name}/",
    "llm/lab/reply/{name}//x",
    "llm/status/worker",
    "$SYS/broker",
]


@pytest.mark.parametrize("topic", [topic for topic in FORGED if "#" not in topic and "+" not in topic])
def test_a_forged_reply_topic_gets_an_error_where_only_the_requester_reads(device: Device, topic: str) -> None:
    device.listen("llm/lab/reply/#")
    device.ask("r1", properties={"ResponseTopic": topic.format(name=device.name)})
    where, message = device.next()

    assert where == f"llm/lab/reply/{device.name}/r1"
    assert (message["type"], message["code"]) == ("error", "invalid_request")
    assert f"below llm/lab/reply/{device.name}/" in message["message"]


MALFORMED = [
    (b'{"request_id": "r1", "messages": [', "not JSON"),
    (b"\xff\xfe{}", "not UTF-8"),
    (b"", "not JSON"),
    (b"[1, 2]", "must be an object"),
    (b'{"a": NaN}', "not JSON"),
    (b"[" * 100_000, "not JSON"),
    (b'{"messages": []}', "request_id"),
    (b'{"request_id": 7, "messages": []}', "request_id"),
    (b'{"request_id": "../x", "messages": []}', "request_id"),
]


@pytest.mark.parametrize(("payload", "said"), MALFORMED, ids=lambda value: str(value)[:30])
def test_what_cannot_be_read_gets_an_error_on_the_clients_reply_topic(
    device: Device, payload: bytes, said: str, caplog: pytest.LogCaptureFixture
) -> None:
    with caplog.at_level("INFO", logger="llm_core.mqtt"):
        device.publish(f"llm/lab/request/{device.name}", payload)
        topic, message = device.next()

    assert topic == f"llm/lab/reply/{device.name}/invalid"
    assert (message["type"], message["code"]) == ("error", "invalid_request")
    assert said in message["message"]
    assert said in caplog.text


WRONG = [
    ({"messages": "Hello"}, "messages"),
    ({"messages": []}, "messages"),
    ({"messages": [{"role": "boss", "content": "Hi"}]}, "messages.0.role"),
    ({"session_id": "a b", "message": "Hi"}, "session_id"),
    ({"session_id": "s"}, "message"),
    ({"session_id": "s", "message": "Hi", "messages": [{"role": "user", "content": "Hi"}]}, "messages"),
    ({"stream": "yes"}, "stream"),
    ({"temperature": "NaN"}, "temperature"),
    ({"temperature": 9}, "temperature"),
    ({"owner": "name:somebody"}, "owner"),
    ({"logprobs": 3}, "logprobs"),
    ({"colour": "red"}, "colour"),
    ({"tools": [{"type": "function"}]}, "tools"),
    ({"max_bytes": 3}, "max_bytes"),
    ({"messages": QUESTION, "attachments": [{"name": "a.txt", "text": "x"}]}, "attachments"),
    ({"session_id": "a", "message": "x", "attachments": [{"name": "a.txt"}]}, "messages.0.attachments.0.text"),
]


@pytest.mark.parametrize(("body", "param"), WRONG, ids=str)
def test_a_wrong_field_gets_an_error_that_names_it(device: Device, body: dict[str, object], param: str) -> None:
    device.ask("r1", **body)
    (message,) = device.reply("r1")

    assert (message["type"], message["code"]) == ("error", "invalid_request")
    assert message["param"].startswith(param)


def test_a_payload_that_is_too_large_gets_an_error(device: Device) -> None:
    device.ask("r1", messages=[{"role": "user", "content": "x" * 1_100_000}])
    topic, message = device.next()

    assert topic == f"llm/lab/reply/{device.name}/invalid"
    assert message["code"] == "request_too_large"


def test_a_conversation_longer_than_the_context_gets_an_error(device: Device) -> None:
    device.ask("r1", messages=[{"role": "user", "content": "sea " * 3000}])

    assert device.reply("r1")[-1]["code"] == "context_overflow"


def test_a_session_remembers_and_belongs_to_its_client(
    broker: Broker, worker: LLMClient, device: Device, make_device: Callable[..., Device]
) -> None:
    device.ask("r1", session_id="kitchen", message="My name is Bo.")
    device.reply("r1")
    device.ask("r2", session_id="kitchen", message="What is my name?")
    last = device.reply("r2")[-1]
    make_device(broker, "stranger").ask("r1", session_id="kitchen", message="What is my name?")

    history = worker.session_history("kitchen", owner=f"name:{device.name}")
    assert [message.role for message in history] == ["user", "assistant"] * 2
    assert history[-1].content == last["content"]
    assert last["usage"]["cached_tokens"] > last["usage"]["prompt_tokens"] / 2
    assert last["usage"]["cache_miss"] is None


def test_a_session_keeps_the_files_of_a_message(device: Device, worker: LLMClient) -> None:
    device.ask("r1", session_id="files", message="Read it.", attachments=[{"name": "a.txt", "text": "x"}], max_tokens=2)
    device.reply("r1")

    asked = worker.session_history("files", owner=f"name:{device.name}")[0]
    assert [(file.name, file.text) for file in asked.attachments or ()] == [("a.txt", "x")]


def test_a_busy_session_says_when_to_try_again(device: Device) -> None:
    device.ask("r1", session_id="busy", message=STORY[0]["content"], max_tokens=900, logit_bias={"2": -100})
    while device.next()[1]["type"] != "delta":
        pass
    device.ask("r2", session_id="busy", message="Hello?")
    (refused,) = device.reply("r2")
    device.cancel("r1")

    assert refused["code"] == "session_busy"
    assert refused["retry_after"] > 0


def test_a_cancel_that_comes_before_its_request_counts(device: Device) -> None:
    device.cancel("r1")
    device.ask("r1", messages=STORY, max_tokens=900)

    (last,) = device.reply("r1")
    assert (last["type"], last["finish_reason"], last["content"]) == ("done", "cancelled", "")


def test_pieces_are_gathered_and_the_first_comes_at_once(device: Device) -> None:
    device.ask("r1", messages=STORY, max_tokens=30, logit_bias={"2": -100})
    heard = device.reply("r1")

    deltas = [message for message in heard if message["type"] == "delta"]
    assert len(deltas) < heard[-1]["usage"]["completion_tokens"]
    assert len(deltas[0]["content"]) < 20


def test_a_device_that_can_take_little_gets_little_at_a_time(device: Device) -> None:
    device.ask("r1", messages=STORY, max_tokens=50, logit_bias={"2": -100}, max_bytes=256)
    heard = device.reply("r1")
    device.ask("r2", messages=STORY, max_tokens=50, logit_bias={"2": -100}, max_bytes=256, stream=False)
    whole = device.reply("r2")

    assert max(len(message.payload) for _, message in device.raw) <= 256
    assert heard[-1]["split"] is True
    assert heard[-1]["content"] is None
    assert text_of(heard) == text_of(whole)
    assert len(text_of(whole)) > 100


def test_a_call_is_told_in_pieces_and_whole_at_the_end(device: Device) -> None:
    weather = {"name": "get_weather", "parameters": {"type": "object", "properties": {"city": {"type": "string"}}}}
    device.ask("r1", tools=[{"type": "function", "function": weather}], tool_choice="required", max_tokens=40)
    heard = device.reply("r1")

    assert heard[-1]["type"] == "done", heard[-1]
    (call,) = heard[-1]["tool_calls"]
    pieces = [piece for message in heard[1:-1] for piece in message.get("tool_calls", ())]
    assert call["function"]["name"] == "get_weather"
    assert "".join(piece["function"]["arguments"] for piece in pieces) == call["function"]["arguments"]


def test_a_reply_has_the_form_that_was_asked_for(device: Device) -> None:
    schema = {"type": "object", "properties": {"n": {"type": "integer", "maximum": 9}}, "required": ["n"]}
    form = {"type": "json_schema", "json_schema": {"name": "n", "schema": schema | {"additionalProperties": False}}}
    device.ask("r1", response_format=form, max_tokens=30, stream=False)

    assert isinstance(json.loads(device.reply("r1")[-1]["content"])["n"], int)


def test_a_topic_with_a_name_that_is_not_allowed_is_logged_and_nothing_else(
    device: Device, caplog: pytest.LogCaptureFixture
) -> None:
    with caplog.at_level("WARNING", logger="llm_core.mqtt"):
        device.publish("llm/lab/request/a b", {"request_id": "r1", "messages": QUESTION})
        device.ask("r2")
        assert device.reply("r2")[-1]["type"] == "done"

    assert "'llm/lab/request/a b' means nothing here" in caplog.text


# ── sessions ─────────────────────────────────────────────────────────────────────────────────────────────────────────


def test_a_long_session_is_read_whole_though_no_message_of_the_broker_has_room_for_it(
    broker: Broker, worker: LLMClient, make_device: Callable[..., Device]
) -> None:
    device = make_device(broker, "small")
    said = "Ää" * 200
    worker.chat_session("long", said, owner="name:small", max_tokens=8)
    device.ask("r1", session_id="long", action="history", max_bytes=256)
    *_, last = heard = device.reply("r1")

    assert (last["content"], last["split"]) == (None, True)
    assert json.loads(text_of(heard))["messages"][0]["content"] == said


def test_only_its_own_sessions_are_read_and_nothing_is_said_beside(device: Device, worker: LLMClient) -> None:
    worker.chat_session("others", "Hello", owner="name:somebody", max_tokens=8)
    device.ask("r1", session_id="others", action="history")
    device.ask("r2", session_id="others", action="delete")
    device.ask("r3", session_id="others", action="delete", message="Hello")
    device.ask("r4", session_id="others", action="history", max_tokens=3)
    device.ask("r5", action="history", messages=QUESTION)
    codes = {request_id: heard[-1]["code"] for request_id, heard in device.replies(5).items()}

    assert codes == {"r1": "session_not_found", "r2": "session_not_found"} | dict.fromkeys(
        ("r3", "r4", "r5"), "invalid_request"
    )
    assert worker.session_history("others", owner="name:somebody")
