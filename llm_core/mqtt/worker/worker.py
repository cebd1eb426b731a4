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
from contextlib import aclosing, suppress
from typing import Any

from llm_core.client import LLMClient
from llm_core.errors import LLMError, SettingsError, StorageError
from llm_core.models.info import ModelInfo
from llm_core.mqtt.packets import Incoming, TLSFiles
from llm_core.mqtt.topics import Address, RequestKey, Topics
from llm_core.mqtt.worker.decoder import Arrival, Decoder, Refusal
from llm_core.mqtt.worker.dispatcher import Dispatcher
from llm_core.mqtt.worker.failover import Failover
from llm_core.mqtt.worker.ledger import Ledger
from llm_core.mqtt.worker.legacy import LegacyDialect
from llm_core.mqtt.worker.native import NativeDialect
from llm_core.mqtt.worker.outbox import Pace
from llm_core.mqtt.worker.port import Port
from llm_core.mqtt.worker.projects import Projects, Templates
from llm_core.sessions.database import open_database

log = logging.getLogger(__name__)

_GOODBYE_SECONDS = 5.0
_PAUSE_SECONDS = 1.0  # before it is tried again to begin


class Worker:
    """One worker.

    Args:
        client: Makes the replies. Its settings say where the broker is.
        outlasts: Errors that may pass: a worker that cannot begin for one of them tries again until it can.

    Raises:
        SettingsError: There is no broker in the settings, or its files or the projects' cannot be used.
        StorageError: The database of the sessions cannot be used.
    """

    def __init__(self, client: LLMClient, *, outlasts: tuple[type[LLMError], ...] = ()) -> None:
        settings = client.settings
        if settings.mqtt_url is None:
            raise SettingsError("MQTT_URL is not set: it says where the broker is, such as mqtt://127.0.0.1:1883.")
        self.name = _worker_name()
        self._client, self._outlasts = client, outlasts
        self._has_joined = False
        topics = Topics(settings.mqtt_prefix)
        counters = settings.redis_url.get_secret_value() if settings.redis_url else None
        self._projects = Projects.load(settings.mqtt_projects, settings.rate_limit, counters)
        pace = Pace(settings.mqtt_delta_ms / 1e3, settings.mqtt_delta_bytes)
        self._decoder = Decoder(
            LegacyDialect(self._projects, settings.mqtt_max_bytes),
            NativeDialect(self._projects, settings.mqtt_max_bytes, topics, pace),
        )
        self._templates = Templates(self._projects, settings.mqtt_max_bytes)
        tls = TLSFiles(settings.mqtt_ca_file, settings.mqtt_cert_file, settings.mqtt_key_file)
        self._port = Port(settings.mqtt_url, tls, topics, self.name, requests=self._decoder.requests)
        self._ledger = Ledger(open_database(settings.sessions_url()), self.name)
        self._dispatcher = Dispatcher(client, self._ledger, self._templates, self._port)
        self._failover = Failover(self._dispatcher, self._ledger, self._decoder, topics, self._port)

    # ── from the beginning to the end ────────────────────────────────────────────────────────────────────────────────

    async def run(self, stop: asyncio.Event, on_ready: Callable[[], None] | None = None) -> None:
        """Serves until `stop` is set; then takes no more requests, and running replies may end.

        Raises:
            ModelError, SettingsError, EngineUnreachable: The model cannot be loaded, or is not there.
            StorageError: The database of the sessions cannot be used.
            What the worker outlasts is none of these.
        """
        try:
            try:
                async with self._port:
                    await self._serve(stop, on_ready)
            finally:
                if self._has_joined:
                    await asyncio.to_thread(self._ledger.leave, has_session=not self._port.has_left)
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
            tasks.append(asyncio.create_task(self._receive(), name="mqtt-receive"))
            tasks.append(asyncio.create_task(self._failover.run(), name="mqtt-failover"))
            if on_ready is not None:
                on_ready()
            tasks.append(asyncio.create_task(self._dispatcher.draining.wait(), name="mqtt-draining"))
            await asyncio.wait({stopping, *tasks[2:]}, return_when=asyncio.FIRST_COMPLETED)
            await self._close()
        finally:
            await self._dispatcher.close(0)
            for task in tasks:
                task.cancel()
            await asyncio.wait(tasks)

    async def _open(self) -> None:
        """Begins to take requests, once there is a model to answer them."""
        model = await self._prepare_at_last()
        stats = self._client.stats()
        await self._port.open(self._decoder.broadcasts, model=model.name, slots=stats.slots if stats else 0)

    async def _prepare_at_last(self) -> ModelInfo:
        """Prepares, again and again while that fails for what may pass."""
        is_said = False
        while True:
            try:
                return await self._prepare()
            except self._outlasts as error:
                if not is_said:
                    log.warning("The MQTT worker takes no requests until this is over: %s", error)
                is_said = True
            await asyncio.sleep(_PAUSE_SECONDS)

    async def _prepare(self) -> ModelInfo:
        """Waits for the model, and joins the other workers: not before, as who has joined has to say that it lives."""
        model = await self._client.await_ready()
        await asyncio.to_thread(self._ledger.join)
        self._has_joined = True
        return model

    async def _close(self) -> None:
        """Takes no more requests, answers those that it has, and says goodbye."""
        self._dispatcher.draining.set()
        with suppress(TimeoutError):
            await asyncio.wait_for(self._port.close_requests(), _GOODBYE_SECONDS)
        await self._dispatcher.close(self._client.settings.drain_seconds)
        with suppress(TimeoutError):
            await asyncio.wait_for(self._port.say_goodbye(), _GOODBYE_SECONDS)

    # ── receiving ────────────────────────────────────────────────────────────────────────────────────────────────────

    async def _receive(self) -> None:
        """The one task that records requests, so that it happens in order."""
        async with aclosing(self._port.batches()) as batches:
            async for batch in batches:
                try:
                    await self._record(batch)
                except Exception:  # one message must not end the worker
                    log.exception("a batch of MQTT messages failed")

    async def _record(self, messages: Iterable[Incoming]) -> None:
        """Decodes messages and writes the requests among them down. They are started when all are."""
        arrivals: list[Arrival] = []
        for message in messages:
            match self._decoder.decode(message):
                case Arrival() as arrival:
                    arrivals.append(arrival)
                case Refusal() as refusal:
                    self._dispatcher.refuse(refusal)
                case Address() as address:
                    self._handle(message, address)
                case None:
                    name = message.topic[:300]
                    log.warning("A message to %r means nothing here: a name in it is not allowed.", name)
        if not arrivals:
            return
        try:
            records = await asyncio.to_thread(self._ledger.record, [arrival.entry for arrival in arrivals])
        except StorageError as error:
            for arrival in arrivals:
                self._dispatcher.refuse(arrival.refused(error))
            return
        for arrival, record in zip(arrivals, records, strict=True):
            try:
                if record.status is None:  # who asks again for the same reply has asked once
                    await asyncio.to_thread(self._projects.count, arrival.key.project, arrival.owner)
            except LLMError as error:
                self._dispatcher.drop(arrival.key, arrival.refused(error))
                continue
            if (worker := self._dispatcher.dispatch(arrival, record)) is not None:
                self._failover.forward(arrival, worker)

    def _handle(self, message: Incoming, address: Address) -> None:
        """Takes what is no request."""
        match address.kind:
            case "cancel":
                self._dispatcher.cancel(RequestKey(address.project, address.name, address.request_id))
            case "template":
                try:
                    self._templates.receive(address.project, message.payload)
                except LLMError as error:
                    log.warning("A template of project %s was not taken: %s", address.project, error.message)
            case "status":
                if b'"offline"' in message.payload:
                    self._failover.check()
            case "worker":
                self._failover.receive(message, address.verb)


def _worker_name() -> str:
    """A name that no other worker has or had."""
    host = re.sub(r"[^A-Za-z0-9-]", "-", socket.gethostname())[:40]
    return f"{host}-{os.getpid()}-{secrets.token_hex(3)}"
