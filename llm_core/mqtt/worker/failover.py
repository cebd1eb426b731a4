"""The other workers on the same broker and database: who lives, and what is taken over when one has gone."""

from __future__ import annotations

import asyncio
import base64
import json
import logging
from contextlib import suppress

from llm_core.errors import ReplyInterrupted, StorageError
from llm_core.mqtt import payloads
from llm_core.mqtt.packets import Incoming, Outgoing, ReplyTo
from llm_core.mqtt.topics import RequestKey, Topics
from llm_core.mqtt.worker.decoder import Arrival, Decoder, Refusal
from llm_core.mqtt.worker.dispatcher import Dispatcher
from llm_core.mqtt.worker.job import INTERRUPTED
from llm_core.mqtt.worker.ledger import NOBODY, Claimed, Ledger
from llm_core.mqtt.worker.port import Port

log = logging.getLogger(__name__)

HEARTBEAT_SECONDS = 2.0
MOST_ATTEMPTS = 3  # workers that a request may have had: one that ends them all must not go round for ever
_AGAIN_SECONDS = 60  # for how long a worker that is away is to hear that somebody asked again


class Failover:
    def __init__(self, dispatcher: Dispatcher, ledger: Ledger, decoder: Decoder, topics: Topics, port: Port) -> None:
        self._dispatcher, self._ledger, self._decoder = dispatcher, ledger, decoder
        self._topics, self._port = topics, port
        self._due = asyncio.Event()

    # ── who lives ────────────────────────────────────────────────────────────────────────────────────────────────────

    def forward(self, arrival: Arrival, worker: str) -> None:
        """Somebody asked again for what another worker has."""
        if worker == NOBODY:
            self.check()
        else:
            message = Outgoing(self._topics.worker(worker, "again"), _again(arrival), expires_in=_AGAIN_SECONDS)
            self._port.publish(message)

    def receive(self, message: Incoming, verb: str) -> None:
        """Takes what another worker says to this one."""
        if verb != "again":
            return
        try:
            key, to, after = _parse_again(message.payload)
        except (ValueError, KeyError, TypeError) as error:
            log.warning("A message of another worker cannot be read: %r", error)
        else:
            self._dispatcher.resend(key, to, after)

    def check(self) -> None:
        """Looks at once whether somebody has gone."""
        self._due.set()

    async def run(self) -> None:
        """Says again and again that this worker is alive, and takes over what those leave behind that are not."""
        while True:
            try:
                await asyncio.to_thread(self._ledger.heartbeat)
                if not self._dispatcher.draining.is_set():
                    await self._claim()
            except StorageError as error:
                log.error("The ledger cannot be kept up, which is tried again: %s", error)
            except Exception:  # a worker that says no more that it lives is taken for gone
                log.exception("the ledger could not be kept up, which is tried again")
            self._due.clear()
            with suppress(TimeoutError):
                await asyncio.wait_for(self._due.wait(), HEARTBEAT_SECONDS)

    # ── what is left behind ──────────────────────────────────────────────────────────────────────────────────────────

    async def _claim(self) -> None:
        claimed, gone = await asyncio.to_thread(self._ledger.claim)
        for each in claimed:
            log.warning("Took over the %s request %s of a worker that has gone.", each.status, each.entry.key)
            self._resume(each)
        for worker in gone:
            self._dispatcher.spawn(self._drain(worker))

    def _resume(self, claimed: Claimed) -> None:
        """A request that no piece of a reply has been seen of is answered; else its reply would come twice."""
        entry = claimed.entry
        if self._dispatcher.has(entry.key):  # whoever asked once more was quicker
            return
        if claimed.answer is not None:
            self._dispatcher.publish_answer(entry.to, claimed.answer, entry.key)
            return
        dialect = self._decoder.dialect_of(entry.key)
        decoded = dialect.decode_entry(entry)
        if claimed.status == "begun" or claimed.attempts > MOST_ATTEMPTS:
            decoded = Refusal(entry.to, ReplyInterrupted(INTERRUPTED), dialect)
        if isinstance(decoded, Arrival):
            self._dispatcher.start(decoded)
        else:
            self._dispatcher.drop(entry.key, decoded)

    async def _drain(self, worker: str) -> None:
        while not await self._port.drain(worker):
            log.info("The broker has not heard that %s has ended, which is tried again.", worker)
        with suppress(StorageError):  # then somebody looks once more, and finds nothing
            await asyncio.to_thread(self._ledger.remove, worker)


def _again(arrival: Arrival) -> bytes:
    key, correlation = arrival.key, arrival.entry.correlation
    fields = {
        "project": key.project,
        "client": key.client,
        "request_id": key.request_id,
        "topic": arrival.entry.reply_topic,
        "correlation": None if correlation is None else base64.b64encode(correlation).decode(),
        "after": arrival.ask.after,
    }
    return payloads.encode(fields)


def _parse_again(payload: bytes) -> tuple[RequestKey, ReplyTo, int]:
    fields = json.loads(payload)
    correlation = fields["correlation"]
    to = ReplyTo(str(fields["topic"]), None if correlation is None else base64.b64decode(correlation))
    return RequestKey(fields["project"], fields["client"], fields["request_id"]), to, int(fields["after"])
