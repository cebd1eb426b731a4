"""What is in the messages: what a client asks, checked at the door, and what it is answered."""

from __future__ import annotations

import json
from collections.abc import Mapping
from typing import Annotated, Any, Literal

from pydantic import BaseModel, ConfigDict, Field, ValidationError

from llm_core.complaints import invalid_request
from llm_core.errors import InvalidRequest, LLMError, TooLarge
from llm_core.events import ChatReply, Loading
from llm_core.messages import MAX_ATTACHMENTS, MAX_CALLS, MAX_MESSAGES, Message, Text
from llm_core.mqtt.topics import NAME_PATTERN
from llm_core.numbers import Whole
from llm_core.options import WIRE_OPTIONS
from llm_core.sessions.sessions import SESSION_ID_PATTERN

SMALLEST_LIMIT = 256  # bytes; `done` without its text fits into it
ACCEPTED_SECONDS = 1e10  # later than that is no time in seconds since 1970


class Ask(BaseModel):
    """A request: a conversation, or the next message of a session.

    Attributes:
        attachments: Files of `message`, as text.
        tool_results: In place of `message`: what the calls of the session's last reply gave back.
        approvals: In place of `message`: whether those of them that wait for somebody to agree are made.
        action: In place of `message`: tells the session as a text in JSON, or forgets it.
        stream: Whether the reply comes in pieces; without, only its end does.
        after: Of a request that is sent again: the number of the last message that has been received.
        expires_at: Seconds since 1970 after which nobody waits for the reply any more.
        max_bytes: Longest payload that the client can take.
        options: How to answer, by the names of `LLMClient`.
    """

    model_config = ConfigDict(frozen=True, extra="forbid", strict=True)

    request_id: Annotated[str, Field(pattern=NAME_PATTERN)]
    messages: Annotated[tuple[Message, ...], Field(min_length=1, max_length=MAX_MESSAGES, strict=False)] | None = None
    session_id: Annotated[str, Field(pattern=SESSION_ID_PATTERN)] | None = None
    message: Text | None = None
    attachments: Annotated[tuple[dict[str, Any], ...], Field(max_length=MAX_ATTACHMENTS, strict=False)] | None = None
    tool_results: Annotated[tuple[dict[str, Any], ...], Field(max_length=MAX_CALLS, strict=False)] | None = None
    approvals: Annotated[tuple[dict[str, Any], ...], Field(max_length=MAX_CALLS, strict=False)] | None = None
    action: Literal["history", "delete"] | None = None
    system_prompt: Text | None = None
    stream: bool = True
    after: Annotated[int, Field(ge=0), Whole] = 0
    expires_at: Annotated[float, Field(ge=0, le=ACCEPTED_SECONDS, strict=False, allow_inf_nan=False)] | None = None
    max_bytes: Annotated[int, Field(ge=SMALLEST_LIMIT), Whole] | None = None
    options: dict[str, Any] = Field(default_factory=dict)


_ENVELOPE = frozenset(Ask.model_fields) - {"options"}


def read_json(payload: bytes, *, limit: int) -> dict[str, Any]:
    """The object that a payload is.

    Raises:
        TooLarge: It is longer than `limit` bytes.
        InvalidRequest: It is not UTF-8, not JSON, or no object.
    """
    if len(payload) > limit:
        raise TooLarge(f"The payload has {len(payload):,} bytes; {limit:,} are read.")
    try:
        data = json.loads(payload.decode("utf-8"), parse_constant=_no_constant)
    except UnicodeDecodeError as error:
        raise InvalidRequest(f"The payload is not UTF-8: byte {error.start} cannot be read.") from None
    except (ValueError, RecursionError) as error:
        raise InvalidRequest(f"The payload is not JSON: {error}.") from None
    if not isinstance(data, dict):
        raise InvalidRequest('The payload must be an object such as {"request_id": "1", "messages": [...]}.')
    return data


def _no_constant(name: str) -> None:
    raise ValueError(f"{name} is no JSON")


def request_id_of(data: Mapping[str, Any]) -> str | None:
    """The id of a request that may be wrong in everything else."""
    try:
        return Ask(request_id=data["request_id"]).request_id
    except (KeyError, ValidationError):
        return None


def parse_ask(data: Mapping[str, Any]) -> Ask:
    """Checks what a client asks; the options themselves are checked by `LLMClient`.

    Raises:
        InvalidRequest: A field is missing, unknown or wrong; the message names it.
    """
    envelope = {name: value for name, value in data.items() if name in _ENVELOPE and value is not None}
    options = {name: value for name, value in data.items() if name not in _ENVELOPE}
    if unknown := sorted(set(options) - WIRE_OPTIONS):
        raise InvalidRequest(f"{unknown[0][:100]}: there is no such field", param=unknown[0][:100])
    try:
        ask = Ask(**envelope, options=options)
    except ValidationError as error:
        raise invalid_request(error) from None
    if (ask.messages is None) == (ask.session_id is None):
        raise InvalidRequest("Give either messages, or session_id and message.", param="messages")
    said = {"message", "tool_results", "approvals"} & set(envelope)
    if (ask.session_id is None) != (not said and ask.action is None):
        known = "session_id and message, tool_results, approvals or action go together."
        raise InvalidRequest(known, param="message")
    if ask.attachments and ask.message is None:
        where = "attachments: they belong to message; in messages each of the user's can have its own"
        raise InvalidRequest(where, param="attachments")
    if ask.action is not None and (options or said or ask.system_prompt is not None):
        raise InvalidRequest("action: makes no reply, so that nothing can be said or chosen with it", param="action")
    return ask


# ── answers ──────────────────────────────────────────────────────────────────────────────────────────────────────────


def encode(message: Mapping[str, Any]) -> bytes:
    return json.dumps(message, ensure_ascii=False, separators=(",", ":")).encode("utf-8", "replace")


def accepted(worker: str, position: int) -> dict[str, Any]:
    return {"type": "accepted", "worker": worker, "queue_position": position}


def loading(worker: str, event: Loading) -> dict[str, Any]:
    told = {"message": event.message, "progress": round(event.progress, 3)}
    return {"type": "loading", "worker": worker} | told


def done(seq: int, reply: ChatReply) -> dict[str, Any]:
    return {"type": "done", "seq": seq} | reply.to_dict()


def failed(error: LLMError) -> dict[str, Any]:
    """An error. A full queue is `busy` here: a device need not know of queues."""
    code = "busy" if error.code == "queue_full" else error.code
    message: dict[str, Any] = {"type": "error", "code": code, "message": error.message}
    param = getattr(error, "param", None)
    if param is not None:
        message["param"] = param
    if error.retry_after is not None:
        message["retry_after"] = round(error.retry_after, 1)
    elif code in RETRY_SECONDS:
        message["retry_after"] = RETRY_SECONDS[code]
    return message


RETRY_SECONDS = {"busy": 5.0, "session_busy": 1.0, "model_loading": 15.0, "shutting_down": 5.0, "rate_limited": 5.0}
"""Seconds after which to try again where the error itself does not say."""
