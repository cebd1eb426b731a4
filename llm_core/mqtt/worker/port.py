"""A worker's port at the broker: what it publishes, what it receives, and its presence there.

What is received waits in one queue and leaves it in order; the broker hears of it when it has been written down.
"""

from __future__ import annotations

import asyncio
import logging
from collections.abc import AsyncGenerator, Callable, Iterable, Sequence
from typing import Any

from llm_core.broker import BrokerUrl
from llm_core.mqtt import payloads
from llm_core.mqtt.connection import Connection
from llm_core.mqtt.packets import Incoming, Outgoing, TLSFiles
from llm_core.mqtt.topics import Topics

log = logging.getLogger(__name__)

STATUS_SECONDS = 24 * 3600  # how long the broker remembers that a worker has gone
_BATCH = 64  # messages that are written down at once


class Port:
    """To be used as `async with`, in one event loop.

    Args:
        worker: This worker's name.
        requests: The filters of requests; each of these goes to one of the workers.

    Raises:
        SettingsError: A file for TLS cannot be used.
    """

    def __init__(
        self, broker: BrokerUrl, tls: TLSFiles, topics: Topics, worker: str, *, requests: Sequence[str]
    ) -> None:
        self.worker = worker
        self._broker, self._tls, self._topics, self._requests = broker, tls, topics, requests
        self._inbox: asyncio.Queue[Incoming | asyncio.Event] = asyncio.Queue()
        self._offline = self._status("offline", STATUS_SECONDS)
        self._online: Outgoing | None = None  # while it takes requests
        self._emptied = asyncio.Event()
        self._connection = self._connect(worker, self._emptied, self._on_connected, will=self._offline)

    def _connect(
        self,
        worker: str,
        emptied: asyncio.Event,
        on_connected: Callable[[bool], None],
        will: Outgoing | None = None,
    ) -> Connection:
        """The connection of a worker's session. `emptied` is set when the last message of it has come (`_empty`)."""

        def receive(message: Incoming) -> None:
            if message.topic == self._topics.worker(worker, "end"):
                emptied.set()
            self._inbox.put_nowait(message)

        return Connection(
            self._broker,
            f"llm-worker-{worker}",  # known to others, who take over what the broker keeps for it
            on_message=receive,
            tls=self._tls,
            will=will,
            keep_session=True,
            on_connected=on_connected,
        )

    async def __aenter__(self) -> Port:
        await self._connection.__aenter__()
        return self

    async def __aexit__(self, *error: Any) -> None:
        await self._connection.__aexit__(*error)

    @property
    def has_left(self) -> bool:
        """Whether the broker knows that this worker has ended, and deals it no more requests."""
        return self._connection.has_left

    # ── sending ──────────────────────────────────────────────────────────────────────────────────────────────────────

    @property
    def largest_packet(self) -> int:
        """What the broker takes, in bytes, as far as is known now."""
        return self._connection.largest_packet

    def publish(self, message: Outgoing) -> None:
        """Publishes in order, at least once, as soon as the broker is there. Never waits."""
        self._connection.publish(message)

    # ── receiving ────────────────────────────────────────────────────────────────────────────────────────────────────

    async def batches(self) -> AsyncGenerator[list[Incoming]]:
        """What is received, in order. A batch is acknowledged when the next one is asked for."""
        while True:
            batch = [await self._inbox.get()]
            while len(batch) < _BATCH and not self._inbox.empty():
                batch.append(self._inbox.get_nowait())
            yield [each for each in batch if isinstance(each, Incoming)]
            for each in batch:
                if isinstance(each, Incoming):
                    each.acknowledge()
                else:
                    each.set()

    async def wait_received(self) -> None:
        """Waits until everything that has come by now is written down and acknowledged."""
        marker = asyncio.Event()
        self._inbox.put_nowait(marker)
        await marker.wait()

    async def drain(self, worker: str) -> bool:
        """Receives what the broker keeps for a worker that has gone: requests that were dealt to it and never read.

        The broker hands them to whoever comes with that worker's client id.

        Returns:
            Whether its session has ended too. Else the broker may go on dealing requests to it.
        """
        emptied = asyncio.Event()

        def connected(known: bool) -> None:
            if not known:
                emptied.set()

        async with self._connect(worker, emptied, connected) as connection:
            connection.ends_session = False
            await connection.wait_connected()
            await connection.subscribe(self._topics.of_worker(worker))  # one that ended before it took requests has not
            await self._empty(connection, worker, emptied)
        return connection.has_left

    async def _empty(self, connection: Connection, worker: str, emptied: asyncio.Event) -> None:
        """Receives what is left in a worker's session, which ends with its connection then.

        When no more requests are dealt to it, and a message that was sent after that has come, there is nothing left.
        """
        for topic_filter in self._requests:
            while not await connection.unsubscribe(topic_filter):
                await connection.wait_connected()
        self.publish(Outgoing(self._topics.worker(worker, "end"), b""))
        await emptied.wait()
        await self.wait_received()
        connection.ends_session = True

    # ── presence ─────────────────────────────────────────────────────────────────────────────────────────────────────

    async def open(self, filters: Iterable[str], *, model: str, slots: int) -> None:
        """Begins to take requests, and says so.

        Args:
            filters: What this worker hears beside requests and other workers.
        """
        await self._connection.wait_connected()
        self._connection.ends_session = False
        workers = (self._topics.statuses, self._topics.of_worker(self.worker))
        for topic_filter in (*filters, *workers, *self._requests):
            await self._connection.subscribe(topic_filter)
        self._online = self._status("online", model=model, slots=slots)
        self.publish(self._online)

    async def close_requests(self) -> None:
        """Takes no more requests; returns when those that the broker has dealt to this worker are written down. Where
        that is not waited for, they stay in the session, for an heir."""
        self._online = None
        await self._empty(self._connection, self.worker, self._emptied)

    async def say_goodbye(self) -> None:
        """Says that this worker has gone; returns when the broker has all that was published."""
        self.publish(self._offline)
        await self._connection.wait_sent()

    def _on_connected(self, known: bool) -> None:
        if self._online is None:
            return
        if not known:
            log.warning("The broker has lost this worker's session. Clients that hear nothing have to ask again.")
        self.publish(self._online)

    def _status(self, state: str, expires_in: int | None = None, **facts: Any) -> Outgoing:
        payload = payloads.encode({"status": state, "worker": self.worker} | facts)
        return Outgoing(self._topics.status(self.worker), payload, retain=True, expires_in=expires_in)
