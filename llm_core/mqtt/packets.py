"""What goes over a connection to a broker, and the files that its encryption needs."""

from __future__ import annotations

import ssl
from collections.abc import Callable
from dataclasses import dataclass, field
from pathlib import Path
from types import MappingProxyType
from typing import Any

from paho.mqtt.packettypes import PacketTypes
from paho.mqtt.properties import Properties
from paho.mqtt.reasoncodes import ReasonCode

from llm_core.errors import SettingsError

HEADER_BYTES = 64  # of a packet, beside topics, correlation and payload, at most
NO_SUBSCRIBERS, NOT_AUTHORIZED, TOO_LARGE = 16, 135, 149  # MQTT 5's reason codes

# Mosquitto acknowledges so what is over its message_size_limit. In MQTT 5 an acknowledgement has no such reason, and
# paho would end the connection over it; the message would be sent again on the next one, and end that too.
_TOO_LARGE_OF = {"Packet too large": [PacketTypes.CONNACK, PacketTypes.PUBACK, PacketTypes.DISCONNECT]}
ReasonCode.names = MappingProxyType({**ReasonCode.names, TOO_LARGE: _TOO_LARGE_OF})


@dataclass(frozen=True, slots=True)
class Incoming:
    """A message that was received.

    Attributes:
        duplicate: Whether the broker says that it has sent it before.
        expires_in: Seconds that are left of its life; None: any number.
        acknowledge: Tells the broker that it need not be sent again. To be called in the order of arrival.
    """

    topic: str
    payload: bytes
    duplicate: bool
    response_topic: str | None
    correlation: bytes | None
    expires_in: int | None
    acknowledge: Callable[[], None] = field(repr=False)


@dataclass(frozen=True, slots=True)
class Outgoing:
    """A message to publish.

    Attributes:
        response_topic: Where what comes of it is to go.
        expires_in: Seconds after which nobody needs it any more.
        on_acknowledged: Called when the broker has it, or has refused it.
    """

    topic: str
    payload: bytes
    retain: bool = False
    correlation: bytes | None = None
    response_topic: str | None = None
    expires_in: int | None = None
    on_acknowledged: Callable[[int], None] | None = field(default=None, repr=False)
    """Given the broker's reason code: 0, `NO_SUBSCRIBERS`, or from 128 on why it has not taken the message."""

    @property
    def most_bytes(self) -> int:
        """Of the packet, at most."""
        topics = self.topic + (self.response_topic or "")
        return HEADER_BYTES + len(topics.encode()) + len(self.correlation or b"") + len(self.payload)

    def properties(self) -> Any:
        if self.correlation is None and self.response_topic is None and self.expires_in is None:
            return None
        properties = mqtt_properties(PacketTypes.PUBLISH)
        if self.response_topic is not None:
            properties.ResponseTopic = self.response_topic
        if self.correlation is not None:
            properties.CorrelationData = self.correlation
        if self.expires_in is not None:
            properties.MessageExpiryInterval = self.expires_in
        return properties


@dataclass(frozen=True, slots=True)
class ReplyTo:
    """Where the messages of a reply go, and what the client wants back with each."""

    topic: str
    correlation: bytes | None = None

    def message(self, payload: bytes, on_acknowledged: Callable[[int], None] | None = None) -> Outgoing:
        return Outgoing(self.topic, payload, correlation=self.correlation, on_acknowledged=on_acknowledged)


@dataclass(frozen=True, slots=True)
class TLSFiles:
    """PEM files: who signed the broker's certificate, and a certificate and key of our own."""

    ca: Path | None = None
    cert: Path | None = None
    key: Path | None = None

    def context(self) -> ssl.SSLContext:
        """
        Raises:
            SettingsError: A file cannot be used.
        """
        try:
            context = ssl.create_default_context(cafile=str(self.ca) if self.ca else None)
            if self.cert is not None:
                context.load_cert_chain(str(self.cert), str(self.key) if self.key else None)
        except (OSError, ssl.SSLError) as error:
            raise SettingsError(
                f"The files for TLS cannot be used (MQTT_CA_FILE, MQTT_CERT_FILE, MQTT_KEY_FILE): {error}."
            ) from None
        return context


def mqtt_properties(packet: int) -> Any:
    """Of an MQTT 5 packet. paho checks names and values when they are set, and has no types for them."""
    return Properties(packet)  # type: ignore[no-untyped-call]
