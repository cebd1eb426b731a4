"""What the network, the broker and the workers may do to a request: it is answered once, and nothing of it is lost."""

from __future__ import annotations

import asyncio
import os
import signal
import subprocess
import sys
import threading
import time
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from pathlib import Path
from typing import Any

import paho.mqtt.client as paho
import pytest

from llm_core.client import LLMClient
from llm_core.events import ChatEvent, ChatReply, Done
from llm_core.mqtt import MQTTChatClient
from llm_core.mqtt.worker import native
from llm_core.mqtt.worker.native import NativeDialect
from llm_core.mqtt.worker.outbox import Outbox
from tests.waiting import free_port, is_idle

from ..conftest import (
    QUESTION,
    STORY,
    Broker,
    Device,
    Message,
    running_broker,
    serving,
    settings_for,
    text_of,
    wait_until,
    without_repeats,
)

ENDLESS: dict[str, Any] = {"messages": STORY, "max_tokens": 900, "logit_bias": {"2": -100}}
ROOT = Path(__file__).resolve().parents[3]


def count_replies(client: LLMClient) -> list[Done]:
    """The replies that the client makes from now on, as they end."""
    ended: list[Done] = []

    def watcher() -> Callable[[ChatEvent], None]:
        return lambda event: ended.append(event) if isinstance(event, Done) else None

    client.watch(watcher)
    return ended


def first_delta(device: Device) -> list[Message]:
    """Messages up to the first piece of text."""
    heard = [device.next()[1]]
    while heard[-1]["type"] != "delta":
        heard.append(device.next()[1])
    return heard


@pytest.fixture(scope="module")
def brittle(mosquitto: str, tmp_path_factory: pytest.TempPathFactory) -> Iterator[Broker]:
    """A broker that may be killed."""
    with running_broker(tmp_path_factory.mktemp("brittle")) as broker:
        yield broker


@pytest.fixture(scope="module")
def steadfast(brittle: Broker, tmp_path_factory: pytest.TempPathFactory) -> Iterator[LLMClient]:
    """A worker whose broker may be killed."""
    settings = settings_for(brittle, tmp_path_factory.mktemp("steadfast"), queue_limit=100)
    with serving(settings) as client:
        yield client


# ── the same request again ───────────────────────────────────────────────────────────────────────────────────────────


def test_a_request_that_is_sent_again_joins_the_running_reply(device: Device, worker: LLMClient) -> None:
    made = count_replies(worker)
    device.ask("r1", messages=STORY, max_tokens=30, logit_bias={"2": -100})
    heard = first_delta(device)
    device.ask("r1", messages=STORY, max_tokens=30, logit_bias={"2": -100})
    heard += device.reply("r1")

    assert len([message for message in heard if message["type"] == "accepted"]) >= 2
    assert len([message for message in heard if message.get("seq") == 1]) == 2, "the first piece was told again"
    assert text_of(without_repeats(heard)) == heard[-1]["content"]
    assert len(made) == 1


def test_who_asks_again_can_say_what_has_been_received(device: Device) -> None:
    device.ask("r1", messages=STORY, max_tokens=30, logit_bias={"2": -100})
    heard = first_delta(device)
    device.ask("r1", messages=STORY, after=1)
    heard += device.reply("r1")

    assert [message.get("seq") for message in heard].count(1) == 1, "the first piece was not told again"
    # Pieces that came while the request was on its way are told again.
    assert text_of(without_repeats(heard)) == heard[-1]["content"]


def test_a_request_whose_reply_has_ended_gets_the_same_end_again(device: Device, worker: LLMClient) -> None:
    made = count_replies(worker)
    device.ask("r1")
    last = device.reply("r1")[-1]
    device.ask("r1")

    assert device.reply("r1") == [last]
    assert len(made) == 1


