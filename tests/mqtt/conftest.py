"""A real Mosquitto with files of its own, a worker on the real model, and devices that speak either version of MQTT."""

from __future__ import annotations

import json
import os
import queue
import signal
import subprocess
import threading
import time
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from functools import partial
from pathlib import Path
from typing import Any

import paho.mqtt.client as paho
import pytest
from paho.mqtt.enums import CallbackAPIVersion, MQTTProtocolVersion
from paho.mqtt.packettypes import PacketTypes
from paho.mqtt.properties import Properties

from llm_core.client import LLMClient
from llm_core.mqtt.worker.serve import worker_thread
from llm_core.settings import Settings
from scripts.system_packages import NO_BROKER, find_mosquitto
from tests import waiting
from tests.missing import skip_unless_ci
from tests.waiting import free_port, is_open

PATIENCE_SECONDS = 60.0
Message = dict[str, Any]
QUESTION = [{"role": "user", "content": "What is the capital of France?"}]
STORY = [{"role": "user", "content": "Tell me a very long story about the sea."}]
wait_until = partial(waiting.wait_until, seconds=PATIENCE_SECONDS)


class Broker:
    """A Mosquitto on loopback that writes down everything at once, so that it can be killed and started again."""

    def __init__(self, folder: Path, more: str = "", *, port: int | None = None) -> None:
        self.port = port or free_port()
        self._folder = folder
        folder.mkdir(exist_ok=True)
        listener = "" if "listener" in more else f"listener {self.port} 127.0.0.1\nallow_anonymous true\n"
        self._configuration = folder / "mosquitto.conf"
        # Started by root it becomes a user who cannot read a test's folder.
        user = "user root\n" if os.geteuid() == 0 else ""
        self._configuration.write_text(
            f"{user}{listener}persistence true\npersistence_location {folder}/\n"
            f"autosave_on_changes true\nautosave_interval 1\nmax_queued_messages 0\nmax_inflight_messages 100\n"
            f"log_dest file {folder}/mosquitto.log\n{more}"
        )
        self._process: subprocess.Popen[bytes] | None = None

    @property
    def url(self) -> str:
        return f"mqtt://127.0.0.1:{self.port}"

    def start(self) -> Broker:
        program = find_mosquitto()
        assert program is not None
        self._process = subprocess.Popen([program, "-c", str(self._configuration)], stderr=subprocess.DEVNULL)
        wait_until(lambda: is_open(self.port), "Mosquitto is up", seconds=10)
        return self

    def kill(self) -> None:
        """`kill -9`."""
        assert self._process is not None
        self._process.kill()
        self._process.wait()

    def hold(self) -> None:
        """It stands still, as if the network were gone."""
        assert self._process is not None
        self._process.send_signal(signal.SIGSTOP)

    def go_on(self) -> None:
        assert self._process is not None
        self._process.send_signal(signal.SIGCONT)


@contextmanager
def running_broker(folder: Path, more: str = "", *, port: int | None = None) -> Iterator[Broker]:
    broker = Broker(folder, more, port=port).start()
    try:
        yield broker
    finally:
        broker.kill()


