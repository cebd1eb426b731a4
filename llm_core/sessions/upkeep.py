"""What a database of sessions needs from time to time: turns that nobody ends are ended, what is old is forgotten."""

from __future__ import annotations

import time

from sqlalchemy import ColumnElement, Connection, RowMapping, delete, select, update

from llm_core.errors import ReplyInterrupted, SessionBusy
from llm_core.sessions.exchange import reply_messages
from llm_core.sessions.rows import check_version, get_session, insert_messages, is_idle, is_kept, load_events
from llm_core.sessions.schema import sessions, stream_events, turns
from llm_core.sessions.worker import is_gone

EVENTS_KEPT_SECONDS = 3600.0  # how long an ended stream can still be read from any of its events on
_INTERRUPTED = "The server ended while it made this reply. What had been saved of it is kept."


Deleted = list[tuple[str, str]]
"""The owners and ids of sessions."""


def forget_old(connection: Connection, now: float, *, session_days: float) -> Deleted:
    """Forgets what is kept for a time only.

    Args:
        session_days: Days after which an unused session is deleted. 0: never.
    """
    old = select(turns.c.id).where(turns.c.ended_at < now - EVENTS_KEPT_SECONDS)
    connection.execute(delete(stream_events).where(stream_events.c.turn.in_(old)))
    deleted = forget_deleted(connection, now)
    if session_days:
        deleted += _delete(connection, sessions.c.updated_at < now - session_days * 86_400)
    return deleted


def forget_deleted(connection: Connection, now: float) -> Deleted:
    """Forgets the sessions that were deleted and cannot be taken back any more."""
    return _delete(connection, sessions.c.forget_at <= now)


def forget_session(connection: Connection, owner: str, session_id: str) -> Deleted:
    """Forgets a session that was deleted, though it could still be taken back: its name is wanted."""
    return _delete(connection, sessions.c.owner == owner, sessions.c.session_id == session_id, ~is_kept())


def make_room(connection: Connection, owner: str, session_limit: int) -> Deleted:
    """Forgets an owner's sessions that were used least recently, so that one more is within the limit. Pinned ones go
    last.

    Args:
        session_limit: 0: any number.
    """
    if not session_limit:
        return []
    kept = (
        select(sessions.c.id)
        .where(sessions.c.owner == owner, is_kept())
        .order_by(sessions.c.pinned.desc(), sessions.c.updated_at.desc(), sessions.c.id.desc())
        .limit(session_limit - 1)
    )
    return _delete(connection, sessions.c.owner == owner, is_kept(), sessions.c.id.not_in(kept))


def _delete(connection: Connection, *which: ColumnElement[bool]) -> Deleted:
    found = connection.execute(select(sessions.c.owner, sessions.c.session_id).where(*which, is_idle())).all()
    if found:
        connection.execute(delete(sessions).where(*which, is_idle()))
    return [(owner, session_id) for owner, session_id in found]


def get_idle(connection: Connection, owner: str, session_id: str, version: int | None = None) -> RowMapping:
    """The row of a session in which no reply is being made.

    Args:
        version: The session that the caller has seen; None for any.

    Raises:
        SessionNotFound: This owner has no such session.
        SessionBusy: A reply is being made in it.
        SessionChanged: It has another version.
    """
    found = get_session(connection, owner, session_id)
    end_orphans(connection, found["id"], time.time())
    running = select(turns.c.id).where(turns.c.session == found["id"], turns.c.status == "running")
    if connection.execute(running).first():
        raise SessionBusy(f"A reply is being made in session {session_id!r}. Stop it first.")
    check_version(found["version"], version)
    return found


def end_orphans(connection: Connection, session: int, now: float) -> bool:
    """Ends the running turn of a session whose process has gone, with what was saved of it. Whether there was.

    One that was to take the place of others and was not admitted yet is forgotten: they are still there.
    """
    running = select(turns).where(turns.c.session == session, turns.c.status == "running").with_for_update()
    turn = connection.execute(running).mappings().first()
    if turn is None or not is_gone(turn["worker"], turn["heartbeat_at"], now):
        return False
    if turn["set_aside"] is not None:
        connection.execute(delete(turns).where(turns.c.id == turn["id"]))
        return True
    replies = reply_messages(event for _, event in load_events(connection, turn["id"]))
    insert_messages(connection, turn["id"], replies)
    ended = {
        "status": "interrupted",
        "error_code": ReplyInterrupted.code,
        "error_message": _INTERRUPTED,
        "ended_at": now,
    }
    connection.execute(update(turns).where(turns.c.id == turn["id"]).values(ended))
    return True