def test_a_request_that_the_broker_brings_twice_is_told_once(
    brittle: Broker, steadfast: LLMClient, make_device: Callable[..., Device], monkeypatch: pytest.MonkeyPatch
) -> None:
    made, brought, told = count_replies(steadfast), [], []
    decode = NativeDialect.decode
    monkeypatch.setattr(NativeDialect, "decode", lambda *args: brought.append(args[1].duplicate) or decode(*args))
    monkeypatch.setattr(Outbox, "resend", lambda *args: told.append(args))
    monkeypatch.setattr(paho.Client, "ack", lambda *_: None)  # so the broker does not know that it has been received
    device = make_device(brittle, "once")
    device.ask("r1", **ENDLESS)
    first_delta(device)
    brittle.kill()
    brittle.start()
    wait_until(lambda: True in brought, "the broker has brought it again")
    device.cancel("r1")

    assert device.reply("r1")[-1]["finish_reason"] == "cancelled"
    assert (brought, told, len(made)) == ([False, True], [], 1)


def test_a_request_that_was_refused_may_be_sent_again(device: Device) -> None:
    device.ask("r1", temperature=9)
    assert device.reply("r1")[-1]["type"] == "error"
    device.ask("r1")
    assert device.reply("r1")[-1]["type"] == "done"


# ── too late, too many ───────────────────────────────────────────────────────────────────────────────────────────────


def test_a_request_whose_time_has_passed_is_not_started(device: Device, worker: LLMClient) -> None:
    made = count_replies(worker)
    device.ask("r1", expires_at=time.time() - 1)

    (message,) = device.reply("r1")
    assert (message["type"], message["code"]) == ("error", "expired")
    assert not made


def test_a_request_that_expires_while_it_waits_is_not_started_and_others_are(
    mosquitto: str, tmp_path: Path, make_device: Callable[..., Device], monkeypatch: pytest.MonkeyPatch
) -> None:
    # Ten minutes for the broker, which drops what waits longer there, and a second for the worker.
    expiry = native.expiry
    monkeypatch.setattr(native, "expiry", lambda *args: (at := expiry(*args)) and at - 599)
    with (
        running_broker(tmp_path / "broker") as broker,
        serving(settings_for(broker, tmp_path, parallel=1, queue_limit=2)) as client,
    ):
        device = make_device(broker, "oven")
        device.ask("long", **ENDLESS)
        first_delta(device)
        device.ask("late", properties={"MessageExpiryInterval": 600})
        device.ask("later", expires_at=time.time() + 600)
        both = device.replies(2)
        for name in ("late", "later"):
            *before, last = both[name]
            assert (last["type"], last["code"]) == ("error", "expired")
            # Which of them waits before the other is not known, nor how often its place has changed.
            assert {message["type"] for message in before} <= {"accepted"}

        for name in ("one", "two"):
            device.ask(name)
            wait_until_accepted(device, name)
        device.ask("three")
        (busy,) = device.reply("three")
        assert busy["code"] == "busy"
        assert busy["retry_after"] > 0
        device.cancel("long")
        assert device.reply("two")[-1]["type"] == "done"
        device.ask("three")
        assert device.reply("three")[-1]["type"] == "done"
        wait_until(lambda: is_idle(client), "the engine is idle")


def wait_until_accepted(device: Device, request_id: str) -> None:
    while True:
        topic, message = device.next()
        if topic.endswith(f"/{request_id}"):
            assert message["type"] == "accepted"
            return


# ── the broker ───────────────────────────────────────────────────────────────────────────────────────────────────────


def test_fifty_requests_survive_a_broker_that_is_killed_none_lost_and_none_made_twice(
    brittle: Broker, steadfast: LLMClient
) -> None:
    made = count_replies(steadfast)
    expected = steadfast.generate(QUESTION, max_tokens=3)
    made.clear()
    begun = threading.Event()

    async def ask(client: MQTTChatClient) -> tuple[str, ChatReply]:
        pieces = []
        reply = None
        async for event in client.achat_stream(QUESTION, max_tokens=3):
            if isinstance(event, Done):
                reply = event
            elif event.type == "content":
                pieces.append(event.text)
                begun.set()
        assert reply is not None
        return "".join(pieces), reply

    async def ask_all() -> list[tuple[str, Done]]:
        with MQTTChatClient(brittle.url, name="crowd", project="lab", patience=120) as client:
            asking = asyncio.gather(*(ask(client) for _ in range(50)))
            await asyncio.to_thread(begun.wait, 60)
            brittle.kill()
            brittle.start()
            return await asking

    answers = asyncio.run(asyncio.wait_for(ask_all(), 150))

    assert [text for text, _ in answers] == [expected] * 50
    assert len(made) == 50


