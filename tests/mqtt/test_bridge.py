"""Requests over MQTT and their replies, on a real broker and the real model."""

from __future__ import annotations

from collections.abc import Callable

import pytest
from paho.mqtt.enums import MQTTProtocolVersion

from llm_core.client import LLMClient

from .conftest import QUESTION, STORY, Broker, Device, text_of

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


def test_a_cancelled_reply_ends_with_what_there_is_of_it(device: Device) -> None:
    device.ask("r1", messages=STORY, max_tokens=900, logit_bias={"2": -100})
    while device.next()[1]["type"] != "delta":
        pass
    device.cancel("r1")
    last = device.reply("r1")[-1]

    assert (last["type"], last["finish_reason"]) == ("done", "cancelled")
    assert last["content"]
