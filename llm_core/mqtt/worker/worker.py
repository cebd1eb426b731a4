"""The worker: takes its share of the requests that a broker has, and answers them.

What it receives goes one way, in order: read, written into the ledger, acknowledged, answered. Everything but the
ledger and the model runs in one event loop.
"""

from __future__ import annotations

import asyncio
import logging
import os
import re
import secrets
import socket
from collections.abc import Callable, Iterable
from contextlib import suppress
from typing import Any

from llm_core.client import LLMClient
from llm_core.errors import LLMError, SettingsError, StorageError
from llm_core.mqtt import payloads
from llm_core.mqtt.connection import Connection
from llm_core.mqtt.packets import Incoming, Outgoing, TLSFiles
from llm_core.mqtt.topics import Address, RequestKey, Topics
from llm_core.mqtt.worker.decoder import Arrival, Decoder, Refusal
from llm_core.mqtt.worker.dispatcher import Dispatcher
from llm_core.mqtt.worker.failover import Failover
from llm_core.mqtt.worker.ledger import Ledger
from llm_core.mqtt.worker.legacy import LegacyDecoder, is_legacy, read_template
from llm_core.mqtt.worker.outbox import Pace
from llm_core.mqtt.worker.projects import Projects
from llm_core.mqtt.worker.templates import Templates
from llm_core.sessions.database import open_database

log = logging.getLogger(__name__)

STATUS_SECONDS = 24 * 3600  # how long the broker remembers that a worker has gone
_BATCH = 64  # messages that are written into the ledger at once
_GOODBYE_SECONDS = 5.0


