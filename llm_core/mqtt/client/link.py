"""The client's end of a connection, on a thread of its own: asks, asks again where nothing is heard, and listens."""

from __future__ import annotations

import asyncio
import json
import logging
import threading
import time
from collections.abc import Callable

from llm_core.broker import BrokerUrl
from llm_core.errors import BrokerError
from llm_core.mqtt import payloads
from llm_core.mqtt.client.pending import ASK_AGAIN_SECONDS, Pending
from llm_core.mqtt.connection import Connection
from llm_core.mqtt.packets import Incoming, Outgoing, TLSFiles
from llm_core.mqtt.topics import RequestKey, Topics

log = logging.getLogger(__name__)

NOBODY_SECONDS = 1.0  # before it is asked again where nobody listens
PATIENCE_SECONDS = 60.0  # without a word, although it was asked again
NO_SUBSCRIBERS = 16  # MQTT 5's reason code
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
        self._call(lambda: self._ask(pending))

    def cancel(self, pending: Pending) -> None:
        """Stops a reply; its end is still waited for."""
        self._call(lambda: self._cancel(pending))

    def forget(self, pending: Pending) -> None:
        """Nobody waits for this reply any more; one that still runs is stopped."""
        self._call(lambda: self._forget(pending))

    def close(self) -> None:
        """Ends the connection. What is waited for fails."""
        self._call(self._stop.set)
        self._thread.join()

    def _call(self, work: Callable[[], None]) -> None:
        if self._loop.is_closed():
            raise BrokerError("This client has been closed.")
        self._loop.call_soon_threadsafe(work)

    # ── on the thread ────────────────────────────────────────────────────────────────────────────────────────────────

    def _run(self) -> None:
        with asyncio.Runner(loop_factory=lambda: self._loop) as runner:
            runner.run(self._serve())

    async def _serve(self) -> None:
        async with self._connection:
            while not self._stop.is_set():
                self._check()
                try:
                    await asyncio.wait_for(self._stop.wait(), _CHECK_SECONDS)
                except TimeoutError:
                    continue
        for pending in self._pending.values():
            pending.fail(BrokerError("This client has been closed."))

    def _ask(self, pending: Pending) -> None:
        self._pending[pending.body["request_id"]] = pending
        self._publish(pending)

    def _publish(self, pending: Pending) -> None:
        pending.ask_again_at = time.monotonic() + ASK_AGAIN_SECONDS

        def on_acknowledged(reason: int) -> None:
            if reason == NO_SUBSCRIBERS:  # no worker is there now; one may come
                pending.ask_again_at = time.monotonic() + NOBODY_SECONDS

        topic = self._topics.request(self._project, self._client)
        self._connection.publish(Outgoing(topic, payloads.encode(pending.again), on_acknowledged=on_acknowledged))

    def _cancel(self, pending: Pending) -> None:
        if not pending.ended:
            key = RequestKey(self._project, self._client, pending.body["request_id"])
            self._connection.publish(Outgoing(self._topics.cancel(key), b""))

    def _forget(self, pending: Pending) -> None:
        if self._pending.pop(pending.body["request_id"], None) is not None:
            self._cancel(pending)

    def _on_connected(self, _known: bool) -> None:
        """A broker that was away may have lost requests and replies; who has a request already tells what is left."""
        for pending in self._pending.values():
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
