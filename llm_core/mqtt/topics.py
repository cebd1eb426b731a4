"""Where messages go: the topics of this bridge, made and read in one place, and the rule of where replies may go."""

from __future__ import annotations

import re
from dataclasses import dataclass
from typing import Literal

SHARE = "$share/llm-workers"
NAME_RULE = "1 to 128 letters, digits, dots, colons, dashes, underscores or @"
NAME_PATTERN = r"^[A-Za-z0-9._:@-]{1,128}$"
MAX_TOPIC_BYTES = 1024
NO_ID = "invalid"  # stands for the id of a request that has none that can be read
_NAME = re.compile(NAME_PATTERN)
_RESERVED = frozenset({"status", "worker"})  # as a project's name: what workers say to each other is there


@dataclass(frozen=True, slots=True)
class RequestKey:
    """Which request: its id counts within its client, and its client within the project.

    Attributes:
        client: Who asks, as the topic says. The broker decides who may publish there.
    """

    project: str
    client: str
    request_id: str


Kind = Literal["request", "cancel", "template", "worker", "status"]


@dataclass(frozen=True, slots=True)
class Address:
    """What a topic that was published to means.

    Attributes:
        name: The client of a request or a cancel, the worker of a status.
        request_id: Of a cancel.
        verb: What one worker asks of another.
    """

    kind: Kind
    project: str = ""
    name: str = ""
    request_id: str = ""
    verb: str = ""


@dataclass(frozen=True, slots=True)
class Topics:
    """All topics below one prefix."""

    prefix: str

    def request(self, project: str, client: str) -> str:
        return f"{self.prefix}/{project}/request/{client}"

    def cancel(self, key: RequestKey) -> str:
        return f"{self.prefix}/{key.project}/cancel/{key.client}/{key.request_id}"

    def reply(self, key: RequestKey) -> str:
        return f"{self.reply_base(key.project, key.client)}{key.request_id}"

    def reply_base(self, project: str, client: str) -> str:
        """What the topics of all replies to a client begin with."""
        return f"{self.prefix}/{project}/reply/{client}/"

    def template(self, project: str) -> str:
        return f"{self.prefix}/{project}/template"

    def status(self, worker: str) -> str:
        return f"{self.prefix}/status/{worker}"

    def worker(self, worker: str, verb: str) -> str:
        """By which workers tell each other something; devices have no business there."""
        return f"{self.prefix}/worker/{worker}/{verb}"

    # ── filters ──────────────────────────────────────────────────────────────────────────────────────────────────────

    @property
    def shared_requests(self) -> str:
        """Each request goes to one of the workers."""
        return f"{SHARE}/{self.prefix}/+/request/+"

    @property
    def cancels(self) -> str:
        """Every worker hears of every cancel: the broker does not know which of them has the request."""
        return f"{self.prefix}/+/cancel/+/+"

    @property
    def templates(self) -> str:
        return f"{self.prefix}/+/template"

    @property
    def statuses(self) -> str:
        return f"{self.prefix}/status/+"

    def of_worker(self, worker: str) -> str:
        return f"{self.prefix}/worker/{worker}/+"

    # ── reading ──────────────────────────────────────────────────────────────────────────────────────────────────────

    def parse(self, topic: str) -> Address | None:
        """What a topic means; None where it means nothing here, or has a name that is not allowed."""
        if not topic.startswith(f"{self.prefix}/"):
            return None
        match topic[len(self.prefix) + 1 :].split("/"):
            case ["status", worker]:
                return Address("status", name=worker)
            case ["worker", worker, verb]:
                return Address("worker", name=worker, verb=verb)
            case [project, "template"] if is_project(project):
                return Address("template", project)
            case [project, "request", client] if is_project(project) and is_name(client):
                return Address("request", project, client)
            case [project, "cancel", client, request_id] if (
                is_project(project) and is_name(client) and is_name(request_id)
            ):
                return Address("cancel", project, client, request_id)
        return None


def is_below(topic: str, base: str) -> bool:
    """Whether `topic` is a whole topic below `base`, with no wildcard, no `$` and no empty level."""
    if not topic.startswith(base) or len(topic.encode("utf-8", "replace")) > MAX_TOPIC_BYTES:
        return False
    return all(_is_level(level) for level in topic[len(base) :].split("/"))


def _is_level(level: str) -> bool:
    return bool(level) and not any(letter in "+#$" or not letter.isprintable() for letter in level)


def is_name(text: str) -> bool:
    return _NAME.fullmatch(text) is not None


def is_project(text: str) -> bool:
    return is_name(text) and text not in _RESERVED