def test_a_reply_goes_on_without_the_broker_and_is_told_when_that_is_back(
    brittle: Broker, steadfast: LLMClient, make_device: Callable[..., Device]
) -> None:
    made = count_replies(steadfast)
    device = make_device(brittle, "patient")
    device.ask("r1", messages=STORY, max_tokens=40, logit_bias={"2": -100})
    heard = first_delta(device)
    brittle.kill()
    wait_until(lambda: len(made) == 1, "the reply has ended while the broker was away")
    brittle.start()
    heard += device.reply("r1")

    numbers = [message["seq"] for message in heard if "seq" in message]
    assert numbers == sorted(numbers), "in order"
    assert text_of(without_repeats(heard)) == heard[-1]["content"]
    assert heard[-1]["usage"]["completion_tokens"] == 40


def test_a_request_that_was_made_while_no_broker_was_there_is_answered(brittle: Broker, steadfast: LLMClient) -> None:
    with MQTTChatClient(brittle.url, name="early", project="lab") as client:
        assert client.generate(QUESTION, max_tokens=2)
        brittle.kill()
        replies: list[str] = []
        asking = threading.Thread(target=lambda: replies.append(client.generate(QUESTION, max_tokens=2)))
        asking.start()
        brittle.start()
        asking.join(60)

    assert len(replies) == 1


def test_no_packet_is_larger_than_the_broker_takes(
    mosquitto: str, tmp_path: Path, make_device: Callable[..., Device]
) -> None:
    with (
        running_broker(tmp_path / "broker", "max_packet_size 400\n") as broker,
        serving(settings_for(broker, tmp_path, MQTT_DELTA_BYTES=4000, MQTT_DELTA_MS=10_000)),
    ):
        device = make_device(broker, "oven")
        device.ask("r1", messages=[STORY[0] | {"content": "Tell me a story."}], max_tokens=90, logit_bias={"2": -100})
        heard = device.reply("r1")

    assert heard[-1]["type"] == "done", heard[-1]
    assert heard[-1]["split"] is True
    assert len(text_of(heard)) > 250
    assert max(len(message.payload) for _, message in device.raw) < 400


# ── workers ──────────────────────────────────────────────────────────────────────────────────────────────────────────


class Worker:
    """A worker as a process of its own: `python -m llm_core mqtt`, or the app."""

    def __init__(self, broker: Broker, folder: Path, *program: str) -> None:
        variables = {
            "GRADIO_SERVER_PORT": str(free_port()),
            "MQTT_URL": broker.url,
            "LLM_DATA_DIR": str(folder),
            "LLM_PARALLEL": "2",
            "LLM_THREADS": "1",
            "LLM_CONTEXT_TOKENS": "512",
            "LLM_SYSTEM_PROMPT": " ",
            "LLM_RATE_LIMIT": "none",
        }
        self.process = subprocess.Popen(
            [sys.executable, *(program or ("-m", "llm_core", "mqtt"))],
            cwd=ROOT,
            env=os.environ | variables,
            stdout=subprocess.PIPE,
            text=True,
        )
        self.name = ""

    def wait_ready(self, said: str = "Serving mqtt://") -> None:
        assert self.process.stdout is not None
        line = self.process.stdout.readline()
        assert line.startswith(said)
        self.name = line.split()[-1]

    def kill(self) -> None:
        self.process.kill()
        self.process.wait()


@contextmanager
def two_workers(broker: Broker, folder: Path) -> Iterator[tuple[Worker, Worker]]:
    workers = Worker(broker, folder), Worker(broker, folder)
    try:
        for worker in workers:
            worker.wait_ready()
        yield workers
    finally:
        for worker in workers:
            worker.kill()


