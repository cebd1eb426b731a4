"""Turns that doorways begin in their own way: after another one in whatever session that is, with a note, or without a
trace."""

from __future__ import annotations

import asyncio
from collections.abc import AsyncGenerator, Sequence
from contextlib import aclosing, suppress
from typing import Unpack

from llm_core.errors import LLMError, SessionChanged, SessionNotFound
from llm_core.events import ChatEvent
from llm_core.messages import Message
from llm_core.options import RequestOptions
from llm_core.sessions.exchange import check_results, open_calls, prompt_messages, results_of
from llm_core.sessions.live import LiveReply
from llm_core.sessions.records import Turn
from llm_core.sessions.sessions import Sessions, unnumbered
from llm_core.sessions.turn_store import Note


class DoorOptions(RequestOptions, total=False):
    """Of a turn that a doorway begins in its own way; what they mean is in `Sessions.begin`."""

    stream_id: str
    opening: tuple[Message, ...]
    instructions: str | None
    goes_on: bool


def begin_after(sessions: Sessions, after: str, session_id: str, **options: Unpack[DoorOptions]) -> LiveReply:
    """Begins a turn after another one: in its session where that ends with it, else in a copy of the session up to it.

    Args:
        after: The stream of the turn that it follows.
        session_id: Of the copy, should one be made.
        options: Of `Sessions.begin`.

    Raises:
        StreamNotFound: This owner has no such turn.
        LLMError: All that `Sessions.begin` raises.
    """
    owner = options.get("owner", "")
    found = sessions.turns.find(owner, after)
    if found.is_last:
        try:
            return sessions.begin(found.session.session_id, version=found.session.version, **options)
        except SessionChanged:  # another turn was quicker to follow it
            found = sessions.turns.find(owner, after)
    sessions.turns.copy(owner, found, session_id)
    try:
        return sessions.begin(session_id, **options)
    except LLMError:
        sessions.delete(session_id, owner=owner)
        raise


def begin_kept(
    sessions: Sessions,
    note: Note,
    *,
    session_id: str | None = None,
    after: str | None = None,
    new_id: str = "",
    **options: Unpack[DoorOptions],
) -> LiveReply:
    """Begins a turn with which a note is kept: in a session that is there, after another turn, or in a new session.

    Args:
        new_id: Of the session, should one be made.
        options: Of `Sessions.begin`.

    Raises:
        SessionNotFound, StreamNotFound: This owner has no such session, or no such turn.
        LLMError: All that `Sessions.begin` raises.
    """
    owner = options.get("owner", "")
    if session_id is not None:
        session = sessions.get(session_id, owner=owner)
        reply = sessions.begin(session_id, version=session.version, **options)
    elif after is not None:
        reply = begin_after(sessions, after, new_id, **options)
    else:
        check_results(results_of(options.get("opening", ())), ())
        reply = sessions.begin(new_id, **options)
    sessions.turns.keep(owner, reply.stream_id, note)
    return reply


def said_after(
    sessions: Sessions, owner: str, after: str | None, opening: Sequence[Message], instructions: str | None
) -> list[Message]:
    """The conversation of a turn that leaves no trace.

    Args:
        after: The stream of the turn that it would follow; None: it is the first.
        instructions: In place of the session's system prompt.

    Raises:
        StreamNotFound: This owner has no such turn.
        InvalidRequest: A result belongs to no call.
    """
    earlier: tuple[Turn, ...] = ()
    if after is not None:
        session = sessions.turns.find(owner, after).session
        earlier, instructions = session.turns, session.system_prompt if instructions is None else instructions
    if results := results_of(opening):
        check_results(results, open_calls(earlier))
    before = [] if instructions is None else [Message(role="system", content=instructions)]
    return [*before, *prompt_messages(earlier, opening)]


async def events_for_door(
    sessions: Sessions, owner: str, reply: LiveReply, *, new_id: str, goes_on: bool
) -> AsyncGenerator[ChatEvent]:
    """The events of a turn that a doorway has begun.

    Where it is refused, the session that was made for it goes. One that goes on is told of with its first event, and
    stays from then on; any other ends when its reader leaves.

    Args:
        new_id: Of the session that may have been made.
    """
    try:
        async with aclosing(unnumbered(reply)) as events:
            async for event in events:
                if goes_on:
                    reply.keep()
                yield event
    except LLMError:
        if reply.discarded and reply.session_id == new_id:
            with suppress(SessionNotFound):
                await asyncio.to_thread(sessions.delete, reply.session_id, owner=owner)
        raise
    finally:
        if not goes_on:
            reply.cancel()
