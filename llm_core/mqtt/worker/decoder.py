"""From a message to a request: what was asked, in which project, by whom, and where the reply goes. Or why not."""

from __future__ import annotations

import time
from dataclasses import dataclass, replace
from typing import Any

from llm_core.errors import InvalidRequest, LLMError, RequestExpired
from llm_core.mqtt import payloads
from llm_core.mqtt.packets import Incoming
from llm_core.mqtt.payloads import Ask
from llm_core.mqtt.topics import NO_ID, Address, RequestKey, Topics, is_below
from llm_core.mqtt.worker.ledger import Entry
from llm_core.mqtt.worker.outbox import ReplyTo
from llm_core.mqtt.worker.projects import Project, Projects

OWNER_PREFIX = "name:"  # as of a token with a name: a device and a person who has its token are one owner


@dataclass(frozen=True, slots=True)
class Arrival:
    """A request that may be answered.

    Attributes:
        owner: Whose sessions it meets.
        again: Whether the broker has sent this very message before.
    """

    entry: Entry
    ask: Ask
    project: Project
    owner: str
    again: bool = False

    @property
    def key(self) -> RequestKey:
        return self.entry.key

    @property
    def to(self) -> ReplyTo:
        return ReplyTo(self.entry.reply_topic, self.entry.correlation)


@dataclass(frozen=True, slots=True)
class Refusal:
    """A request that is answered with an error at once.

    Attributes:
        legacy: Whether it came by the topics of older clients, who are told in other words.
    """

    to: ReplyTo
    error: LLMError
    legacy: bool = False


class Decoder:
    """Reads requests.

    Args:
        max_bytes: Longest payload that is read.
    """

    def __init__(self, topics: Topics, projects: Projects, max_bytes: int) -> None:
        self._topics, self._projects, self._max_bytes = topics, projects, max_bytes

    def read(self, message: Incoming, address: Address) -> Arrival | Refusal:
        """What a message to a request topic asks."""
        key = RequestKey(address.project, address.name, NO_ID)
        asked, base = message.response_topic, self._topics.reply_base(key.project, key.client)
        wanted = asked is not None and is_below(asked, base)
        to = ReplyTo(asked if wanted and asked is not None else self._topics.reply(key), message.correlation)
        try:
            project = self._projects.get(address.project, address.name)
            data = payloads.read_json(message.payload, limit=project.limits.payload_bytes or self._max_bytes)
            if (request_id := payloads.request_id_of(data)) is not None:
                key = replace(key, request_id=request_id)
                if not wanted:
                    to = replace(to, topic=self._topics.reply(key))
            if asked is not None and not wanted:
                # A reply that went elsewhere would let a client speak where the broker lets only this server speak.
                raise InvalidRequest(f"Replies go only below {base}, without wildcards.", param="response_topic")
            ask = payloads.parse_ask(data)
            entry = Entry(key, message.payload, to.topic, to.correlation, expiry(ask, message.expires_in))
            check_expiry(entry)
            return Arrival(entry, ask, project, OWNER_PREFIX + key.client, message.again)
        except LLMError as error:
            return Refusal(to, error)

    def read_entry(self, entry: Entry) -> Arrival | Refusal:
        """A request that another worker had recorded."""
        try:
            project = self._projects.get(entry.key.project, entry.key.client)
            ask = payloads.parse_ask(payloads.read_json(entry.payload, limit=len(entry.payload)))
            check_expiry(entry)
            return Arrival(entry, ask, project, OWNER_PREFIX + entry.key.client)
        except LLMError as error:
            return Refusal(ReplyTo(entry.reply_topic, entry.correlation), error)


def expiry(ask: Ask, expires_in: int | None) -> float | None:
    """When nobody waits any more: what the broker says is left, or the payload says, whichever is sooner."""
    moments = [ask.expires_at] if ask.expires_at is not None else []
    if expires_in is not None:
        moments.append(time.time() + expires_in)
    return min(moments, default=None)


def check_expiry(entry: Entry) -> None:
    if entry.expires_at is not None and entry.expires_at <= time.time():
        raise RequestExpired("The request came after the time by which it was to be answered. It was not started.")


def chat_options(arrival: Arrival, from_template: str | None) -> dict[str, Any]:
    """The options of `LLMClient` for a request, its system prompt among them where it has one.

    Raises:
        InvalidRequest: It asks for more than its project allows.
    """
    ask, project = arrival.ask, arrival.project
    messages = ask.messages or ()
    asked = ask.system_prompt
    if asked is None and messages and messages[0].role == "system":
        asked = messages[0].content
    elif asked is not None and messages and messages[0].role == "system":
        raise InvalidRequest("system_prompt: the messages begin with a system message already", param="system_prompt")
    prompt = project.choose_prompt(asked, from_template)
    return project.request_options(ask.options) | {"owner": arrival.owner, "system_prompt": prompt}
