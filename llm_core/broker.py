"""Where an MQTT broker is and who calls it: the value of `MQTT_URL`."""

from __future__ import annotations

from dataclasses import dataclass, field
from urllib.parse import unquote, urlsplit

PORTS = {"mqtt": 1883, "mqtts": 8883}


@dataclass(frozen=True, slots=True)
class BrokerUrl:
    """A broker, and the name and password that it is told.

    Attributes:
        encrypted: Whether TLS is spoken.
        username: None where the broker asks for none, or for a certificate.
        password: In no log and no error message.
    """

    host: str
    port: int
    encrypted: bool = False
    username: str | None = None
    password: str | None = field(default=None, repr=False)

    def __str__(self) -> str:
        """Without the password."""
        host = f"[{self.host}]" if ":" in self.host else self.host
        return f"{'mqtts' if self.encrypted else 'mqtt'}://{host}:{self.port}"


def parse_broker_url(value: object) -> object:
    """The broker of `mqtt://user:password@host:port` or `mqtts://...`; special characters as `%40` and the like.

    Raises:
        ValueError: It is not such a URL. The message does not show it.
    """
    if not isinstance(value, str):
        return value
    parts = urlsplit(value.strip())
    if parts.scheme not in PORTS:
        raise ValueError("a broker's URL begins with mqtt:// or mqtts://")
    if not parts.hostname or parts.path.strip("/") or parts.query or parts.fragment:
        raise ValueError("write mqtt://host:port or mqtts://user:password@host:port, with nothing behind")
    try:
        port = parts.port or PORTS[parts.scheme]
    except ValueError:
        raise ValueError("the port must be a number from 1 to 65535") from None
    username = unquote(parts.username) if parts.username else None
    password = unquote(parts.password) if parts.password else None
    return BrokerUrl(parts.hostname, port, parts.scheme == "mqtts", username, password)
