"""A worker's session at the broker: it ends with the worker, or with the heir who has taken what is in it."""

from __future__ import annotations

import asyncio
import socket
from collections.abc import AsyncIterator, Callable
from contextlib import asynccontextmanager, suppress
from pathlib import Path

import pytest

from llm_core.broker import BrokerUrl
from llm_core.mqtt.connection import Connection
from llm_core.mqtt.packets import NO_SUBSCRIBERS, Outgoing, TLSFiles
from llm_core.mqtt.topics import Topics
from llm_core.mqtt.worker.port import Port

from ..conftest import PATIENCE_SECONDS, Broker, running_broker

Heard = list[str]


@asynccontextmanager
async def a_port(
    broker: Broker, topics: Topics, worker: str, *, reads: asyncio.Event | None = None
) -> AsyncIterator[tuple[Port, Heard]]:
    """A worker's port, and the topics of what has come there, which is acknowledged as it comes, or once it `reads`."""
    heard: Heard = []

    async def receive() -> None:
        if reads is not None:
            await reads.wait()
        async for batch in port.batches():
            heard.extend(message.topic for message in batch)

    url = BrokerUrl("127.0.0.1", broker.port)
    async with Port(url, TLSFiles(), topics, worker, requests=[topics.shared_requests]) as port:
        receiving = asyncio.create_task(receive())
        try:
            yield port, heard
        finally:
            receiving.cancel()


async def die(broker: Broker, topics: Topics, worker: str, *, early: bool = False) -> None:
    """A worker ends without a word, as it takes requests or earlier."""
    with suppress(asyncio.CancelledError):
        async with a_port(broker, topics, worker) as (port, _):
            if early:
                await port._connection.wait_connected()
            else:
                await port.open([], model="m", slots=1)
            raise asyncio.CancelledError


async def ask(port: Port, topics: Topics) -> int:
    """Sends a request; what the broker says to it."""
    said: asyncio.Future[int] = asyncio.get_running_loop().create_future()
    port.publish(Outgoing(f"{topics.prefix}/lab/request/oven", b"{}", on_acknowledged=said.set_result))
    return await asyncio.wait_for(said, PATIENCE_SECONDS)


def cut(connection: Connection) -> None:
    """The network breaks, which neither side has noticed yet."""
    client = connection._paho
    assert client is not None
    sock = client.socket()
    assert isinstance(sock, socket.socket)
    sock.shutdown(socket.SHUT_RDWR)


def cut_and_see(connection: Connection) -> None:
    """The network has broken, which paho has just noticed."""
    cut(connection)
    assert connection._paho is not None
    while connection._paho.socket() is not None:
        connection._paho.loop_read()


def stand_still(broker: Broker, port: Port) -> None:
    """The broker takes bytes, and says nothing more."""
    broker.hold()
    port.publish(port._offline)


async def test_a_drain_takes_what_the_broker_keeps_for_a_worker_and_ends_its_session(broker: Broker) -> None:
    topics = Topics("drained")
    await die(broker, topics, "gone")
    async with a_port(broker, topics, "heir") as (port, heard):
        assert await ask(port, topics) == 0, "dealt to the worker that has gone"
        assert await asyncio.wait_for(port.drain("gone"), PATIENCE_SECONDS)

        assert "drained/lab/request/oven" in heard
        assert await ask(port, topics) == NO_SUBSCRIBERS


async def test_a_drain_ends_too_of_a_worker_that_had_not_taken_requests_yet(broker: Broker) -> None:
    topics = Topics("early")
    await die(broker, topics, "gone", early=True)
    async with a_port(broker, topics, "heir") as (port, _):
        assert await asyncio.wait_for(port.drain("gone"), PATIENCE_SECONDS)