@pytest.mark.slow
def test_two_workers_share_the_load_and_what_a_killed_one_had_is_taken_up_or_told_to_be_interrupted(
    mosquitto: str, tmp_path: Path, make_device: Callable[..., Device]
) -> None:
    with running_broker(tmp_path / "broker") as broker, two_workers(broker, tmp_path) as (one, other):
        device = make_device(broker, "oven")
        device.listen("llm/status/+")
        states: dict[str, str] = {}
        while len(states) < 2:
            topic, message = device.next()
            states[topic] = message["status"]
        assert states == {f"llm/status/{worker.name}": "online" for worker in (one, other)}

        # Longer than either needs until the other is gone, so that some have begun, some wait and some were never read.
        for number in range(8):
            device.ask(f"r{number}", max_tokens=30, logit_bias={"2": -100}, stream=number % 3 > 0)
        accepted: set[str] = set()
        heard: dict[str, list[Message]] = {}
        while len(accepted) < 2 or not any(message["type"] == "delta" for each in heard.values() for message in each):
            topic, message = device.next()
            if "/reply/" in topic:
                heard.setdefault(topic, []).append(message)
                accepted |= {message["worker"]} if message["type"] == "accepted" else set()
        assert accepted == {one.name, other.name}
        one.kill()

        def ended() -> int:
            return len([1 for each in heard.values() if each[-1]["type"] in ("done", "error")])

        while states[f"llm/status/{one.name}"] == "online" or ended() < 8:
            topic, message = device.next()
            if topic == f"llm/status/{one.name}":
                assert message["status"] == "offline"
                states[topic] = message["status"]
            elif "/reply/" in topic:
                heard.setdefault(topic, []).append(message)
        assert states[f"llm/status/{one.name}"] == "offline"
        for messages in heard.values():
            ends = [message for message in messages if message["type"] in ("done", "error")]
            assert all(end == ends[0] for end in ends), "what was heard just before the kill may be told again"
            assert ends[0]["type"] == "done" or ends[0]["code"] == "interrupted"
            if ends[0]["type"] == "done":
                assert not text_of(messages) or text_of(messages) == ends[0]["content"]
        took_up = {message["worker"] for each in heard.values() for message in each if message["type"] == "accepted"}
        assert took_up == {one.name, other.name}


@pytest.mark.slow
def test_requests_that_come_while_no_worker_runs_wait_for_the_next_one(
    mosquitto: str, tmp_path: Path, make_device: Callable[..., Device]
) -> None:
    with running_broker(tmp_path / "broker") as broker:
        device = make_device(broker, "oven")
        first = Worker(broker, tmp_path)
        first.wait_ready()
        first.kill()
        device.ask("r1", max_tokens=3)
        second = Worker(broker, tmp_path)
        try:
            second.wait_ready()
            heard = device.reply("r1")
            assert heard[0]["worker"] == second.name
            assert heard[-1]["type"] == "done"

            device.ask("r2", max_tokens=100, logit_bias={"2": -100})
            first_delta(device)
            second.process.send_signal(signal.SIGTERM)
            assert device.reply("r2")[-1]["finish_reason"] == "length", "a running reply may end"
            assert second.process.wait(30) == 0
        finally:
            second.kill()


@pytest.mark.slow
def test_a_second_signal_ends_a_workers_replies_at_once(
    mosquitto: str, tmp_path: Path, make_device: Callable[..., Device]
) -> None:
    with running_broker(tmp_path / "broker") as broker:
        device = make_device(broker, "oven")
        worker = Worker(broker, tmp_path)
        try:
            worker.wait_ready()
            device.ask("r1", max_tokens=100_000, logit_bias={"2": -100})
            first_delta(device)
            worker.process.send_signal(signal.SIGTERM)
            device.listen("llm/status/+")
            worker.process.send_signal(signal.SIGTERM)
            assert device.reply("r1")[-1]["code"] == "interrupted"
            assert worker.process.wait(30) == 0
        finally:
            worker.kill()


@pytest.mark.slow
def test_the_app_serves_the_broker_beside_its_page_and_lets_a_reply_end_before_it_does(
    mosquitto: str, tmp_path: Path, make_device: Callable[..., Device]
) -> None:
    with running_broker(tmp_path / "broker") as broker:
        device = make_device(broker, "oven")
        app = Worker(broker, tmp_path, "app.py")
        try:
            app.wait_ready("Chat: ")
            device.listen("llm/status/+")
            while device.next()[1].get("status") != "online":
                pass
            device.ask("r1", max_tokens=60, logit_bias={"2": -100})
            first_delta(device)
            app.process.send_signal(signal.SIGTERM)
            assert device.reply("r1")[-1]["finish_reason"] == "length"
            assert app.process.wait(30) == 0
        finally:
            app.kill()
