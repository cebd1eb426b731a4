"""A connection to an MQTT broker for one event loop: kept up, in order, with nothing that was published lost.

paho-mqtt does the protocol; what is sent again after a reconnect, and in which order, is decided here. So each attempt
has a paho client of its own, with the same client id: what the broker has not acknowledged goes out first, then what
came meanwhile. Nothing is published between the connection and the broker's answer, where paho would put new messages
before old ones. All of it runs in the event loop's own thread, so there is nothing to lock, and a delta waits for no
other thread; only the attempt to connect, which can block, has one.
"""

from __future__ import annotations

import asyncio
import logging
import random
from collections import deque
from collections.abc import Callable, Sequence
from contextlib import suppress
from types import TracebackType
from typing import Any

import paho.mqtt.client as paho
from paho.mqtt.enums import CallbackAPIVersion, MQTTErrorCode, MQTTProtocolVersion
from paho.mqtt.packettypes import PacketTypes
from paho.mqtt.subscribeoptions import SubscribeOptions

from llm_core.broker import BrokerUrl
from llm_core.mqtt.packets import TOO_LARGE, Incoming, Outgoing, TLSFiles, mqtt_properties

log = logging.getLogger(__name__)

KEEPALIVE_SECONDS = 15
SESSION_SECONDS = 24 * 3600  # how long the broker keeps messages for a client that is away
FIRST_PAUSE, LONGEST_PAUSE = 0.2, 5.0  # seconds between two attempts to connect
CONNECT_SECONDS = 10.0
GOODBYE_SECONDS = 1.0
WINDOW = 100  # messages that may wait for the broker's acknowledgement; Mosquitto takes so many and more
LARGEST_PACKET = 268_435_455  # the protocol's own limit, in bytes
_MOST_READS = 100  # packets read before other tasks have a turn