async def test_a_drain_that_is_broken_off_leaves_the_session_to_the_next_one(
    broker: Broker, monkeypatch: pytest.MonkeyPatch
) -> None:
    topics = Topics("broken-off")
    await die(broker, topics, "gone")
    wait_connected, broken_off = Connection.wait_connected, []

    async def break_off(connection: Connection) -> None:
        await wait_connected(connection)
        broken_off.append(connection)
        raise asyncio.CancelledError

    async with a_port(broker, topics, "heir") as (port, heard):
        with monkeypatch.context() as patch, suppress(asyncio.CancelledError):
            patch.setattr(Connection, "wait_connected", break_off)
            await asyncio.wait_for(port.drain("gone"), PATIENCE_SECONDS)
        assert [connection.has_left for connection in broken_off] == [False]
        assert await ask(port, topics) == 0
        assert await asyncio.wait_for(port.drain("gone"), PATIENCE_SECONDS)

        assert "broken-off/lab/request/oven" in heard


@pytest.mark.parametrize("breaks", [cut, cut_and_see])
async def test_a_drain_ends_the_subscription_though_its_connection_breaks_meanwhile(
    broker: Broker, monkeypatch: pytest.MonkeyPatch, breaks: Callable[[Connection], None]
) -> None:
    topics = Topics(breaks.__name__)
    await die(broker, topics, "gone")
    unsubscribe, wait_received = Connection.unsubscribe, Port.wait_received
    to_come, said = [breaks], []

    async def cut_once(connection: Connection, topic_filter: str) -> bool:
        if to_come:
            to_come.pop()(connection)
        return await unsubscribe(connection, topic_filter)

    async def drained(port: Port) -> None:
        said.append(await ask(port, topics))
        await wait_received(port)

    async with a_port(broker, topics, "heir") as (port, _):
        monkeypatch.setattr(Connection, "unsubscribe", cut_once)
        monkeypatch.setattr(Port, "wait_received", drained)
        assert await asyncio.wait_for(port.drain("gone"), PATIENCE_SECONDS)

    assert said == [NO_SUBSCRIBERS], "nothing more is dealt to it when its session ends"


async def test_a_worker_has_left_when_the_broker_has_been_told(broker: Broker) -> None:
    async with a_port(broker, Topics("left"), "one") as (port, _):
        await port.open([], model="m", slots=1)
        await port.close_requests()
        await port.say_goodbye()
    assert port.has_left


@pytest.mark.parametrize("breaks", [lambda _broker, port: cut(port._connection), stand_still])
async def test_a_worker_has_not_left_where_its_goodbye_goes_nowhere(
    mosquitto: str, tmp_path: Path, breaks: Callable[[Broker, Port], None]
) -> None:
    with running_broker(tmp_path / "broker") as broker:
        async with a_port(broker, Topics("llm"), "one") as (port, _):
            await port.open([], model="m", slots=1)
            await asyncio.wait_for(port.close_requests(), PATIENCE_SECONDS)
            await asyncio.wait_for(port._connection.wait_sent(), PATIENCE_SECONDS)
            breaks(broker, port)
        assert not port.has_left


@pytest.mark.parametrize("waits", [True, False], ids=["waited for", "not waited for"])
async def test_what_the_broker_still_has_for_a_worker_that_ends_is_taken_by_it_or_by_its_heir(
    mosquitto: str, tmp_path: Path, waits: bool
) -> None:
    """The broker sends two at a time, and the next when those are acknowledged."""
    topics, requests = Topics("llm"), [f"llm/lab/request/oven-{number}" for number in range(9)]
    with running_broker(tmp_path / "broker", "max_inflight_messages 2\n") as broker:
        async with a_port(broker, topics, "heir") as (heir, inherited):
            async with a_port(broker, topics, "one", reads=(reads := asyncio.Event())) as (port, heard):
                await port.open([], model="m", slots=1)
                for topic in requests:
                    heir.publish(Outgoing(topic, b"{}"))
                await asyncio.wait_for(heir._connection.wait_sent(), PATIENCE_SECONDS)
                if waits:
                    reads.set()
                    await asyncio.wait_for(port.close_requests(), PATIENCE_SECONDS)
            assert port.has_left is waits
            if not waits:
                assert await asyncio.wait_for(heir.drain("one"), PATIENCE_SECONDS)
            found = heard if waits else inherited
            assert [topic for topic in found if topic in requests] == requests
