"""The topics that older clients know, for the projects that switch them on.

In: `{project}/user_input` with `{"sessionId", "message", ...}`. Out: the whole text on
`{project}/assistant_response/{session}/{client}/{request}`, as far as the client gave these names, or on the payload's
`replyTopic`. No topic says who a client is here, so all clients of a project's older topics are one owner.
"""

from __future__ import annotations

import uuid
from collections.abc import Callable
from dataclasses import dataclass, replace
from typing import Any

from llm_core.errors import InvalidRequest, LLMError, ProjectNotFound
from llm_core.events import ChatEvent, ChatReply, Queued
from llm_core.mqtt import payloads
from llm_core.mqtt.packets import Incoming, Outgoing
from llm_core.mqtt.topics import SHARE, RequestKey, is_below, is_name
from llm_core.mqtt.worker.decoder import Arrival, Refusal, check_expiry, expiry
from llm_core.mqtt.worker.ledger import Entry
from llm_core.mqtt.worker.outbox import ReplyTo
from llm_core.mqtt.worker.port import Port
from llm_core.mqtt.worker.projects import Project, Projects

CLIENT_PREFIX = "~"  # no client of the newer topics can have such a name
OWNER_PREFIX = "project:"
_NOBODY = "default"
# What older clients call the options.
_NAMES = {
    "temperature": "temperature",
    "topP": "top_p",
    "maxTokens": "max_tokens",
    "systemPrompt": "system_prompt",
    "top_p": "top_p",
    "max_tokens": "max_tokens",
}


@dataclass(frozen=True, slots=True)
class LegacyTopics:
    """Those of one project."""

    project: str

    @property
    def input(self) -> str:
        return f"{self.project}/user_input"

    @property
    def shared_input(self) -> str:
        return f"{SHARE}/{self.input}"

    @property
    def template(self) -> str:
        return f"{self.project}/template"

    @property
    def output_base(self) -> str:
        return f"{self.project}/assistant_response/"


class LegacyDecoder:
    """Reads requests of older clients.

    Args:
        max_bytes: Longest payload that is read.
    """

    def __init__(self, projects: Projects, max_bytes: int) -> None:
        self._projects, self._max_bytes = projects, max_bytes
        self._topics = {topics.input: topics for topics in map(LegacyTopics, projects.compatible())}

    @property
    def filters(self) -> list[str]:
        """What to subscribe to, sharing with other workers."""
        return [topics.shared_input for topics in self._topics.values()]

    @property
    def templates(self) -> dict[str, str]:
        """What to subscribe to for oneself, and the project of each."""
        return {topics.template: topics.project for topics in self._topics.values()}

    def knows(self, topic: str) -> bool:
        return topic in self._topics

    def read(self, message: Incoming) -> Arrival | Refusal:
        """What a message to one of the input topics asks."""
        topics = self._topics[message.topic]
        project = self._projects.get(topics.project)
        to = ReplyTo(f"{topics.output_base}{_NOBODY}", message.correlation)
        try:
            data = payloads.read_json(message.payload, limit=project.limits.payload_bytes or self._max_bytes)
            session, client, request_id = (_name(data, name) for name in ("sessionId", "clientId", "requestId"))
            to = replace(to, topic=_reply_topic(data, topics, project, [session or _NOBODY, client, request_id]))
            # Without an id of its own each message is a new request, also one that comes twice.
            key = RequestKey(topics.project, f"{CLIENT_PREFIX}{client or _NOBODY}", request_id or uuid.uuid4().hex)
            ask = _ask(data, session or _NOBODY, key.request_id)
            entry = Entry(
                key, payloads.encode(ask), to.topic, to.correlation, expiry(payloads.parse_ask(ask), message.expires_in)
            )
            return self._arrival(entry, project, again=message.again)
        except LLMError as error:
            return Refusal(to, error, legacy=True)

    def read_entry(self, entry: Entry) -> Arrival | Refusal:
        """A request that another worker had recorded."""
        try:
            return self._arrival(entry, self._projects.get(entry.key.project), again=False)
        except LLMError as error:
            return Refusal(ReplyTo(entry.reply_topic, entry.correlation), error, legacy=True)

    def _arrival(self, entry: Entry, project: Project, *, again: bool) -> Arrival:
        if project.compatibility is None:
            raise ProjectNotFound(f"The older topics of project {entry.key.project!r} are switched off.")
        check_expiry(entry)
        ask = payloads.parse_ask(payloads.read_json(entry.payload, limit=len(entry.payload)))
        return Arrival(entry, ask, project, OWNER_PREFIX + entry.key.project, again)


