"""From a message to a request: what was asked, in which project, by whom, and how it is answered. Or why not.

Clients speak one of several dialects; each of these has a file, and whoever answers knows them by `Dialect` alone.
"""

from __future__ import annotations

import time
from abc import ABC, abstractmethod
from dataclasses import dataclass
from typing import Any

from llm_core.errors import InvalidRequest, LLMError, RequestExpired
from llm_core.mqtt import payloads
from llm_core.mqtt.packets import Incoming, ReplyTo
from llm_core.mqtt.payloads import Ask
from llm_core.mqtt.topics import Address, RequestKey
from llm_core.mqtt.worker.ledger import Entry
from llm_core.mqtt.worker.outbox import Outbox
from llm_core.mqtt.worker.port import Port
from llm_core.mqtt.worker.projects import Project, Projects


@dataclass(frozen=True, slots=True)
class Arrival:
    """A request that may be answered.

    Attributes:
        owner: Whose sessions it meets.
        dialect: How its client is answered.
        duplicate: Whether the broker has sent this very message before.
    """

    entry: Entry
    ask: Ask
    project: Project
    owner: str
    dialect: Dialect
    duplicate: bool = False

    @property
    def key(self) -> RequestKey:
        return self.entry.key

    @property
    def to(self) -> ReplyTo:
        return self.entry.to

    def refused(self, error: LLMError) -> Refusal:
        return Refusal(self.to, error, self.dialect)

    def options(self, from_template: str | None) -> dict[str, Any]:
        """The options of `LLMClient`, the system prompt among them where there is one.

        Raises:
            InvalidRequest: It asks for more than its project allows.
        """
        messages, asked = self.ask.messages or (), self.ask.system_prompt
        if messages and messages[0].role == "system":
            if asked is not None:
                raise InvalidRequest(
                    "system_prompt: the messages begin with a system message already", param="system_prompt"
                )
            asked = messages[0].content
        prompt = self.project.choose_prompt(asked, from_template)
        return self.project.request_options(self.ask.options) | {"owner": self.owner, "system_prompt": prompt}


@dataclass(frozen=True, slots=True)
class Refusal:
    """A request that is answered with an error at once."""

    to: ReplyTo
    error: LLMError
    dialect: Dialect


class Dialect(ABC):
    """How some clients ask, and how they are answered.

    Args:
        max_bytes: Longest payload that is read.
        requests: Filters of requests; each of these goes to one of the workers.
        broadcasts: Filters of what every worker hears.
    """

    def __init__(self, projects: Projects, max_bytes: int, requests: list[str], broadcasts: list[str]) -> None:
        self._projects, self._max_bytes = projects, max_bytes
        self.requests, self.broadcasts = requests, broadcasts

    @abstractmethod
    def address(self, topic: str) -> Address | None:
        """What a topic means; None: nothing in this dialect."""

    @abstractmethod
    def knows(self, key: RequestKey) -> bool:
        """Whether a client of this dialect made a request."""

    @abstractmethod
    def decode(self, message: Incoming, address: Address) -> Arrival | Refusal:
        """What a message to a request topic asks."""

    @abstractmethod
    def outbox(self, arrival: Arrival, port: Port) -> Outbox:
        """What takes the reply."""

    @abstractmethod
    def encode_error(self, error: LLMError, limit: int) -> bytes:
        """The payload of an error, of at most `limit` bytes where the dialect can cut it."""

    @abstractmethod
    def _admit(self, key: RequestKey) -> tuple[Project, str]:
        """A request's project, and whose sessions it meets.

        Raises:
            ProjectNotFound: It does not exist, or not for this client.
        """

    def decode_entry(self, entry: Entry) -> Arrival | Refusal:
        """A request that another worker had recorded."""
        try:
            ask = payloads.parse_ask(payloads.read_json(entry.payload, limit=len(entry.payload)))
            return self._arrival(entry, ask)
        except LLMError as error:
            return Refusal(entry.to, error, self)

    def _read(self, payload: bytes, project: Project) -> dict[str, Any]:
        return payloads.read_json(payload, limit=project.limits.payload_bytes or self._max_bytes)

    def _arrival(self, entry: Entry, ask: Ask, *, duplicate: bool = False) -> Arrival:
        project, owner = self._admit(entry.key)
        if entry.expires_at is not None and entry.expires_at <= time.time():
            raise RequestExpired("The request came after the time by which it was to be answered. It was not started.")
        return Arrival(entry, ask, project, owner, self, duplicate)


class Decoder:
    """Reads what comes from the broker, in whatever dialect."""

    def __init__(self, *dialects: Dialect) -> None:
        self._dialects = dialects
        self.requests = [each for dialect in dialects for each in dialect.requests]
        self.broadcasts = [each for dialect in dialects for each in dialect.broadcasts]

    def decode(self, message: Incoming) -> Arrival | Refusal | Address | None:
        """A request; for other topics what they mean, and None where they mean nothing here."""
        for dialect in self._dialects:
            if (address := dialect.address(message.topic)) is not None:
                return dialect.decode(message, address) if address.kind == "request" else address
        return None

    def dialect_of(self, key: RequestKey) -> Dialect:
        return next(dialect for dialect in self._dialects if dialect.knows(key))


def expiry(ask: Ask, expires_in: int | None) -> float | None:
    """When nobody waits any more: what the broker says is left, or the payload says, whichever is sooner."""
    moments = [ask.expires_at] if ask.expires_at is not None else []
    if expires_in is not None:
        moments.append(time.time() + expires_in)
    return min(moments, default=None)
