"""The client's end of a connection, on a thread of its own: asks, asks again where nothing is heard, and listens."""

from __future__ import annotations

import asyncio
import json
import logging
import threading
import time
from collections.abc import Callable
from contextlib import suppress

from llm_core.broker import BrokerUrl
from llm_core.errors import BrokerError, TooLarge
from llm_core.mqtt import payloads
from llm_core.mqtt.client.pending import ASK_AGAIN_SECONDS, Pending
from llm_core.mqtt.connection import Connection
from llm_core.mqtt.packets import NO_SUBSCRIBERS, NOT_AUTHORIZED, TOO_LARGE, Incoming, Outgoing, TLSFiles
from llm_core.mqtt.topics import RequestKey, Topics

log = logging.getLogger(__name__)

NOBODY_SECONDS = 1.0  # before it is asked again where nobody listens
PATIENCE_SECONDS = 60.0  # without a word, although it was asked again
CLOSED = "This client has been closed."
_CHECK_SECONDS = 0.5


class Link:
    """A connection for requests of one client in one project. Safe from any thread.

    Args:
        patience: Seconds without a word after which a reply is given up.

    Raises:
        SettingsError: A file for TLS cannot be used.
    """

    def __init__(
        self,
        broker: BrokerUrl,
        topics: Topics,
        project: str,
        client: str,
        *,
        client_id: str,
        tls: TLSFiles,
        patience: float,
    ) -> None:
        self._topics, self._project, self._client = topics, project, client
        self._broker, self._patience = broker, patience
        self._pending: dict[str, Pending] = {}
        self._loop = asyncio.new_event_loop()
        self._stop = asyncio.Event()
        self._connection = Connection(
            broker,
            client_id,
            on_message=self._on_message,
            subscriptions=[f"{topics.reply_base(project, client)}+"],
            tls=tls,
            keep_session=True,
            on_connected=self._on_connected,
        )
        self._thread = threading.Thread(target=self._run, name="mqtt-client", daemon=True)
        self._thread.start()

    def ask(self, pending: Pending) -> None:
        """Sends a request; its sink hears of the reply."""
        self._pending[pending.body["request_id"]] = pending  # before: the thread may end now, and tells those it finds
        self._call(lambda: self._publish(pending))

    def cancel(self, pending: Pending) -> None:
        """Stops a reply; its end is still waited for."""
        self._call(lambda: self._cancel(pending))

    def forget(self, pending: Pending) -> None:
        """Nobody waits for this reply any more; one that still runs is stopped."""
        with suppress(BrokerError):  # closed, which has stopped it
            self._call(lambda: self._forget(pending))

    def close(self) -> None:
        """Ends the connection. What is waited for fails. Calling it again does nothing."""
        with suppress(BrokerError):
            self._call(self._stop.set)
        self._thread.join()

    def _call(self, work: Callable[[], None]) -> None:
        try:
            self._loop.call_soon_threadsafe(work)
        except RuntimeError:
            raise BrokerError(CLOSED) from None

    # ── on the thread ────────────────────────────────────────────────────────────────────────────────────────────────

    def _run(self) -> None:
        try:
            with asyncio.Runner(loop_factory=lambda: self._loop) as runner:
                runner.run(self._serve())
        finally:
            for pending in [*self._pending.values()]:
                if not pending.ended:
                    pending.fail(BrokerError(CLOSED))

    async def _serve(self) -> None:
        async with self._connection:
            while not self._stop.is_set():
                self._check()
                try:
                    await asyncio.wait_for(self._stop.wait(), _CHECK_SECONDS)
                except TimeoutError:
                    continue

    def _publish(self, pending: Pending) -> None:
        pending.ask_again_at = time.monotonic() + ASK_AGAIN_SECONDS

        topic, payload = self._topics.request(self._project, self._client), payloads.encode(pending.again)

        def on_acknowledged(reason: int) -> None:
            if reason == TOO_LARGE and not pending.ended:
                pending.fail(TooLarge(f"The request has {len(payload):,} bytes, more than {self._broker} takes."))
            if reason == NOT_AUTHORIZED and not pending.ended:
                pending.fail(BrokerError(f"The broker {self._broker} does not let this client publish on {topic}."))
            if reason == NO_SUBSCRIBERS:  # no worker is there now; one may come
                pending.ask_again_at = time.monotonic() + NOBODY_SECONDS

        # A worker that cannot read the request, and its id, refuses it there all the same.
        reply = self._topics.reply(self._key(pending))
        self._connection.publish(Outgoing(topic, payload, response_topic=reply, on_acknowledged=on_acknowledged))

    def _cancel(self, pending: Pending) -> None:
        if not pending.ended:
            self._connection.publish(Outgoing(self._topics.cancel(self._key(pending)), b""))

    def _key(self, pending: Pending) -> RequestKey:
        return RequestKey(self._project, self._client, pending.body["request_id"])

    def _forget(self, pending: Pending) -> None:
        if self._pending.pop(pending.body["request_id"], None) is not None:
            self._cancel(pending)

    def _on_connected(self, _known: bool) -> None:
        """A broker that was away may have lost requests and replies; who has a request already tells what is left."""
        for pending in [*self._pending.values()]:
            self._publish(pending)

    def _on_message(self, message: Incoming) -> None:
        message.acknowledge()
        pending = self._pending.get(message.topic.rpartition("/")[2])
        if pending is None or pending.ended:
            return
        try:
            complete = pending.receive(json.loads(message.payload))
        except (ValueError, KeyError, TypeError, AttributeError):
            log.warning("A message on %s cannot be read.", message.topic)
            return
        if not complete:
            self._publish(pending)

    def _check(self) -> None:
        now = time.monotonic()
        for pending in [*self._pending.values()]:
            if pending.ended:
                continue
            if now - pending.heard_at > self._patience:
                pending.fail(BrokerError(f"Nobody has answered on {self._broker} for {self._patience:.0f} s."))
            elif now > pending.ask_again_at and self._connection.connected:
                self._publish(pending)
