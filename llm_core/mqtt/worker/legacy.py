"""The topics that older clients know, for the projects that switch them on.

In: `{project}/user_input` with `{"sessionId", "message", ...}`. Out: the whole text on
`{project}/assistant_response/{session}/{client}/{request}`, as far as the client gave these names, or on the payload's
`replyTopic`. No topic says who a client is here, so all clients of a project's older topics are one owner.
"""

from __future__ import annotations

import uuid
from dataclasses import dataclass, replace
from typing import Any

from llm_core.errors import InvalidRequest, LLMError, ProjectNotFound
from llm_core.events import ChatReply, Loading, Queued
from llm_core.mqtt import payloads
from llm_core.mqtt.packets import Incoming, ReplyTo
from llm_core.mqtt.topics import SHARE, Address, RequestKey, is_below, is_name
from llm_core.mqtt.worker.decoder import Arrival, Dialect, Refusal, expiry
from llm_core.mqtt.worker.ledger import Entry
from llm_core.mqtt.worker.outbox import Outbox, Pace
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


class LegacyDialect(Dialect):
    def __init__(self, projects: Projects, max_bytes: int) -> None:
        topics = [LegacyTopics(name) for name in projects.compatible()]
        inputs, templates = [each.shared_input for each in topics], [each.template for each in topics]
        super().__init__(projects, max_bytes, requests=inputs, broadcasts=templates)
        self._addresses = {each.input: Address("request", each.project) for each in topics}
        self._addresses |= {each.template: Address("template", each.project) for each in topics}

    def address(self, topic: str) -> Address | None:
        return self._addresses.get(topic)

    def knows(self, key: RequestKey) -> bool:
        return key.client.startswith(CLIENT_PREFIX)

    def decode(self, message: Incoming, address: Address) -> Arrival | Refusal:
        topics, project = LegacyTopics(address.project), self._projects.get(address.project)
        to = ReplyTo(f"{topics.output_base}{_NOBODY}", message.correlation)
        try:
            data = self._read(message.payload, project)
            session, client, request_id = (_name(data, name) for name in ("sessionId", "clientId", "requestId"))
            to = replace(to, topic=_reply_topic(data, topics, project, [session or _NOBODY, client, request_id]))
            # Without an id of its own each message is a new request, also one that comes twice.
            key = RequestKey(topics.project, f"{CLIENT_PREFIX}{client or _NOBODY}", request_id or uuid.uuid4().hex)
            body = _body(data, session or _NOBODY, key.request_id)
            ask = payloads.parse_ask(body)
            entry = Entry(key, payloads.encode(body), to.topic, to.correlation, expiry(ask, message.expires_in))
            return self._arrival(entry, ask, duplicate=message.duplicate)
        except LLMError as error:
            return Refusal(to, error, self)

    def outbox(self, arrival: Arrival, port: Port) -> Outbox:
        compatibility = arrival.project.compatibility
        json_replies = compatibility is not None and compatibility.json_replies
        return LegacyOutbox(port, arrival.to, session=arrival.ask.session_id or "", json_replies=json_replies)

    def encode_error(self, error: LLMError, limit: int) -> bytes:
        return error_message(error)

    def _admit(self, key: RequestKey) -> tuple[Project, str]:
        project = self._projects.get(key.project)
        if project.compatibility is None:
            raise ProjectNotFound(f"The older topics of project {key.project!r} are switched off.")
        return project, OWNER_PREFIX + key.project


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


def _body(data: dict[str, Any], session: str, request_id: str) -> dict[str, Any]:
    message = data.get("message")
    if not isinstance(message, str) or not message.strip():
        raise InvalidRequest("message: there is nothing to answer", param="message")
    options = {ours: data[theirs] for theirs, ours in _NAMES.items() if data.get(theirs) is not None}
    return {"request_id": request_id, "session_id": session, "message": message, "stream": False} | options


class LegacyOutbox(Outbox):
    """What older clients are told: the whole text, once; or what went wrong, as an object with `error`.

    Args:
        json_replies: Whether the text comes as an object with `response`.
    """

    def __init__(self, port: Port, to: ReplyTo, *, session: str, json_replies: bool) -> None:
        super().__init__(port, to, pace=Pace(), stream=False)
        self._session, self._json = session, json_replies

    def queued(self, event: Queued) -> None:
        """They know nothing of queues."""

    def loading(self, event: Loading) -> None:
        """Nor of models."""

    def last_of(self, reply: ChatReply) -> bytes:
        if self._json:
            return payloads.encode({"response": reply.content, "sessionId": self._session})
        return reply.content.encode("utf-8", "replace")

    def fail(self, error: LLMError) -> None:
        self.end(error_message(error))


def error_message(error: LLMError) -> bytes:
    fields = payloads.failed(error)
    del fields["type"]
    return payloads.encode({"error": fields.pop("message")} | fields)
