"""Rows in and out: the statements that the store's transactions are made of."""

from __future__ import annotations

from collections import defaultdict
from collections.abc import Iterable, Sequence
from dataclasses import asdict
from itertools import takewhile
from typing import Any

from sqlalchemy import ColumnElement, Connection, CursorResult, RowMapping, insert, null, select, update

from llm_core.errors import SessionChanged, SessionNotFound
from llm_core.events import Done, event_from_dict, event_to_dict
from llm_core.messages import Message
from llm_core.sessions.exchange import reply_messages
from llm_core.sessions.records import NumberedEvent, Turn
from llm_core.sessions.schema import messages, sessions, stream_events, turns


def find_session(connection: Connection, owner: str, session_id: str) -> RowMapping | None:
    """The row of a session, which no other process changes or deletes before this transaction ends."""
    query = select(sessions).where(sessions.c.owner == owner, sessions.c.session_id == session_id)
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
        .where(turns.c.stream_id == stream_id, sessions.c.owner == owner)
    )
    return connection.execute(query).mappings().first()


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
    connection: Connection, session: int, stream_id: str, worker: str, now: float, *, replaces: int | None = None
) -> int:
    row = {
        "session": session,
        "stream_id": stream_id,
        "status": "running",
        "worker": worker,
        "heartbeat_at": now,
        "created_at": now,
        "replaces": replaces,
    }
    return _key(connection.execute(insert(turns).values(row)))


def place_of_turn(connection: Connection, session: int, stream_id: str) -> int:
    """The key of one of a session's turns; those after it have higher ones.

    Raises:
        SessionChanged: It has no such turn.
    """
    query = select(turns.c.id).where(turns.c.session == session, turns.c.stream_id == stream_id)
    place: int | None = connection.execute(query).scalar()
    if place is None:
        raise SessionChanged("The session does not have this turn any more. Look at it again.")
    return place


def raise_version(connection: Connection, session: int) -> int:
    """The session's new version, since a turn has come or gone."""
    raised = update(sessions).where(sessions.c.id == session).values(version=sessions.c.version + 1)
    return int(connection.execute(raised.returning(sessions.c.version)).scalar_one())


def _key(result: CursorResult[Any]) -> int:
    assert result.inserted_primary_key is not None
    return int(result.inserted_primary_key[0])


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


def load_turns(connection: Connection, session: int, *, before: int | None = None) -> tuple[Turn, ...]:
    """What was said in a session.

    Args:
        before: Only the turns before this one.
    """
    of_session = select(turns).where(turns.c.session == session, turns.c.replaces.is_(None)).order_by(turns.c.id)
    if before is not None:
        of_session = of_session.where(turns.c.id < before)
    rows = connection.execute(of_session).mappings().all()
    by_turn: defaultdict[int, list[Message]] = defaultdict(list)
    in_turns = select(messages).join(turns, turns.c.id == messages.c.turn).where(turns.c.session == session)
    for row in connection.execute(in_turns.order_by(messages.c.id)).mappings():
        by_turn[row["turn"]].append(_message(row))
    for row in rows:
        if row["status"] == "running":
            by_turn[row["id"]].extend(reply_messages(event for _, event in load_events(connection, row["id"])))
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
        )
        for row in rows
    )


def _message(row: RowMapping) -> Message:
    return Message(**{name: row[name] for name in Message.model_fields})


def figures_of(done: Done) -> dict[str, Any]:
    figures: dict[str, Any] = {"usage": asdict(done.usage), "timings": asdict(done.timings)}
    remarks = {"dropped_messages": done.dropped_messages, "model": done.model}
    return figures | {name: value for name, value in remarks.items() if value}
