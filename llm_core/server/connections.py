"""How many connections the server holds, so that it never runs out of file descriptors under those who are in.

One more than there is room for gets a 503 and is closed; so is one that asks for nothing, after a time.
"""

from __future__ import annotations

import asyncio
import errno
import ipaddress
import json
import logging
import os
import resource
import socket
import time
from collections import Counter
from contextlib import suppress
from typing import Any

import uvicorn
from uvicorn.protocols.http.h11_impl import H11Protocol

from llm_core.settings import is_trusted_proxy

log = logging.getLogger(__name__)

WANTED_DESCRIPTORS = 65_536
MAX_CONNECTIONS = 4096  # of some 30 KB each
SPARE_SHARE = 8  # one in so many places is kept free while there is somebody who waits for nothing
ADDRESS_SHARE = 4  # one address may have one in so many places
REQUEST_SECONDS = 10.0  # for a connection to send the head of a request
CROWDED_SECONDS = 1.0  # the same, where others wait for a place
BODY_SECONDS = 120.0  # without a byte of a body that was promised
LOG_SECONDS = 60.0
_TICKS_A_SWEEP = 10  # of 0.1 s
_BODY = json.dumps(
    {
        "error": {
            "message": "The server has as many connections as it can hold. Try again.",
            "type": "server_error",
            "param": None,
            "code": "too_many_connections",
        }
    }
).encode()
_REFUSAL = (
    b"HTTP/1.1 503 Service Unavailable\r\nContent-Type: application/json\r\nRetry-After: 5\r\nConnection: close\r\n"
    b"Content-Length: %d\r\n\r\n%s" % (len(_BODY), _BODY)
)


def raise_descriptor_limit() -> None:
    """Lets this process have as many file descriptors as it may."""
    soft, hard = resource.getrlimit(resource.RLIMIT_NOFILE)
    for wanted in (WANTED_DESCRIPTORS, 10_240):  # macOS has a limit of its own below what it calls the hard one
        if hard != resource.RLIM_INFINITY:
            wanted = min(wanted, hard)
        if soft in (resource.RLIM_INFINITY, wanted) or soft > wanted:
            return
        with suppress(ValueError, OSError):
            resource.setrlimit(resource.RLIMIT_NOFILE, (wanted, hard))
            return


