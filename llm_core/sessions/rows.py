"""Rows in and out: the statements that the store's transactions are made of."""

from __future__ import annotations

from collections import defaultdict
from collections.abc import Iterable, Mapping, Sequence
from dataclasses import asdict
from itertools import takewhile
from typing import Any

from sqlalchemy import ColumnElement, Connection, CursorResult, RowMapping, delete, insert, null, select, update

from llm_core.errors import SessionChanged, SessionNotFound
from llm_core.events import Done, event_from_dict, event_to_dict
from llm_core.messages import Message
from llm_core.sessions.branches import is_begun, load_versions, on_the_way
from llm_core.sessions.exchange import reply_messages
from llm_core.sessions.records import NumberedEvent, Session, Turn
from llm_core.sessions.schema import messages, sessions, stream_events, turns

EXCERPT_CHARS = 200  # on either side of what was searched for


def find_session(connection: Connection, owner: str, session_id: str) -> RowMapping | None:
    """The row of a session, which no other process changes or deletes before this transaction ends."""
    query = select(sessions).where(sessions.c.owner == owner, sessions.c.session_id == session_id, is_kept())
    return connection.execute(query.with_for_update()).mappings().first()


def get_session(connection: Connection, owner: str, session_id: str) -> RowMapping:
    found = find_session(connection, owner, session_id)
    if found is None:
        raise SessionNotFound(f"There is no session {session_id!r}.")
    return found


def hold_session_of(connection: Connection, turn: int) -> int | None:
    """The session of a turn, which no other process changes before this transaction ends.

    Whoever changes both locks the session first, then the turn: otherwise two processes could wait for each other.
    """
    query = select(sessions.c.id).join(turns, turns.c.session == sessions.c.id).where(turns.c.id == turn)
    return connection.execute(query.with_for_update(of=sessions)).scalar()


def find_turn(connection: Connection, owner: str, stream_id: str) -> RowMapping | None:
    """The row of a turn, with the `session_id` of its session."""
    query = (
        select(turns, sessions.c.session_id)
        .join(sessions, sessions.c.id == turns.c.session)
        .where(turns.c.stream_id == stream_id, sessions.c.owner == owner, is_kept())
    )
    return connection.execute(query).mappings().first()


def session_of(row: RowMapping, said: tuple[Turn, ...]) -> Session:
    """The session of a row, with some of its turns."""
    fields = ("session_id", "title", "system_prompt", "model", "created_at", "updated_at", "version", "settings")
    return Session(**{name: row[name] for name in fields}, turns=said)


def insert_session(
    connection: Connection,
    owner: str,
    session_id: str,
    title: str,
    now: float,
) -> int:
    row = {
        "owner": owner,
        "session_id": session_id,
        "title": title,
        "created_at": now,
        "updated_at": now,
    }
    return _key(connection.execute(insert(sessions).values(row)))


def insert_turn(
    connection: Connection, session: int, stream_id: str, worker: str, now: float, *, parent: int | None
) -> int:
    """A running turn after `parent`. It is on the way."""
    row = {
        "session": session,
        "stream_id": stream_id,
        "status": "running",
        "worker": worker,
        "heartbeat_at": now,
        "created_at": now,
        "parent": parent,
    }
    return _key(connection.execute(insert(turns).values(row)))


def get_turn(connection: Connection, session: int, stream_id: str) -> RowMapping:
    """One of a session's turns, whether it is on the way or was set aside: its `id` and its `parent`.

    Raises:
        SessionChanged: It has no such turn.
    """
    query = select(turns.c.id, turns.c.parent).where(turns.c.session == session, turns.c.stream_id == stream_id)
    found = connection.execute(query.where(is_begun())).mappings().first()
    if found is None:
        raise SessionChanged("The session does not have this turn any more. Look at it again.")
    return found


def raise_version(connection: Connection, session: int) -> int:
    """The session's new version, since a turn has come or gone."""
    raised = update(sessions).where(sessions.c.id == session).values(version=sessions.c.version + 1)
    return int(connection.execute(raised.returning(sessions.c.version)).scalar_one())


def check_version(version: int, seen: int | None) -> None:
    if seen is not None and seen != version:
        raise SessionChanged("The session has changed since you saw it. Look at it again.")


def _key(result: CursorResult[Any]) -> int:
    assert result.inserted_primary_key is not None
    return int(result.inserted_primary_key[0])


def is_kept() -> ColumnElement[bool]:
    """Of a session that was not deleted."""
    return sessions.c.forget_at.is_(None)


def is_idle() -> ColumnElement[bool]:
    running = select(turns.c.id).where(turns.c.session == sessions.c.id, turns.c.status == "running")
    return ~running.exists()


