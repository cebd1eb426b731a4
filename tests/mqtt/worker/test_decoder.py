"""The decoder: a request is read, and answered, in the dialect of its client, whichever worker has it."""

from __future__ import annotations

import json
from typing import Any

import pytest

from llm_core.errors import QueueFull, RequestExpired
from llm_core.mqtt.packets import Incoming
from llm_core.mqtt.topics import Address, Topics
from llm_core.mqtt.worker.decoder import Arrival, Decoder, Refusal
from llm_core.mqtt.worker.legacy import LegacyDialect
from llm_core.mqtt.worker.native import NativeDialect
from llm_core.mqtt.worker.outbox import Pace
from llm_core.mqtt.worker.projects import Compatibility, Project, Projects

PROJECTS = Projects({"maze": Project(compatibility=Compatibility()), "lab": Project()}, "none")
DECODER = Decoder(LegacyDialect(PROJECTS, 1000), NativeDialect(PROJECTS, 1000, Topics("llm"), Pace()))
NATIVE = ("llm/maze/request/oven", {"request_id": "r1", "session_id": "s", "message": "Hello"})
LEGACY = ("maze/user_input", {"requestId": "r1", "sessionId": "s", "message": "Hello"})


def decode(topic: str, body: dict[str, Any] | None = None, expires_in: int | None = None) -> object:
    payload = json.dumps(body or {}).encode()
    return DECODER.decode(Incoming(topic, payload, False, None, b"7", expires_in, lambda: None))


@pytest.mark.parametrize(
    ("sent", "dialect", "owner", "topic", "error"),
    [
        (NATIVE, NativeDialect, "name:oven", "llm/maze/reply/oven/r1", {"type": "error", "message": "Full."}),
        (LEGACY, LegacyDialect, "project:maze", "maze/assistant_response/s/r1", {"error": "Full."}),
    ],
)
def test_a_request_carries_its_dialect_also_to_the_worker_that_takes_it_over(
    sent: tuple[str, dict[str, Any]], dialect: type, owner: str, topic: str, error: dict[str, str]
) -> None:
    arrival = decode(*sent)
    assert isinstance(arrival, Arrival)

    for taken in (arrival, DECODER.dialect_of(arrival.key).decode_entry(arrival.entry)):
        assert isinstance(taken, Arrival)
        assert (type(taken.dialect), taken.owner, taken.to.topic, taken.to.correlation) == (dialect, owner, topic, b"7")
        assert (taken.ask.session_id, taken.ask.message) == ("s", "Hello")
    refusal = arrival.refused(QueueFull("Full."))
    assert error.items() <= json.loads(refusal.dialect.encode_error(refusal.error, 1000)).items()


@pytest.mark.parametrize("sent", [NATIVE, LEGACY])
def test_what_comes_too_late_is_refused_in_any_dialect(sent: tuple[str, dict[str, Any]]) -> None:
    refusal = decode(*sent, expires_in=0)

    assert isinstance(refusal, Refusal)
    assert isinstance(refusal.error, RequestExpired)


def test_what_is_no_request_is_what_its_topic_means() -> None:
    assert decode("maze/template") == decode("llm/maze/template") == Address("template", "maze")
    assert decode("llm/lab/cancel/oven/r1") == Address("cancel", "lab", "oven", "r1")
    assert decode("lab/user_input") is decode("lab/template") is decode("llm/lab/request/a b") is None
