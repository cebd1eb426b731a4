"""Responses that are kept: each is a turn of a session, by whose stream it is named."""

from __future__ import annotations

import re
from collections.abc import Iterable, Iterator, Sequence
from contextlib import contextmanager, nullcontext, suppress
from typing import Unpack

from llm_core.errors import InvalidRequest, SessionNotFound, StreamNotFound
from llm_core.http.openai_responses.bodies import ResponsesBody
from llm_core.http.openai_responses.items import ITEM, JSON, Item, ReferenceItem, items_of, messages_of, place_of
from llm_core.messages import Message, parse_messages
from llm_core.options import RequestOptions
from llm_core.sessions.exchange import results_of
from llm_core.sessions.following import DoorOptions, begin_kept, said_after
from llm_core.sessions.live import LiveReply
from llm_core.sessions.records import Session
from llm_core.sessions.sessions import SESSION_ID_PATTERN, STREAM_ID_PATTERN, Sessions
from llm_core.sessions.turn_store import FoundTurn

PREFIX = "resp_"
_STREAM_ID, _SESSION_ID = re.compile(STREAM_ID_PATTERN), re.compile(SESSION_ID_PATTERN)


@contextmanager
def _stream_of(response_id: str) -> Iterator[str]:
    """The stream of the turn that a response is.

    Raises:
        StreamNotFound: No response has this id, or, in the block, this owner has no such turn.
    """
    stream_id = response_id.removeprefix(PREFIX)
    try:
        if response_id == stream_id or not _STREAM_ID.fullmatch(stream_id):
            raise StreamNotFound("There is no such turn.")
        yield stream_id
    except StreamNotFound:
        raise StreamNotFound(f"There is no response {response_id!r}.") from None


def find_response(sessions: Sessions, owner: str, response_id: str) -> tuple[FoundTurn, JSON, int]:
    """The turn that a response is, what the response repeats of its request, and with how many messages it began.

    Raises:
        StreamNotFound: This owner has no such response.
    """
    with _stream_of(response_id) as stream_id:
        found = sessions.turns.find(owner, stream_id)
        if found.note is None:
            raise StreamNotFound("This turn was begun through another doorway.")
    return found, found.note["head"], found.note["inputs"]


@contextmanager
def conversation_named(conversation_id: str) -> Iterator[str]:
    """The session that a conversation is.

    Raises:
        SessionNotFound: No conversation has this id, or, in the block, this owner has no such session.
    """
    try:
        if not _SESSION_ID.fullmatch(conversation_id):
            raise SessionNotFound("There is no such session.")
        yield conversation_id
    except SessionNotFound:
        raise SessionNotFound(f"There is no conversation {conversation_id!r}.") from None


def find_conversation(sessions: Sessions, owner: str, conversation_id: str) -> Session:
    """The session that a conversation is.

    Raises:
        SessionNotFound: This owner has no such conversation.
    """
    with conversation_named(conversation_id) as session_id:
        return sessions.get(session_id, owner=owner)


def opening_of(sessions: Sessions, owner: str, items: Iterable[Item]) -> tuple[Message, ...]:
    """What a response begins with: its input, with the items that it names.

    Raises:
        InvalidRequest: An item is not there, or a result belongs to no call.
    """
    opening = messages_of(_resolved(sessions, owner, item) for item in items)
    if said := opening[len(results_of(opening)) :]:
        parse_messages(said)
    return opening


def _resolved(sessions: Sessions, owner: str, item: Item) -> Item:
    if not isinstance(item, ReferenceItem):
        return item
    with suppress(StreamNotFound, IndexError):
        stream_id, number = place_of(item.id) or ("", 0)
        found: Item = ITEM.validate_python(
            items_of(sessions.turns.find(owner, stream_id).turn.messages, stream_id)[number]
        )
        return found
    raise InvalidRequest(f"input: there is no item {item.id!r}", param="input")


def messages_without_trace(
    sessions: Sessions, owner: str, body: ResponsesBody, opening: Sequence[Message]
) -> list[Message]:
    """The conversation of a response that is not kept.

    Raises:
        StreamNotFound, SessionNotFound: There is no such response to go on from, or no such conversation.
        InvalidRequest: A result belongs to no call.
    """
    if body.conversation is not None:
        session = find_conversation(sessions, owner, body.conversation)
        last = session.turns[-1].stream_id if session.turns else None
        prompt = session.system_prompt if body.instructions is None else body.instructions
        return said_after(sessions, owner, last, opening, prompt)
    with _stream_of(body.previous_response_id) if body.previous_response_id else nullcontext() as after:
        return said_after(sessions, owner, after, opening, body.instructions)


def begin(
    sessions: Sessions,
    body: ResponsesBody,
    opening: tuple[Message, ...],
    head: JSON,
    **options: Unpack[RequestOptions],
) -> LiveReply:
    """Begins a response that is kept: in its conversation, after the one that it goes on from, or in a new session.

    Raises:
        StreamNotFound, SessionNotFound: There is no such response or conversation.
        LLMError: All that `Sessions.begin` raises.
    """
    turn: DoorOptions = {
        **options,
        "opening": opening,
        "instructions": body.instructions,
        "goes_on": bool(body.background),
        "stream_id": head["id"].removeprefix(PREFIX),
    }
    note = {"head": head, "inputs": len(opening)}
    if body.conversation is not None:
        with conversation_named(body.conversation) as session_id:
            return begin_kept(sessions, note, session_id=session_id, **turn)
    with _stream_of(body.previous_response_id) if body.previous_response_id else nullcontext() as after:
        return begin_kept(sessions, note, new_id=head["id"], after=after, **turn)