def is_legacy(key: RequestKey) -> bool:
    return key.client.startswith(CLIENT_PREFIX)


def read_template(data: dict[str, Any]) -> dict[str, Any]:
    """A template message in the words of older clients, in ours."""
    template = data.get("template") or data.get("systemPrompt") or data.get("prompt_template")
    if isinstance(template, dict):
        template = template.get("content")
    words = {"session_id": data.get("sessionId"), "system_prompt": template}
    return {name: value for name, value in words.items() if value is not None} | data


def _name(data: dict[str, Any], field: str) -> str | None:
    """A name that becomes a level of a topic."""
    value = data.get(field)
    if value is None or value == "":
        return None
    if not isinstance(value, str) or not is_name(value):
        raise InvalidRequest(f"{field}: letters, digits, dots, colons, dashes, underscores or @", param=field)
    return value


def _reply_topic(data: dict[str, Any], topics: LegacyTopics, project: Project, levels: list[str | None]) -> str:
    asked = data.get("replyTopic")
    if asked is None:
        return topics.output_base + "/".join(level for level in levels if level is not None)
    bases = [topics.output_base, *(project.compatibility.reply_below if project.compatibility else ())]
    if not isinstance(asked, str) or not any(is_below(asked, base) for base in bases):
        raise InvalidRequest(f"replyTopic: only below {' or '.join(bases)}, without wildcards", param="replyTopic")
    return asked


def _ask(data: dict[str, Any], session: str, request_id: str) -> dict[str, Any]:
    message = data.get("message")
    if not isinstance(message, str) or not message.strip():
        raise InvalidRequest("message: there is nothing to answer", param="message")
    options = {ours: data[theirs] for theirs, ours in _NAMES.items() if data.get(theirs) is not None}
    return {"request_id": request_id, "session_id": session, "message": message, "stream": False} | options


class LegacyOutbox:
    """What older clients are told: the whole text, once; or what went wrong, as an object with `error`.

    Args:
        json_replies: Whether the text comes as an object with `response`.
    """

    def __init__(self, port: Port, to: ReplyTo, *, session: str, json_replies: bool) -> None:
        self._port, self._to, self._session, self._json = port, to, session, json_replies
        self._last: bytes | None = None

    def queued(self, event: Queued) -> None:
        """They know nothing of queues."""

    def add(self, event: ChatEvent) -> None:
        """They know nothing of pieces."""

    def last_of(self, reply: ChatReply) -> bytes:
        if self._json:
            return payloads.encode({"response": reply.content, "sessionId": self._session})
        return reply.content.encode("utf-8", "replace")

    def end(self, last: bytes, on_acknowledged: Callable[[int], None] | None = None) -> None:
        self._last = last
        self._send(last, on_acknowledged)

    def fail(self, error: LLMError) -> None:
        self._send(legacy_error(error))

    def tell_again(self, to: ReplyTo, after: int) -> None:
        self._to = to
        if self._last is not None:
            self._send(self._last)

    def _send(self, payload: bytes, on_acknowledged: Callable[[int], None] | None = None) -> None:
        message = Outgoing(self._to.topic, payload, correlation=self._to.correlation, on_acknowledged=on_acknowledged)
        self._port.publish(message)


def legacy_error(error: LLMError) -> bytes:
    failed = payloads.failed(error)
    return payloads.encode(
        {"error": failed["message"]} | {n: v for n, v in failed.items() if n not in ("type", "message")}
    )