def connection_limit() -> int:
    """How many connections there may be: half of the file descriptors. Whoever is in may need one more, to an engine
    elsewhere or of the database."""
    soft, _ = resource.getrlimit(resource.RLIMIT_NOFILE)
    return MAX_CONNECTIONS if soft == resource.RLIM_INFINITY else min(MAX_CONNECTIONS, soft // 2)


class Listener(socket.socket):
    """A listening socket that hands out only as many connections as there may be, in all and of one address.

    Args:
        listening: Is taken over.
        trusted_proxies: Addresses that may have any number: everybody's connections come from there.
    """

    def __init__(self, listening: socket.socket, trusted_proxies: tuple[str, ...]) -> None:
        super().__init__(listening.family, listening.type, listening.proto, listening.detach())
        self.limit = connection_limit()
        self._trusted = trusted_proxies
        self._of: Counter[str] = Counter()
        self._held = 0
        self._turned_away, self._told_at = 0, -LOG_SECONDS
        self._spare = os.open(os.devnull, os.O_RDONLY)  # is given up for a moment where there is no other descriptor

    @property
    def is_crowded(self) -> bool:
        """Whether somebody who waits for nothing should go, so that others can come."""
        return self._held > self.limit - self.limit // SPARE_SHARE

    def accept(self) -> tuple[socket.socket, Any]:
        """The next connection.

        Raises:
            BlockingIOError: There is none now, or it was turned away.
        """
        try:
            connection, address = super().accept()
        except OSError as error:
            if error.errno != errno.EMFILE or self._spare < 0:
                raise
            self._turn_next_away()
            raise BlockingIOError from None
        who = _party(address[0])
        too_many = self._of[who] >= self.limit // ADDRESS_SHARE and not is_trusted_proxy(address[0], self._trusted)
        if self._held >= self.limit or too_many:
            self._turn_away(connection, f"{address[0]} has too many" if too_many else "there are too many")
            raise BlockingIOError
        self._held += 1
        self._of[who] += 1
        return _Accepted(connection, self, who), address

    def let_go(self, who: str) -> None:
        """A connection was closed."""
        self._held -= 1
        self._of[who] -= 1
        if not self._of[who]:
            del self._of[who]

    def close(self) -> None:
        super().close()
        if self._spare >= 0:
            os.close(self._spare)
            self._spare = -1

    def _turn_away(self, connection: socket.socket, why: str) -> None:
        with connection, suppress(OSError):
            connection.setblocking(False)
            with suppress(BlockingIOError):
                connection.recv(65_536)  # closed with something unread, it would lose the answer
            connection.send(_REFUSAL)
        self._tell(why)

    def _turn_next_away(self) -> None:
        """Closes the connection that no descriptor was left for. Else it would be offered again at once, for ever."""
        os.close(self._spare)
        self._spare = -1
        with suppress(OSError):
            super().accept()[0].close()
        self._spare = os.open(os.devnull, os.O_RDONLY)
        self._tell("no file descriptor is left")

    def _tell(self, why: str) -> None:
        self._turned_away += 1
        if time.monotonic() >= self._told_at + LOG_SECONDS:
            said = "connections turned away: %d since this was last told; %s (%d now, %d allowed)"
            log.warning(said, self._turned_away, why, self._held, self.limit)
            self._turned_away, self._told_at = 0, time.monotonic()


class _Accepted(socket.socket):
    """A connection that says when it is closed, which is when its descriptor is free."""

    def __init__(self, connection: socket.socket, listener: Listener, who: str) -> None:
        super().__init__(connection.family, connection.type, connection.proto, connection.detach())
        self._listener, self._who = listener, who

    def close(self) -> None:
        if self.fileno() >= 0:
            self._listener.let_go(self._who)
        super().close()


def _party(address: str) -> str:
    """Who counts as one: an address; of IPv6 the network that one customer has."""
    if ":" not in address:
        return address
    return str(ipaddress.ip_network(f"{address.partition('%')[0]}/64", strict=False))


class Connection(H11Protocol):
    """Uvicorn's, which knows for how long it has waited for something to be sent."""

    since = 0.0
    _heard = 0.0

    def connection_made(self, transport: asyncio.Transport) -> None:  # type: ignore[override]
        self.since = time.monotonic()
        super().connection_made(transport)

    def data_received(self, data: bytes) -> None:
        self._heard = time.monotonic()
        super().data_received(data)

    def on_response_complete(self) -> None:
        self.since = time.monotonic()
        super().on_response_complete()

    @property
    def is_waiting(self) -> bool:
        """Whether nothing was asked, or all that was is answered."""
        return self.cycle is None or self.cycle.response_complete

    def is_overdue(self, now: float) -> bool:
        """Whether it has waited long enough for the rest of a request."""
        if self.is_waiting:
            return now > self.since + REQUEST_SECONDS
        return self.cycle.more_body and now > self._heard + BODY_SECONDS


class Server(uvicorn.Server):
    """Uvicorn's, which hangs up on those who ask for nothing: late where there is room, at once where there is none."""

    def __init__(self, config: uvicorn.Config, listener: Listener) -> None:
        super().__init__(config)
        self._listener = listener

    async def on_tick(self, counter: int) -> bool:
        if self._listener.is_crowded or counter % _TICKS_A_SWEEP == 0:
            for each in self._superfluous(time.monotonic()):
                each.transport.close()
        return await super().on_tick(counter)

    def _superfluous(self, now: float) -> list[Connection]:
        there = [
            each
            for each in self.server_state.connections
            if isinstance(each, Connection) and not each.transport.is_closing()
        ]
        overdue = [each for each in there if each.is_overdue(now)]
        if not self._listener.is_crowded:
            return overdue
        waiting = [each for each in there if each.is_waiting and now > each.since + CROWDED_SECONDS]
        waiting.sort(key=lambda each: each.since)
        return overdue + waiting[: self._listener.limit // SPARE_SHARE]
