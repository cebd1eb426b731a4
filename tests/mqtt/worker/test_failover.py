"""What becomes of requests whose worker has ended while its connection to the broker was away."""

from __future__ import annotations

import socket
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from dataclasses import replace
from pathlib import Path
from typing import Any

from sqlalchemy import select

from llm_core.client import LLMClient
from llm_core.events import ContentDelta, Done, Timings, Usage
from llm_core.mqtt.topics import Topics
from llm_core.mqtt.worker.failover import Failover
from llm_core.mqtt.worker.ledger import Ledger, workers
from llm_core.mqtt.worker.serve import WorkerThread
from llm_core.sessions.database import open_database
from tests.scripted_backend import ScriptedBackend
from tests.waiting import free_port

from ..conftest import Broker, Device, running_broker, settings_for, wait_until

HELLO = (ContentDelta("Hello"), Done("stop", Usage(), Timings()))


@contextmanager
def a_worker(broker: Broker, folder: Path) -> Iterator[WorkerThread]:
    """A worker that takes requests and answers each with a word."""
    backend = ScriptedBackend(lambda _request, _stopped: HELLO)
    with LLMClient(settings_for(broker, folder), backend=backend) as client:
        worker = WorkerThread(client)
        try:
            assert worker.wait_ready(60)
            yield worker
        finally:
            worker.close()


def cut_off(worker: WorkerThread) -> None:
    """Its broker is no more where it was."""
    connection = worker._worker._port._connection

    def cut() -> None:
        connection._broker = replace(connection._broker, port=free_port())
        assert connection._paho is not None
        sock = connection._paho.socket()
        assert isinstance(sock, socket.socket)
        sock.shutdown(socket.SHUT_RDWR)

    worker._loop.call_soon_threadsafe(cut)
    wait_until(lambda: not connection.connected, "the connection has ended")


def test_what_the_broker_deals_to_a_worker_that_ended_without_it_is_answered(
    mosquitto: str, tmp_path: Path, make_device: Callable[..., Device]
) -> None:
    with running_broker(tmp_path / "broker") as broker, a_worker(broker, tmp_path) as one:
        cut_off(one)
        with a_worker(broker, tmp_path) as other:
            one.close()
            device = make_device(broker, "oven")
            for number in range(10):
                device.ask(f"r{number}")

            assert {messages[-1]["type"] for messages in device.replies(10).values()} == {"done"}
            wait_until(lambda: names(other) == [other._worker.name], "nothing is left of the one that ended")


def names(worker: WorkerThread) -> list[str]:
    with worker._worker._ledger._engine.connect() as connection:
        return [*connection.execute(select(workers.c.name)).scalars()]


async def test_a_worker_that_has_gone_is_forgotten_when_the_broker_has_forgotten_it(tmp_path: Path) -> None:
    ledger = Ledger(open_database(f"sqlite:///{tmp_path}/sessions.db"), "gone")
    ledger.join()
    seen: list[int] = []

    class Post:
        """A port whose first connection breaks at the very end."""

        async def drain(self, worker: str) -> bool:
            with ledger._engine.connect() as connection:
                seen.append(len(connection.execute(select(workers)).all()))
            return len(seen) == 2

    nothing: Any = None
    post: Any = Post()
    await Failover(nothing, ledger, nothing, Topics("llm"), post)._drain("gone")

    assert seen == [1, 1]
    with ledger._engine.connect() as connection:
        assert not connection.execute(select(workers)).all()
    ledger.close()