class Connection:
    """One client id at one broker. To be used as `async with`, in one event loop.

    Args:
        on_message: Called with each message, in the event loop.
        subscriptions: Filters, subscribed whenever the broker has no session of ours.
        will: What the broker publishes when we are gone without a word.
        keep_session: Whether the broker keeps messages for us while we are away.
        on_connected: Called after each connection, before anything that waits is published. Its argument is whether
            the broker still knew our session.
    """

    def __init__(
        self,
        broker: BrokerUrl,
        client_id: str,
        *,
        on_message: Callable[[Incoming], None],
        subscriptions: Sequence[str] = (),
        tls: TLSFiles | None = None,
        will: Outgoing | None = None,
        keep_session: bool = False,
        on_connected: Callable[[bool], None] | None = None,
    ) -> None:
        self.client_id = client_id
        self._broker, self._will, self._keep_session = broker, will, keep_session
        self._on_message, self._on_connected = on_message, on_connected
        self._tls = (tls or TLSFiles()).context() if broker.encrypted else None
        self._subscriptions = list(subscriptions)
        self._waiting: deque[Outgoing] = deque()
        self._sent: dict[int, Outgoing] = {}  # by packet id, the oldest first
        self._answers: dict[int, asyncio.Future[bool]] = {}  # of SUBSCRIBE and UNSUBSCRIBE, by packet id
        self._paho: paho.Client | None = None  # while connected
        self._ended: asyncio.Future[str] | None = None  # with the reason, once the connection has
        self._window = WINDOW
        self._upkeep: asyncio.Task[None] | None = None
        self._leaves = False
        self._came_up = asyncio.Event()
        self._idle = asyncio.Event()
        self._idle.set()
        self.largest_packet = LARGEST_PACKET
        """Of the messages to the broker, in bytes, as it said when it was last there."""
        self.ends_session = True
        """Whether leaving ends the session too. Else the broker keeps what is in it for who comes by that name next."""
        self.has_left = False
        """Whether it has ended with the broker's knowledge. Else the broker still keeps what its session gets."""

    @property
    def connected(self) -> bool:
        return self._paho is not None

    async def __aenter__(self) -> Connection:
        self._upkeep = asyncio.create_task(self._keep_up(), name=f"mqtt-{self.client_id}")
        return self

    async def __aexit__(
        self, kind: type[BaseException] | None, error: BaseException | None, at: TracebackType | None
    ) -> None:
        if self._paho is not None and self.ends_session:
            await self._say_goodbye(self._paho)
        if self._upkeep is not None:
            self._upkeep.cancel()
            with suppress(asyncio.CancelledError):
                await self._upkeep

    async def wait_connected(self) -> None:
        await self._came_up.wait()

    async def wait_sent(self) -> None:
        """Waits until the broker has everything that was published."""
        await self._idle.wait()

    # ── sending ──────────────────────────────────────────────────────────────────────────────────────────────────────

    def publish(self, message: Outgoing) -> None:
        """Publishes in order, at least once, as soon as the broker is there. Never waits."""
        self._waiting.append(message)
        self._idle.clear()
        self._send()

    def _send(self) -> None:
        while self._paho is not None and self._waiting and len(self._sent) < self._window:
            message = self._waiting.popleft()
            if message.most_bytes > self.largest_packet:  # the broker would end each connection over it
                self._settle(message, TOO_LARGE)
                continue
            info = self._paho.publish(message.topic, message.payload, 1, message.retain, message.properties())
            self._sent[info.mid] = message

    async def subscribe(self, topic_filter: str) -> None:
        """Subscribes now and after each reconnect; returns when the broker has said so."""
        if topic_filter not in self._subscriptions:
            self._subscriptions.append(topic_filter)
        if self._paho is not None:
            _, mid = self._paho.subscribe(topic_filter, qos=1)
            await self._answer(mid)

    async def unsubscribe(self, topic_filter: str) -> bool:
        """Ends a subscription. Whether the broker has said so: it has not where the connection is away, or breaks."""
        if topic_filter in self._subscriptions:
            self._subscriptions.remove(topic_filter)
        if self._paho is None:
            return False
        _, mid = self._paho.unsubscribe(topic_filter)
        return await self._answer(mid)

    async def _answer(self, mid: int | None) -> bool:
        """Waits for what the broker says. Whether it has, before the connection broke."""
        if mid is None:  # it has broken just now, which the loop comes to know next
            await asyncio.sleep(0)
            return False
        self._answers[mid] = asyncio.get_running_loop().create_future()
        return await self._answers[mid]

    # ── the connection ───────────────────────────────────────────────────────────────────────────────────────────────

    async def _keep_up(self) -> None:
        pause = FIRST_PAUSE
        while True:
            began = asyncio.get_running_loop().time()
            try:
                await self._connect_once()
            except OSError as error:  # ssl.SSLError is one
                log.warning("The MQTT broker %s cannot be reached: %s", self._broker, error)
            if asyncio.get_running_loop().time() - began > LONGEST_PAUSE:
                pause = FIRST_PAUSE
            await asyncio.sleep(pause * random.uniform(0.5, 1.0))  # not all clients in the same moment
            pause = min(pause * 2, LONGEST_PAUSE)

    async def _connect_once(self) -> None:
        """One connection from its beginning to its end."""
        loop = asyncio.get_running_loop()
        ended: asyncio.Future[str] = loop.create_future()
        self._ended = ended
        client = self._new_client(loop, ended)
        connect_properties = mqtt_properties(PacketTypes.CONNECT)
        if self._keep_session:
            connect_properties.SessionExpiryInterval = SESSION_SECONDS
        connecting = asyncio.ensure_future(
            asyncio.to_thread(
                client.connect,
                self._broker.host,
                self._broker.port,
                KEEPALIVE_SECONDS,
                clean_start=not self._keep_session,
                properties=connect_properties,
            )
        )
        try:
            await asyncio.shield(connecting)
            while not ended.done():
                await asyncio.wait({ended}, timeout=1.0)
                client.loop_misc()
            level = logging.INFO if self._leaves else logging.WARNING
            log.log(level, "The connection to the MQTT broker %s has ended: %s", self._broker, ended.result())
        finally:
            if not connecting.done():
                with suppress(OSError):
                    await connecting
            self._drop(client)

    def _new_client(self, loop: asyncio.AbstractEventLoop, ended: asyncio.Future[str]) -> paho.Client:
        client = paho.Client(
            CallbackAPIVersion.VERSION2,
            self.client_id,
            protocol=MQTTProtocolVersion.MQTTv5,
            reconnect_on_failure=False,
            manual_ack=True,
        )
        client.max_inflight_messages_set(0)  # the window is ours
        client.connect_timeout = CONNECT_SECONDS
        if self._broker.username is not None:
            client.username_pw_set(self._broker.username, self._broker.password)
        if self._tls is not None:
            client.tls_set_context(self._tls)
        if self._will is not None:
            properties = mqtt_properties(PacketTypes.WILLMESSAGE)
            if self._will.expires_in is not None:
                properties.MessageExpiryInterval = self._will.expires_in
            client.will_set(self._will.topic, self._will.payload, 1, self._will.retain, properties)
        self._wire(client, loop)

        def connected(_client: paho.Client, _data: object, flags: Any, reason: Any, properties: Any) -> None:
            if reason.is_failure:
                _end(ended, f"it refuses this client ({reason})")
            else:
                self._is_up(client, known=flags.session_present, properties=properties)

        def disconnected(_client: paho.Client, _data: object, _flags: Any, reason: Any, _properties: Any) -> None:
            # A goodbye that could not be written still waits. It has no answer, but a broker that has acknowledged all
            # that went before it was there a moment ago.
            self.has_left = self._leaves and not client.want_write() and self._idle.is_set()
            _end(ended, str(reason))

        def received(_client: paho.Client, _data: object, message: paho.MQTTMessage) -> None:
            self._on_message(self._incoming(client, message))

        def published(_client: paho.Client, _data: object, mid: int, reason: Any, _properties: Any) -> None:
            self._acknowledged(mid, reason.value)

        def answered(_client: paho.Client, _data: object, mid: int, reasons: Any, _properties: Any) -> None:
            for reason in reasons if isinstance(reasons, list) else [reasons]:
                if reason.is_failure:
                    log.error("The MQTT broker refuses a subscription: %s", reason)
            if (answer := self._answers.pop(mid, None)) is not None and not answer.done():
                answer.set_result(True)

        client.on_connect, client.on_disconnect, client.on_message = connected, disconnected, received
        client.on_publish, client.on_subscribe, client.on_unsubscribe = published, answered, answered
        return client

    def _wire(self, client: paho.Client, loop: asyncio.AbstractEventLoop) -> None:
        """Has the event loop read and write paho's socket. paho opens it in the thread that connects."""

        def read(sock: Any) -> None:
            for _ in range(_MOST_READS):
                if client.loop_read() != MQTTErrorCode.MQTT_ERR_SUCCESS:
                    return
                if not (hasattr(sock, "pending") and client.socket() is not None and sock.pending()):
                    return  # only TLS can hold bytes that the system knows nothing of

        def opened(_client: paho.Client, _data: object, sock: Any) -> None:
            loop.call_soon_threadsafe(loop.add_reader, sock.fileno(), read, sock)

        def closed(_client: paho.Client, _data: object, sock: Any) -> None:
            # Called in the loop's thread but for attempts that fail, whose socket has never been added.
            with suppress(ValueError, RuntimeError):
                loop.remove_reader(sock.fileno())
                loop.remove_writer(sock.fileno())

        def wants_to_write(_client: paho.Client, _data: object, sock: Any) -> None:
            loop.call_soon_threadsafe(_add_writer, loop, client, sock)

        def has_written(_client: paho.Client, _data: object, sock: Any) -> None:
            with suppress(ValueError):
                loop.remove_writer(sock.fileno())

        client.on_socket_open, client.on_socket_close = opened, closed
        client.on_socket_register_write, client.on_socket_unregister_write = wants_to_write, has_written

    def _is_up(self, client: paho.Client, *, known: bool, properties: Any) -> None:
        self._paho = client
        self._window = min(WINDOW, getattr(properties, "ReceiveMaximum", WINDOW))
        self.largest_packet = getattr(properties, "MaximumPacketSize", LARGEST_PACKET)
        if self._subscriptions:
            client.subscribe([(topic_filter, SubscribeOptions(qos=1)) for topic_filter in self._subscriptions])
        self._came_up.set()
        log.info("Connected to the MQTT broker %s as %s", self._broker, self.client_id)
        if self._on_connected is not None:
            self._on_connected(known)
        self._send()

    def _drop(self, client: paho.Client) -> None:
        """Ends a connection; what the broker has not acknowledged is first in the line of the next one."""
        if self._paho is client:
            self._paho = None
            self._came_up.clear()
        self._waiting.extendleft(reversed(self._sent.values()))
        self._sent.clear()
        for answer in self._answers.values():
            if not answer.done():
                answer.set_result(False)
        self._answers.clear()
        sock: Any = client.socket()
        if sock is not None:
            loop = asyncio.get_running_loop()
            with suppress(ValueError):
                loop.remove_reader(sock.fileno())
                loop.remove_writer(sock.fileno())
            with suppress(OSError):
                sock.close()

    def _acknowledged(self, mid: int, reason: int) -> None:
        message = self._sent.pop(mid, None)
        self._send()
        self._settle(message, reason)

    def _settle(self, message: Outgoing | None, reason: int) -> None:
        if not self._sent and not self._waiting:
            self._idle.set()
        if message is not None and message.on_acknowledged is not None:
            message.on_acknowledged(reason)

    def _incoming(self, client: paho.Client, message: paho.MQTTMessage) -> Incoming:
        properties = message.properties

        def acknowledge() -> None:
            # A message of an earlier connection will be sent again; its packet id means another one by now. Nothing is
            # said after the goodbye: what is still to be written then is the goodbye.
            if message.qos and self._paho is client and not self._leaves:
                client.ack(message.mid, message.qos)

        return Incoming(
            message.topic,
            bytes(message.payload),
            bool(message.dup),
            getattr(properties, "ResponseTopic", None),
            getattr(properties, "CorrelationData", None),
            getattr(properties, "MessageExpiryInterval", None),
            acknowledge,
        )

    async def _say_goodbye(self, client: paho.Client) -> None:
        """Ends the session too: whoever leaves like this does not come back."""
        self._leaves = True
        properties = mqtt_properties(PacketTypes.DISCONNECT)
        properties.SessionExpiryInterval = 0
        client.disconnect(properties=properties)
        if self._ended is not None:
            await asyncio.wait({self._ended}, timeout=GOODBYE_SECONDS)


def _end(ended: asyncio.Future[str], why: str) -> None:
    if not ended.done():
        ended.set_result(why)


def _add_writer(loop: asyncio.AbstractEventLoop, client: paho.Client, sock: Any) -> None:
    open_now: Any = client.socket()
    if open_now is sock and sock.fileno() >= 0:
        loop.add_writer(sock.fileno(), client.loop_write)
