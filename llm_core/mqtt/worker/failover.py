"""The other workers: what they are told, and what is taken up when one has gone."""

from __future__ import annotations

import asyncio
import base64
import json
import logging
from collections.abc import Callable
from contextlib import suppress

from llm_core.errors import ReplyInterrupted, StorageError
from llm_core.mqtt import payloads
from llm_core.mqtt.connection import Connection
from llm_core.mqtt.packets import Incoming, Outgoing
from llm_core.mqtt.topics import RequestKey, Topics
from llm_core.mqtt.worker.decoder import Arrival, Decoder, Refusal
from llm_core.mqtt.worker.dispatcher import Dispatcher
from llm_core.mqtt.worker.job import INTERRUPTED
from llm_core.mqtt.worker.ledger import NOBODY, Inherited, Ledger
from llm_core.mqtt.worker.legacy import LegacyDecoder, is_legacy
from llm_core.mqtt.worker.outbox import ReplyTo

log = logging.getLogger(__name__)

BEAT_SECONDS = 2.0
MOST_ATTEMPTS = 3  # workers that a request may have had: one that ends them all must not go round for ever
_AGAIN_SECONDS = 60  # for how long a worker that is away is to hear that somebody asked again


class Failover:
    """The other workers on the same broker and database.

    Args:
        publish: Sends a message; it never waits.
        connect: Makes a connection in the name of a worker that has gone: its name, what takes its messages, and what
            is told when the broker has answered whether it knows that worker's session.
        requests: The filters of which each worker gets its share.
        receive: Takes a message that was meant for another worker.
        until_received: Waits until all of those are written down.
    """

    def __init__(
        self,
        dispatcher: Dispatcher,
        ledger: Ledger,
        decoder: Decoder,
        legacy: LegacyDecoder,
        topics: Topics,
        *,
        publish: Callable[[Outgoing], None],
        connect: Callable[[str, Callable[[Incoming], None], Callable[[bool], None]], Connection],
        requests: list[str],
        receive: Callable[[Incoming], None],
        until_received: Callable[[], asyncio.Event],
    ) -> None:
        self._dispatcher, self._ledger, self._topics = dispatcher, ledger, topics
        self._decoder, self._legacy = decoder, legacy
        self._publish, self._connect, self._requests = publish, connect, requests
        self._receive, self._until_received = receive, until_received
        self._look = asyncio.Event()

    # ── who lives ────────────────────────────────────────────────────────────────────────────────────────────────────

    def look_after(self, arrival: Arrival, worker: str) -> None:
        """Somebody asked again for what another worker has."""
        if worker == NOBODY:
            self.look_round()
        else:
            told = Outgoing(self._topics.worker(worker, "again"), _again(arrival), expires_in=_AGAIN_SECONDS)
            self._publish(told)

    def hear(self, message: Incoming, verb: str) -> None:
        """Takes what another worker says to this one."""
        if verb != "again":
            return
        try:
            key, to, after = _parse_again(message.payload)
        except (ValueError, KeyError, TypeError) as error:
            log.warning("A message of another worker cannot be read: %r", error)
        else:
            self._dispatcher.tell_again(key, to, after)

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
            self._dispatcher.do(self._settle(worker))

    # ── what is left behind ──────────────────────────────────────────────────────────────────────────────────────────

    def _take_up(self, inherited: Inherited) -> None:
        """A request that no piece of a reply has been seen of is answered; else its reply would come twice."""
        entry = inherited.entry
        to = ReplyTo(entry.reply_topic, entry.correlation)
        if self._dispatcher.has(entry.key):  # whoever asked once more was quicker
            return
        if inherited.answer is not None:
            self._dispatcher.publish_answer(to, inherited.answer, entry.key)
        elif inherited.status == "begun" or inherited.attempts > MOST_ATTEMPTS:
            self._dispatcher.do(
                self._dispatcher.drop(entry.key, Refusal(to, ReplyInterrupted(INTERRUPTED), is_legacy(entry.key)))
            )
        else:
            decoder = self._legacy if is_legacy(entry.key) else self._decoder
            found = decoder.read_entry(entry)
            if isinstance(found, Arrival):
                self._dispatcher.answer(found)
            else:
                self._dispatcher.do(self._dispatcher.drop(entry.key, found))

    async def _settle(self, worker: str) -> None:
        """Empties what the broker keeps for a worker that has gone: requests that were dealt to it and never read.

        The broker hands them to whoever comes with that worker's client id. When the subscription has ended, and a
        message that was sent after its end has come, there is nothing left.
        """
        last = self._topics.worker(worker, "end")
        emptied = asyncio.Event()

        def take(message: Incoming) -> None:
            if message.topic == last:
                emptied.set()
            self._receive(message)

        def connected(known: bool) -> None:
            if not known:
                emptied.set()

        async with self._connect(worker, take, connected) as estate:
            await estate.wait_connected()
            for topic_filter in self._requests:
                await estate.unsubscribe(topic_filter)
            self._publish(Outgoing(last, b""))
            await emptied.wait()
            await self._until_received().wait()
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