def insert_events(connection: Connection, turn: int, events: Sequence[NumberedEvent]) -> None:
    if events:
        row = {
            "turn": turn,
            "first_id": events[0][0],
            "events": [[number, event_to_dict(event)] for number, event in events],
        }
        # They are there already where they were saved, and the connection broke before that was heard.
        same = (stream_events.c.turn == turn, stream_events.c.first_id == row["first_id"])
        connection.execute(delete(stream_events).where(*same))
        connection.execute(insert(stream_events).values(row))


def insert_messages(connection: Connection, turn: int, new: Iterable[Message]) -> None:
    for message in new:
        row = {
            "turn": turn,
            "role": message.role,
            "content": message.content,
            "reasoning": message.reasoning,
            "tool_calls": [call.model_dump() for call in message.tool_calls] if message.tool_calls else null(),
            "tool_call_id": message.tool_call_id,
            "attachments": [each.model_dump() for each in message.attachments] if message.attachments else null(),
        }
        connection.execute(insert(messages).values(row))


def load_events(connection: Connection, turn: int, after: int = 0) -> tuple[NumberedEvent, ...]:
    """The saved events of a turn.

    Args:
        after: Only batches that begin after this event.
    """
    of_turn = select(stream_events.c.events).where(stream_events.c.turn == turn, stream_events.c.first_id > after)
    query = of_turn.order_by(stream_events.c.first_id)
    batches = connection.execute(query).scalars()
    return tuple((number, event_from_dict(data)) for batch in batches for number, data in batch)


def load_said(connection: Connection, turn: int) -> tuple[Message, ...]:
    """What a turn began with: the user's message, or results of calls."""
    query = select(messages).where(messages.c.turn == turn).order_by(messages.c.id)
    kept = [_message(row) for row in connection.execute(query).mappings()]
    return tuple(takewhile(lambda message: message.role != "assistant", kept))


def find_messages(connection: Connection, owner: str, text: str, limit: int) -> list[dict[str, str]]:
    """An owner's messages that have a text, in any case, the newest first: where, who said it, and what is around."""
    query = (
        select(sessions.c.session_id, sessions.c.title, messages.c.role, messages.c.content)
        .join(turns, turns.c.id == messages.c.turn)
        .join(sessions, sessions.c.id == turns.c.session)
        .where(sessions.c.owner == owner, on_the_way(), is_kept())
        .where(messages.c.content.icontains(text, autoescape=True))
        .order_by(messages.c.id.desc())
        .limit(limit)
    )
    rows = connection.execute(query).mappings()
    return [{**row, "content": excerpt(row["content"], text)} for row in rows]


def excerpt(content: str, text: str) -> str:
    """The first place of a text in a longer one, with what is around it."""
    place = max(0, content.lower().find(text.lower()))
    first, end = max(0, place - EXCERPT_CHARS), place + len(text) + EXCERPT_CHARS
    return f"{'…' if first else ''}{content[first:end]}{'…' if end < len(content) else ''}"


def load_turns(connection: Connection, session: int, *which: ColumnElement[bool]) -> tuple[Turn, ...]:
    """What was said in a session, oldest first.

    Args:
        which: Of its turns; those on the way where nothing is said.
    """
    which = (turns.c.session == session, *(which or (on_the_way(),)))
    rows = connection.execute(select(turns).where(*which).order_by(turns.c.id)).mappings().all()
    by_turn: defaultdict[int, list[Message]] = defaultdict(list)
    in_turns = select(messages).join(turns, turns.c.id == messages.c.turn).where(*which)
    for row in connection.execute(in_turns.order_by(messages.c.id)).mappings():
        by_turn[row["turn"]].append(_message(row))
    for row in rows:
        if row["status"] == "running":
            by_turn[row["id"]].extend(reply_messages(event for _, event in load_events(connection, row["id"])))
    versions = load_versions(connection, session)
    streams = select(turns.c.id, turns.c.stream_id).where(turns.c.session == session)
    stream_of: dict[int | None, str] = dict(connection.execute(streams).all())
    return tuple(
        Turn(
            row["stream_id"],
            row["status"],
            tuple(by_turn[row["id"]]),
            row["finish_reason"],
            row["figures"],
            row["error_message"],
            row["created_at"],
            row["ended_at"],
            after=stream_of.get(row["parent"]),
            is_set_aside=row["set_aside"] is not None,
            versions=versions.get(row["id"], ()),
        )
        for row in rows
    )


def _message(row: RowMapping) -> Message:
    return Message(**{name: row[name] for name in Message.model_fields})


def figures_of(done: Done, asked: Mapping[str, Any] | None) -> dict[str, Any]:
    figures: dict[str, Any] = {"usage": asdict(done.usage), "timings": asdict(done.timings)}
    remarks = {
        "dropped_messages": done.dropped_messages,
        "model": done.model,
        "awaiting_approval": list(done.awaiting_approval),
        "asked": done.awaiting_approval and asked,
    }
    return figures | {name: value for name, value in remarks.items() if value}
