"""An exported session, read again: a document becomes turns, with limits, and nothing in it is trusted.

A call that waits for somebody to agree does not wait any more.
"""

from __future__ import annotations

import json
import time
from collections.abc import Iterable, Iterator, Mapping, Sequence
from dataclasses import asdict, replace
from datetime import datetime
from typing import Annotated, Any, Literal

from pydantic import AwareDatetime, BaseModel, ConfigDict, Field, ValidationError

from llm_core.complaints import invalid_request
from llm_core.errors import InvalidRequest
from llm_core.events import FinishReason, Timings, Usage
from llm_core.messages import (
    MAX_ATTACHMENTS,
    MAX_CALLS,
    MAX_MESSAGES,
    Attachment,
    CallId,
    Message,
    Role,
    Text,
    ToolCall,
    parse_messages,
)
from llm_core.numbers import Whole
from llm_core.sessions.branches import from_the_first
from llm_core.sessions.records import Session, Turn, TurnStatus

MAX_SESSIONS_IN_FILE = 500
MAX_TITLE_CHARS = 200
Count = Annotated[int, Field(ge=0, le=2**53), Whole]
StreamName = Annotated[Text, Field(min_length=1, max_length=64)]
Figure = Annotated[float, Field(ge=0, le=1e12, allow_inf_nan=False)]


class ExportedUsage(BaseModel):
    prompt_tokens: Count
    cached_tokens: Count
    completion_tokens: Count


class ExportedTimings(BaseModel):
    queue_ms: Figure
    ttft_ms: Figure
    tokens_per_second: Figure


class ExportedMessage(BaseModel):
    """A message. The last one of a turn has the turn's status and figures."""

    model_config = ConfigDict(frozen=True, extra="ignore")

    role: Role
    content: Text
    reasoning: Text | None = None
    tool_calls: Annotated[tuple[ToolCall, ...], Field(min_length=1, max_length=MAX_CALLS)] | None = None
    tool_call_id: CallId | None = None
    attachments: Annotated[tuple[Attachment, ...], Field(max_length=MAX_ATTACHMENTS)] | None = None
    status: Literal["running", "complete", "interrupted", "cancelled", "failed"] | None = None
    finish_reason: FinishReason | None = None
    error: Annotated[Text, Field(max_length=2000)] | None = None
    stream_id: StreamName | None = None
    created_at: AwareDatetime | None = None
    usage: ExportedUsage | None = None
    timings: ExportedTimings | None = None
    dropped_messages: Count = 0
    model: Annotated[Text, Field(max_length=200)] | None = None

    def message(self) -> Message:
        try:
            return Message.model_validate(self.model_dump(include=set(Message.model_fields), exclude_none=True))
        except ValidationError as error:
            raise invalid_request(error, "messages") from None


class ExportedTurn(BaseModel):
    """A turn that was set aside, and the stream of the one that it followed."""

    model_config = ConfigDict(frozen=True, extra="ignore")

    stream_id: StreamName
    after: StreamName | None = None
    messages: Annotated[tuple[ExportedMessage, ...], Field(min_length=1, max_length=MAX_MESSAGES)]


class ExportedSession(BaseModel):
    """A session as `export` writes it."""

    model_config = ConfigDict(frozen=True, extra="ignore")

    title: Annotated[Text, Field(max_length=MAX_TITLE_CHARS)] = ""
    system_prompt: Text | None = None
    model: Annotated[Text, Field(max_length=200)] | None = None
    messages: Annotated[tuple[ExportedMessage, ...], Field(min_length=1, max_length=MAX_MESSAGES)]
    set_aside: Annotated[tuple[ExportedTurn, ...], Field(max_length=MAX_MESSAGES)] = ()

    def session(self, session_id: str) -> tuple[Session, tuple[Turn, ...]]:
        """The same, as a session of another name that was used now, and the turns that were set aside in it.

        Raises:
            InvalidRequest: It does not begin with something that was said to the model, a message is not allowed, or
                the turns are no tree.
        """
        now = time.time()
        said, aside = tuple(self._said(now)), tuple(self._aside(now))
        parse_messages(message for turn in said for message in turn.messages)
        turns = (*said, *aside)
        are_named_once = len({turn.stream_id for turn in turns}) == len(turns)
        if not are_named_once or len(tuple(from_the_first(turns))) < len(turns):
            raise InvalidRequest("set_aside: a turn has the stream of another one, or follows none", param="set_aside")
        title = " ".join(self.title.split()) or " ".join(self.messages[0].content.split())[:60] or session_id
        return Session(session_id, title, self.system_prompt, self.model, now, now, 0, said), aside

    def _said(self, now: float) -> Iterator[Turn]:
        after: str | None = None
        for nth, messages in enumerate(_by_turn(self.messages)):
            turn = _turn(messages, now, messages[-1].stream_id or f"turn {nth}", after)
            yield turn
            after = turn.stream_id

    def _aside(self, now: float) -> Iterator[Turn]:
        for each in self.set_aside:
            yield replace(_turn(each.messages, now, each.stream_id, each.after), is_set_aside=True)


def sessions_of_file(text: str) -> tuple[ExportedSession, ...]:
    """The sessions of a file that somebody has opened: one as it was exported, or several below `sessions`.

    Raises:
        InvalidRequest: It has none, or what is not allowed.
    """
    try:
        document = json.loads(text)
    except (ValueError, RecursionError):
        raise InvalidRequest("The file is no JSON, so it is no exported conversation.") from None
    found = document.get("sessions") if isinstance(document, Mapping) else None
    if found is None:
        found = [document]
    if not isinstance(found, list) or not 1 <= len(found) <= MAX_SESSIONS_IN_FILE:
        raise InvalidRequest(f"The file has no conversations, or more than {MAX_SESSIONS_IN_FILE}.")
    try:
        return tuple(ExportedSession.model_validate(each) for each in found)
    except ValidationError as error:
        refused = invalid_request(error)
        raise InvalidRequest(f"The file is no exported conversation: {refused.message}") from None


def _by_turn(messages: Iterable[ExportedMessage]) -> Iterator[list[ExportedMessage]]:
    """A turn ends with the message that has its status; of files that have none, before the next question."""
    messages = tuple(messages)
    are_marked = any(message.status for message in messages)
    turn: list[ExportedMessage] = []
    for message in messages:
        if turn and not are_marked and message.role == "user":
            yield turn
            turn = []
        turn.append(message)
        if message.status is not None:
            yield turn
            turn = []
    if turn:
        yield turn


def _turn(messages: Sequence[ExportedMessage], now: float, stream_id: str, after: str | None) -> Turn:
    last, said = messages[-1], tuple(message.message() for message in messages)
    if said[0].role == "assistant":
        raise InvalidRequest("messages: each turn begins with what was said to the model", param="messages")
    began = _seconds(messages[0].created_at, now)
    status: TurnStatus = "interrupted" if last.status == "running" else last.status or "complete"
    figures: dict[str, Any] | None = None
    if last.usage is not None and last.timings is not None:
        usage, timings = Usage(**last.usage.model_dump()), Timings(**last.timings.model_dump())
        remarks = {"dropped_messages": last.dropped_messages, "model": last.model}
        figures = {"usage": asdict(usage), "timings": asdict(timings)}
        figures |= {name: value for name, value in remarks.items() if value}
    return Turn(stream_id, status, said, last.finish_reason, figures, last.error, began, began, after)


def _seconds(at: datetime | None, now: float) -> float:
    return now if at is None else min(max(at.timestamp(), 0.0), now)