class Device:
    """A plain client that subscribes to its replies and keeps all messages, with when they came."""

    def __init__(
        self,
        broker: Broker,
        name: str,
        *,
        version: MQTTProtocolVersion = MQTTProtocolVersion.MQTTv5,
        project: str = "lab",
    ) -> None:
        self.name, self.project, self.version = name, project, version
        self.messages: queue.Queue[tuple[str, Message]] = queue.Queue()
        self.raw: list[tuple[float, paho.MQTTMessage]] = []
        self._subscribed = threading.Event()
        self._filters = [f"llm/{project}/reply/{name}/#"]
        client_id = f"device-{name}"
        if version == MQTTProtocolVersion.MQTTv5:
            self.client = paho.Client(CallbackAPIVersion.VERSION2, client_id, protocol=version)
        else:
            self.client = paho.Client(CallbackAPIVersion.VERSION2, client_id, protocol=version, clean_session=False)
        self.client.reconnect_delay_set(1, 1)
        self.client.on_connect = self._on_connect
        self.client.on_message = self._on_message
        self.client.on_subscribe = lambda *_: self._subscribed.set()
        options: dict[str, Any] = {}
        if version == MQTTProtocolVersion.MQTTv5:
            properties: Any = Properties(PacketTypes.CONNECT)
            properties.SessionExpiryInterval = 3600
            options = {"clean_start": False, "properties": properties}
        self.client.connect("127.0.0.1", broker.port, 10, **options)
        self.client.loop_start()
        assert self._subscribed.wait(10)

    def close(self) -> None:
        self.client.disconnect()
        self.client.loop_stop()

    def listen(self, topic_filter: str) -> None:
        """Subscribes to more than its replies."""
        self._subscribed.clear()
        self._filters.append(topic_filter)
        self.client.subscribe(topic_filter, 1)
        assert self._subscribed.wait(10)

    def ask(self, request_id: str, *, properties: dict[str, Any] | None = None, **body: Any) -> None:
        """Publishes a request; a conversation unless there is a session or something else in `body`."""
        if not {"messages", "session_id"} & set(body):
            body["messages"] = QUESTION
        self.publish(f"llm/{self.project}/request/{self.name}", {"request_id": request_id} | body, properties)

    def cancel(self, request_id: str) -> None:
        self.publish(f"llm/{self.project}/cancel/{self.name}/{request_id}", b"")

    def publish(
        self, topic: str, payload: Any, properties: dict[str, Any] | None = None, *, retain: bool = False
    ) -> None:
        data = payload if isinstance(payload, bytes) else json.dumps(payload)
        made: Any = None
        if properties:
            made = Properties(PacketTypes.PUBLISH)
            for name, value in properties.items():
                setattr(made, name, value)
        self.client.publish(topic, data, 1, retain, properties=made)

    def next(self, seconds: float = PATIENCE_SECONDS) -> tuple[str, Message]:
        """The next message, with its topic."""
        try:
            return self.messages.get(timeout=seconds)
        except queue.Empty:
            pytest.fail(f"{self.name} heard nothing for {seconds:.0f} s")

    def reply(self, request_id: str) -> list[Message]:
        """All messages of a reply, up to its end. Those of other requests are left out."""
        topic = f"llm/{self.project}/reply/{self.name}/{request_id}"
        heard: list[Message] = []
        while not heard or heard[-1]["type"] not in ("done", "error"):
            where, message = self.next()
            if where == topic:
                heard.append(message)
        return heard

    def replies(self, count: int) -> dict[str, list[Message]]:
        """The messages of so many replies, by the last level of their topics."""
        heard: dict[str, list[Message]] = {}
        ended: set[str] = set()
        while len(ended) < count:
            topic, message = self.next()
            heard.setdefault(topic.rsplit("/", 1)[1], []).append(message)
            if message["type"] in ("done", "error"):
                ended.add(topic)
        return heard

    def heard_nothing_for(self, seconds: float) -> bool:
        try:
            self.messages.get(timeout=seconds)
        except queue.Empty:
            return True
        return False

    def _on_connect(self, client: paho.Client, *_rest: object) -> None:
        for topic_filter in self._filters:
            client.subscribe(topic_filter, 1)

    def _on_message(self, _client: paho.Client, _data: object, message: paho.MQTTMessage) -> None:
        self.raw.append((time.perf_counter(), message))
        try:
            said = json.loads(message.payload)
        except ValueError:
            said = {"type": "text", "text": message.payload.decode()}
        self.messages.put((message.topic, said))


def without_repeats(messages: list[Message]) -> list[Message]:
    """What a client keeps: a message whose number it has had already is one that was told again."""
    kept: dict[object, Message] = {}
    for message in messages:
        kept.setdefault((message["type"], message.get("seq")), message)
    return [*kept.values()]


def text_of(messages: list[Message]) -> str:
    """The text of the deltas. Each number must come once, and none may be missing."""
    deltas = [message for message in messages if message["type"] == "delta"]
    assert [delta["seq"] for delta in deltas] == list(range(1, len(deltas) + 1))
    return "".join(delta.get("content", "") for delta in deltas)


@pytest.fixture(scope="session")
def mosquitto() -> str:
    """Path of Mosquitto. Without it these tests skip, but never in CI."""
    program = find_mosquitto()
    if program:
        return program
    skip_unless_ci("the MQTT tests", NO_BROKER)


@pytest.fixture(scope="session")
def broker(mosquitto: str, tmp_path_factory: pytest.TempPathFactory) -> Iterator[Broker]:
    """One for all tests that do not harm it."""
    with running_broker(tmp_path_factory.mktemp("broker")) as broker:
        yield broker


def settings_for(broker: Broker, folder: Path, **more: Any) -> Settings:
    usual: dict[str, Any] = {
        "parallel": 4,
        "threads": 1,  # two that wait for each other on a busy machine can take a hundred times as long
        "context_tokens": 1024,
        "temperature": 0,
        "max_tokens": 24,
        "system_prompt": "",
        "rate_limit": "none",
        "data_dir": folder,
        "MQTT_URL": broker.url,
    }
    return Settings(**(usual | more))


@contextmanager
def serving(settings: Settings) -> Iterator[LLMClient]:
    """A worker that takes requests; yields the client that makes its replies."""
    with LLMClient(settings) as client, worker_thread(client) as worker:
        assert worker is not None
        assert worker.wait_ready(60)
        yield client


@pytest.fixture(scope="session")
def worker(broker: Broker, tmp_path_factory: pytest.TempPathFactory) -> Iterator[LLMClient]:
    """One worker for all tests that do not harm it."""
    with serving(settings_for(broker, tmp_path_factory.mktemp("worker"))) as client:
        yield client


@pytest.fixture
def make_device() -> Iterator[Callable[..., Device]]:
    """Makes devices; they leave when the test ends."""
    made: list[Device] = []

    def make(broker: Broker, name: str, **options: Any) -> Device:
        made.append(Device(broker, name, **options))
        return made[-1]

    yield make
    for device in made:
        device.close()


@pytest.fixture
def device(
    broker: Broker, worker: LLMClient, make_device: Callable[..., Device], request: pytest.FixtureRequest
) -> Device:
    """A device that has the worker to talk to, and a name that no other test's has."""
    return make_device(broker, f"d{abs(hash(request.node.nodeid)) % 10**9}")