class Worker:
    """One worker.

    Args:
        client: Makes the replies. Its settings say where the broker is.

    Raises:
        SettingsError: There is no broker in the settings, or its files or the projects' cannot be used.
        StorageError: The database of the sessions cannot be used.
    """

    def __init__(self, client: LLMClient) -> None:
        settings = client.settings
        if settings.mqtt_url is None:
            raise SettingsError("MQTT_URL is not set: it says where the broker is, such as mqtt://127.0.0.1:1883.")
        self.name = _worker_name()
        self._client, self._broker, self._max_bytes = client, settings.mqtt_url, settings.mqtt_max_bytes
        self._tls = TLSFiles(settings.mqtt_ca_file, settings.mqtt_cert_file, settings.mqtt_key_file)
        self._topics = Topics(settings.mqtt_prefix)
        counters = settings.redis_url.get_secret_value() if settings.redis_url else None
        self._projects = Projects.load(settings.mqtt_projects, settings.rate_limit, counters)
        self._decoder = Decoder(self._topics, self._projects, self._max_bytes)
        self._legacy = LegacyDecoder(self._projects, self._max_bytes)
        self._templates = Templates()
        self._inbox: asyncio.Queue[Incoming | asyncio.Event] = asyncio.Queue()
        self._serves = False
        self._requests = [self._topics.shared_requests, *self._legacy.filters]
        self._connection = Connection(
            self._broker,
            client_id_of(self.name),
            on_message=self._inbox.put_nowait,
            tls=self._tls,
            will=self._status("offline"),
            keep_session=True,
            on_connected=self._on_connected,
        )
        self._ledger = Ledger(open_database(settings.sessions_url()), self.name)
        self._dispatcher = Dispatcher(
            client,
            self._ledger,
            self._templates,
            publish=self._connection.publish,
            largest_packet=lambda: self._connection.largest_packet,
            worker=self.name,
            pace=Pace(settings.mqtt_delta_ms / 1e3, settings.mqtt_delta_bytes),
        )
        self._failover = Failover(
            self._dispatcher,
            self._ledger,
            self._decoder,
            self._legacy,
            self._topics,
            publish=self._connection.publish,
            connect=self._connect_as,
            requests=self._requests,
            receive=self._inbox.put_nowait,
            until_received=self._until_received,
        )

    # ── from the beginning to the end ────────────────────────────────────────────────────────────────────────────────

    async def run(self, stop: asyncio.Event, on_ready: Callable[[], None] | None = None) -> None:
        """Serves until `stop` is set; then takes no more requests, and running replies may end.

        Raises:
            ModelError, SettingsError: The model cannot be loaded.
            StorageError: The database of the sessions cannot be used.
        """
        try:
            await asyncio.to_thread(self._ledger.join)
            try:
                async with self._connection:
                    await self._serve(stop, on_ready)
            finally:
                await asyncio.to_thread(self._ledger.leave, self._dispatcher.take_delivered())
        finally:
            self._ledger.close()

    async def _serve(self, stop: asyncio.Event, on_ready: Callable[[], None] | None) -> None:
        stopping = asyncio.create_task(stop.wait(), name="mqtt-stop")
        opening = asyncio.create_task(self._open(), name="mqtt-open")
        tasks: list[asyncio.Task[Any]] = [stopping, opening]
        try:
            await asyncio.wait({stopping, opening}, return_when=asyncio.FIRST_COMPLETED)
            if not opening.done():
                return
            opening.result()
            tasks.append(asyncio.create_task(self._serve_inbox(), name="mqtt-inbox"))
            tasks.append(asyncio.create_task(self._failover.keep_up(), name="mqtt-failover"))
            if on_ready is not None:
                on_ready()
            tasks.append(asyncio.create_task(self._dispatcher.leaving.wait(), name="mqtt-leaving"))
            await asyncio.wait({stopping, *tasks[2:]}, return_when=asyncio.FIRST_COMPLETED)
            await self._close()
        finally:
            await self._dispatcher.close(0)
            for task in tasks:
                task.cancel()
            await asyncio.wait(tasks)

    async def _open(self) -> None:
        """Begins to take requests, once there is a model to answer them."""
        await self._client.await_ready()
        await self._connection.wait_connected()
        own = (self._topics.cancels, self._topics.templates, self._topics.statuses, self._topics.of_worker(self.name))
        for topic_filter in (*own, *self._legacy.templates, *self._requests):
            await self._connection.subscribe(topic_filter)
        self._serves = True
        self._connection.publish(self._status("online"))

    async def _close(self) -> None:
        """Takes no more requests, answers those that it has, and says goodbye."""
        self._serves = False
        self._dispatcher.leaving.set()
        with suppress(TimeoutError):
            async with asyncio.timeout(_GOODBYE_SECONDS):
                for topic_filter in self._requests:
                    await self._connection.unsubscribe(topic_filter)
                await self._until_received().wait()
        await self._dispatcher.close(self._client.settings.drain_seconds)
        self._connection.publish(self._status("offline"))
        with suppress(TimeoutError):
            await asyncio.wait_for(self._connection.wait_sent(), _GOODBYE_SECONDS)

    def _on_connected(self, known: bool) -> None:
        if not self._serves:
            return
        if not known:
            log.warning("The broker has lost this worker's session. Clients that hear nothing have to ask again.")
        self._connection.publish(self._status("online"))

    def _status(self, state: str) -> Outgoing:
        said: dict[str, Any] = {"status": state, "worker": self.name}
        if state == "online":
            stats = self._client.stats()
            said |= {"model": self._client.wait_ready(0).name, "slots": stats.slots if stats else 0}
        expires_in = STATUS_SECONDS if state == "offline" else None
        return Outgoing(self._topics.status(self.name), payloads.encode(said), retain=True, expires_in=expires_in)

    def _connect_as(
        self, worker: str, on_message: Callable[[Incoming], None], on_connected: Callable[[bool], None]
    ) -> Connection:
        return Connection(
            self._broker,
            client_id_of(worker),
            on_message=on_message,
            tls=self._tls,
            keep_session=True,
            on_connected=on_connected,
        )

    # ── receiving ────────────────────────────────────────────────────────────────────────────────────────────────────

    async def _serve_inbox(self) -> None:
        """The one task that records and acknowledges, so that both happen in order."""
        while True:
            batch = [await self._inbox.get()]
            while len(batch) < _BATCH and not self._inbox.empty():
                batch.append(self._inbox.get_nowait())
            try:
                await self._take([each for each in batch if isinstance(each, Incoming)])
            except Exception:  # one message must not end the worker
                log.exception("a batch of MQTT messages failed")
            for each in batch:
                if isinstance(each, Incoming):
                    each.acknowledge()
                else:
                    each.set()

    def _until_received(self) -> asyncio.Event:
        """Set once everything that has come by now is written down and acknowledged."""
        marker = asyncio.Event()
        self._inbox.put_nowait(marker)
        return marker

    async def _take(self, messages: Iterable[Incoming]) -> None:
        """Reads messages and writes the requests among them down. They are started when all are."""
        arrivals: list[Arrival] = []
        for message in messages:
            found = self._read(message)
            if isinstance(found, Arrival):
                arrivals.append(found)
            elif found is not None:
                self._dispatcher.refuse(found)
        if not arrivals:
            return
        try:
            standings = await asyncio.to_thread(self._ledger.record, [arrival.entry for arrival in arrivals])
        except StorageError as error:
            for arrival in arrivals:
                self._dispatcher.refuse(Refusal(arrival.to, error, is_legacy(arrival.key)))
            return
        for arrival, standing in zip(arrivals, standings, strict=True):
            if standing.known is None and (refusal := await self._count(arrival)) is not None:
                self._dispatcher.do(self._dispatcher.drop(arrival.key, refusal))
            elif (worker := self._dispatcher.take(arrival, standing)) is not None:
                self._failover.look_after(arrival, worker)

    async def _count(self, arrival: Arrival) -> Refusal | None:
        """Why a new request is one too many; who asks again for the same reply has asked once."""
        try:
            await asyncio.to_thread(self._projects.count, arrival.key.project, arrival.owner)
        except LLMError as error:
            return Refusal(arrival.to, error, is_legacy(arrival.key))
        return None

    def _read(self, message: Incoming) -> Arrival | Refusal | None:
        if self._legacy.knows(message.topic):
            return self._legacy.read(message)
        address = self._topics.parse(message.topic)
        if message.topic in self._legacy.templates:
            address = Address("template", self._legacy.templates[message.topic])
        match address.kind:
            case "request":
                return self._decoder.read(message, address)
            case "cancel":
                self._dispatcher.cancel(RequestKey(address.project, address.name, address.request_id))
            case "template":
                self._take_template(message, address)
            case "status":
                if b'"offline"' in message.payload:
                    self._failover.look_round()
            case "worker":
                self._failover.hear(message, address.verb)
            case _:
                log.warning("A message to %r means nothing here: a name in it is not allowed.", message.topic[:300])
        return None

    def _take_template(self, message: Incoming, address: Address) -> None:
        if not message.payload:  # how a retained message is taken back
            return
        try:
            project = self._projects.get(address.project)
            if "template" in project.prompt_from:
                limit = project.limits.payload_bytes or self._max_bytes
                said = payloads.read_json(message.payload, limit=limit)
                self._templates.put(address.project, said if project.compatibility is None else read_template(said))
        except LLMError as error:
            log.warning("A template of project %s was not taken: %s", address.project, error.message)


def _worker_name() -> str:
    """A name that no other worker has or had."""
    host = re.sub(r"[^A-Za-z0-9-]", "-", socket.gethostname())[:40]
    return f"{host}-{os.getpid()}-{secrets.token_hex(3)}"


def client_id_of(worker: str) -> str:
    """A worker's client id at the broker. Others know it too, to take up what it leaves behind."""
    return f"llm-worker-{worker}"
