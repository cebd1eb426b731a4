"""The other workers: what they are told, and what is taken up when one has gone."""

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
from llm_core.mqtt.worker.decoder import Arrival, Decoder
from llm_core.mqtt.worker.dispatcher import Dispatcher
from llm_core.mqtt.worker.job import INTERRUPTED
from llm_core.mqtt.worker.ledger import NOBODY, Inherited, Ledger
from llm_core.mqtt.worker.port import Port

log = logging.getLogger(__name__)

BEAT_SECONDS = 2.0
MOST_ATTEMPTS = 3  # workers that a request may have had: one that ends them all must not go round for ever
_AGAIN_SECONDS = 60  # for how long a worker that is away is to hear that somebody asked again


class Failover:
    """The other workers on the same broker and database."""

    def __init__(self, dispatcher: Dispatcher, ledger: Ledger, decoder: Decoder, topics: Topics, port: Port) -> None:
        self._dispatcher, self._ledger, self._decoder = dispatcher, ledger, decoder
        self._topics, self._port = topics, port
        self._look = asyncio.Event()

    # ── who lives ────────────────────────────────────────────────────────────────────────────────────────────────────

    def look_after(self, arrival: Arrival, worker: str) -> None:
        """Somebody asked again for what another worker has."""
        if worker == NOBODY:
            self.look_round()
        else:
            told = Outgoing(self._topics.worker(worker, "again"), _again(arrival), expires_in=_AGAIN_SECONDS)
            self._port.publish(told)

    def hear(self, message: Incoming, verb: str) -> None:
        """Takes what another worker says to this one."""
        if verb != "again":
            return
        try:
            key, to, after = _parse_again(message.payload)
        except (ValueError, KeyError, TypeError) as error:
            log.warning("A message of another worker cannot be read: %r", error)
        else:
            self._dispatcher.resend(key, to, after)

    def look_round(self) -> None:
        """Looks at once whether somebody has gone."""
        self._look.set()

    async def keep_up(self) -> None:
        """Says again and again that this worker is alive, and takes up what those leave behind that are not."""
        while True:
            delivered = self._dispatcher.take_delivered()
            try:
                await asyncio.to_thread(self._ledger.beat, delivered)
                delivered = []
                if not self._dispatcher.leaving.is_set():
                    await self._inherit()
            except StorageError as error:
                log.error("The ledger cannot be kept up, which is tried again: %s", error)
            except Exception:  # a worker that says no more that it lives is taken for gone
                log.exception("the ledger could not be kept up, which is tried again")
            self._dispatcher.give_back_delivered(delivered)
            self._look.clear()
            with suppress(TimeoutError):
                await asyncio.wait_for(self._look.wait(), BEAT_SECONDS)

    async def _inherit(self) -> None:
        inherited, gone = await asyncio.to_thread(self._ledger.inherit)
        for each in inherited:
            log.warning("Took up the %s request %s of a worker that has gone.", each.status, each.entry.key)
            self._take_up(each)
        for worker in gone:
            self._dispatcher.spawn(self._drain(worker))

    # ── what is left behind ──────────────────────────────────────────────────────────────────────────────────────────

    def _take_up(self, inherited: Inherited) -> None:
        """A request that no piece of a reply has been seen of is answered; else its reply would come twice."""
        entry = inherited.entry
        if self._dispatcher.has(entry.key):  # whoever asked once more was quicker
            return
        if inherited.answer is not None:
            self._dispatcher.publish_answer(entry.to, inherited.answer, entry.key)
            return
        found = self._decoder.decode_entry(entry)
        if inherited.status == "begun" or inherited.attempts > MOST_ATTEMPTS:
            found = self._decoder.refused(entry, ReplyInterrupted(INTERRUPTED))
        if isinstance(found, Arrival):
            self._dispatcher.answer(found)
        else:
            self._dispatcher.drop(entry.key, found)

    async def _drain(self, worker: str) -> None:
        await self._port.drain(worker)
        with suppress(StorageError):  # then somebody looks once more, and finds nothing
            await asyncio.to_thread(self._ledger.bury, worker)


def _again(arrival: Arrival) -> bytes:
    key, correlation = arrival.key, arrival.entry.correlation
    said = {
        "project": key.project,
        "client": key.client,
        "request_id": key.request_id,
        "topic": arrival.entry.reply_topic,
        "correlation": None if correlation is None else base64.b64encode(correlation).decode(),
        "after": arrival.ask.after,
    }
    return payloads.encode(said)


def _parse_again(payload: bytes) -> tuple[RequestKey, ReplyTo, int]:
    said = json.loads(payload)
    correlation = said["correlation"]
    to = ReplyTo(str(said["topic"]), None if correlation is None else base64.b64decode(correlation))
    return RequestKey(said["project"], said["client"], said["request_id"]), to, int(said["after"])
