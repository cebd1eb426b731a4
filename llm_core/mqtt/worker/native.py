"""The dialect of docs/mqtt.md: topics below the prefix, which say who a client is, and replies in numbered messages."""

from __future__ import annotations

from dataclasses import replace

from llm_core.errors import InvalidRequest, LLMError
from llm_core.mqtt import payloads
from llm_core.mqtt.packets import Incoming, ReplyTo
from llm_core.mqtt.topics import NO_ID, Address, RequestKey, Topics, is_below, is_name
from llm_core.mqtt.worker.decoder import Arrival, Dialect, Refusal, expiry
from llm_core.mqtt.worker.ledger import Entry
from llm_core.mqtt.worker.outbox import Outbox, Pace, error_message
from llm_core.mqtt.worker.port import Port
from llm_core.mqtt.worker.projects import Project, Projects

OWNER_PREFIX = "name:"  # as of a token with a name: a device and a person who has its token are one owner


class NativeDialect(Dialect):
    def __init__(self, projects: Projects, max_bytes: int, topics: Topics, pace: Pace) -> None:
        broadcasts = [topics.cancels, topics.templates]
        super().__init__(projects, max_bytes, requests=[topics.shared_requests], broadcasts=broadcasts)
        self._topics, self._pace = topics, pace

    def address(self, topic: str) -> Address | None:
        return self._topics.parse(topic)

    def knows(self, key: RequestKey) -> bool:
        return is_name(key.client)

    def decode(self, message: Incoming, address: Address) -> Arrival | Refusal:
        key = RequestKey(address.project, address.name, NO_ID)
        asked, base = message.response_topic, self._topics.reply_base(key.project, key.client)
        given = asked if asked is not None and is_below(asked, base) else None
        to = ReplyTo(given or self._topics.reply(key), message.correlation)
        try:
            data = self._read(message.payload, self._admit(key)[0])
            if (request_id := payloads.request_id_of(data)) is not None:
                key = replace(key, request_id=request_id)
                to = replace(to, topic=given or self._topics.reply(key))
            if asked != given:
                # A reply that went elsewhere would let a client speak where the broker lets only this server speak.
                raise InvalidRequest(f"Replies go only below {base}, without wildcards.", param="response_topic")
            ask = payloads.parse_ask(data)
            entry = Entry(key, message.payload, to.topic, to.correlation, expiry(ask, message.expires_in))
            return self._arrival(entry, ask, duplicate=message.duplicate)
        except LLMError as error:
            return Refusal(to, error, self)

    def outbox(self, arrival: Arrival, port: Port) -> Outbox:
        ask = arrival.ask
        return Outbox(port, arrival.to, pace=self._pace, max_bytes=ask.max_bytes, stream=ask.stream)

    def encode_error(self, error: LLMError, limit: int) -> bytes:
        return error_message(error, limit)

    def _admit(self, key: RequestKey) -> tuple[Project, str]:
        return self._projects.get(key.project, key.client), OWNER_PREFIX + key.client
