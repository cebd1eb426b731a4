"""Turns that doorways find by their ids, with what those keep of them; sessions that begin empty, or as a copy.

Every query has the owner in it, and another owner's turn does not exist. Blocking calls, safe from any thread.
"""

from __future__ import annotations

import time
import uuid
from collections.abc import Callable, Iterable, Sequence
from dataclasses import dataclass, replace
from typing import Any

from sqlalchemy import Connection, Engine, RowMapping, delete, insert, select, update

from llm_core.errors import SessionBusy, StreamNotFound
from llm_core.messages import Message
from llm_core.sessions.branches import end_way, from_the_first, last_turn, way_to
from llm_core.sessions.database import hold, storage_errors
from llm_core.sessions.records import Session, Turn
from llm_core.sessions.rows import (
    find_turn,
    get_session,
    get_turn,
    hold_session_of,
    insert_messages,
    insert_session,
    insert_turn,
    load_turns,
    raise_version,
    session_of,
)
from llm_core.sessions.schema import session_notes, sessions, turn_notes, turns
from llm_core.sessions.upkeep import end_orphans, get_idle, make_room

Note = dict[str, Any]


@dataclass(frozen=True, slots=True)
class FoundTurn:
    """A turn, and where it is.

    Attributes:
        session: With the turns up to this one, whether they were set aside or not.
        is_last: The session ends with it.
        note: What was kept with it; None: nothing.
    """

    session: Session
    is_last: bool
    note: Note | None

    @property
    def turn(self) -> Turn:
        return self.session.turns[-1]


class TurnStore:
    """Single turns of one database.

    Args:
        engine, session_limit, forget: As of `SessionStore`.
        worker: The name of this process.
    """

    def __init__(self, engine: Engine, *, session_limit: int, forget: Callable[[str, str], None], worker: str) -> None:
        self._engine, self._session_limit, self._forget, self._worker = engine, session_limit, forget, worker

    # ── turns ────────────────────────────────────────────────────────────────────────────────────────────────────────

    def find(self, owner: str, stream_id: str) -> FoundTurn:
        """A turn, in its session.

        Raises:
            StreamNotFound: This owner has no such turn, or it was forgotten.
        """
        with storage_errors(), self._engine.begin() as connection:
            turn, note = _get_turn(connection, owner, stream_id)
            row = get_session(connection, owner, turn["session_id"])
            end_orphans(connection, row["id"], time.time())
            way = way_to(connection, row["id"], turn["id"])
            found = load_turns(connection, row["id"], turns.c.id.in_(way))
            is_last = last_turn(connection, row["id"]) == turn["id"]
        return FoundTurn(session_of(row, found), is_last, note)

    def keep(self, owner: str, stream_id: str, note: Note) -> None:
        """Keeps a note with a turn; where that was refused, and is there no more, with none."""
        with storage_errors(), self._engine.begin() as connection:
            turn = _hold_turn(connection, owner, stream_id)
            if turn is not None:
                connection.execute(insert(turn_notes).values(turn=turn["id"], note=note))

    def forget(self, owner: str, stream_id: str) -> None:
        """Forgets a turn. Where later ones go on from it, what was said in it stays for them until they are forgotten
        too; a session of which nothing is left goes with it, unless it was begun empty.

        Raises:
            StreamNotFound: This owner has no such turn, or nothing is kept with it.
            SessionBusy: Its reply is being made.
        """
        with storage_errors(), self._engine.begin() as connection:
            turn, note = _get_turn(connection, owner, stream_id)
            key = get_session(connection, owner, turn["session_id"])["id"]
            if turn["status"] == "running":
                raise SessionBusy("This reply is being made. Stop it first.")
            if note is None:
                raise StreamNotFound("There is no such turn.")
            connection.execute(update(turn_notes).where(turn_notes.c.turn == turn["id"]).values(note={}))
            notes = select(turns.c.id, turn_notes.c.note).outerjoin(turn_notes).where(turns.c.session == key)
            kept = set[int]()
            for row in connection.execute(notes.order_by(turns.c.id.desc())).all():
                if row.note != {} and row.id not in kept:
                    kept.update(way_to(connection, key, row.id))
            if connection.execute(delete(turns).where(turns.c.session == key, turns.c.id.not_in(kept))).rowcount:
                raise_version(connection, key)
            is_over = not kept and _session_note(connection, key) is None
            if is_over:
                connection.execute(delete(sessions).where(sessions.c.id == key))
        if is_over:
            self._forget(owner, turn["session_id"])

    def add(self, owner: str, session_id: str, said: Sequence[Message]) -> str:
        """Adds what was said elsewhere to a session, as a turn that nobody replies to.

        Returns:
            The stream of the turn.

        Raises:
            SessionNotFound: This owner has no such session.
            SessionBusy: A reply is being made in it.
        """
        now = time.time()
        with storage_errors(), self._engine.begin() as connection:
            key = get_idle(connection, owner, session_id)["id"]
            turn = _said(said, now)
            self._insert(connection, key, turn, after=last_turn(connection, key))
            connection.execute(update(sessions).where(sessions.c.id == key).values(updated_at=now))
        return turn.stream_id

    def cut(self, owner: str, session: Session, rest: Sequence[Message]) -> None:
        """Sets the last turn of a session aside. One with `rest` takes its place, where that is anything.

        Args:
            session: As the caller has seen it.

        Raises:
            SessionNotFound: This owner has no such session.
            SessionBusy: A reply is being made in it.
            SessionChanged: It is another one by now.
        """
        now = time.time()
        with storage_errors(), self._engine.begin() as connection:
            key = get_idle(connection, owner, session.session_id, session.version)["id"]
            end_way(connection, key, get_turn(connection, key, session.turns[-1].stream_id)["parent"])
            if rest:
                self._insert(connection, key, _said(rest, now), after=last_turn(connection, key))
            raise_version(connection, key)
            connection.execute(update(sessions).where(sessions.c.id == key).values(updated_at=now))

    # ── sessions ─────────────────────────────────────────────────────────────────────────────────────────────────────

    def begin_session(self, owner: str, session_id: str, title: str, note: Note) -> None:
        """Makes a session in which nothing was said yet.

        Args:
            session_id: A new one.
        """
        with storage_errors(), self._engine.begin() as connection:
            hold(connection, "open a turn")
            deleted = make_room(connection, owner, self._session_limit)
            key = insert_session(connection, owner, session_id, title, time.time())
            connection.execute(insert(session_notes).values(session=key, note=note))
        for each in deleted:
            self._forget(*each)

    def note_of(self, owner: str, session_id: str) -> Note:
        """What is kept with a session; nothing with one that was not begun empty.

        Raises:
            SessionNotFound: This owner has no such session.
        """
        with storage_errors(), self._engine.begin() as connection:
            return _session_note(connection, get_session(connection, owner, session_id)["id"]) or {}

    def set_note(self, owner: str, session_id: str, note: Note) -> None:
        """Keeps another note with a session.

        Raises:
            SessionNotFound: This owner has no such session.
        """
        with storage_errors(), self._engine.begin() as connection:
            key = get_session(connection, owner, session_id)["id"]
            connection.execute(delete(session_notes).where(session_notes.c.session == key))
            connection.execute(insert(session_notes).values(session=key, note=note))

    def copy(self, owner: str, found: FoundTurn, session_id: str) -> None:
        """Makes a session that begins with what was said up to a turn.

        Args:
            session_id: A new one.
        """
        said = tuple(replace(turn, is_set_aside=False) for turn in found.session.turns)
        self.add_session(owner, replace(found.session, turns=said), session_id)

    def add_session(self, owner: str, origin: Session, session_id: str, set_aside: Iterable[Turn] = ()) -> None:
        """Makes a session in which all was said that was said in another one, which may be nowhere in the database.

        Args:
            session_id: A new one.
            set_aside: The turns of the other one that are not what was said any more.
        """
        with storage_errors(), self._engine.begin() as connection:
            hold(connection, "open a turn")
            deleted = make_room(connection, owner, self._session_limit)
            key = insert_session(connection, owner, session_id, origin.title, time.time())
            own = {"system_prompt": origin.system_prompt, "model": origin.model, "settings": origin.settings}
            connection.execute(update(sessions).where(sessions.c.id == key).values(own))
            self._insert_tree(connection, key, tuple(from_the_first([*origin.turns, *set_aside])))
        for each in deleted:
            self._forget(*each)

    def _insert_tree(self, connection: Connection, session: int, found: Sequence[Turn]) -> None:
        """Turns from the first on, by new streams. What is set aside comes back with what last followed it."""
        newest = {turn.after: turn.stream_id for turn in found}
        keys: dict[str | None, int | None] = {None: None}
        left_with: dict[str | None, int] = {}
        for turn in found:
            as_new = replace(turn, stream_id=uuid.uuid4().hex)
            key = keys[turn.stream_id] = self._insert(connection, session, as_new, after=keys[turn.after])
            if turn.is_set_aside:
                is_newest = newest[turn.after] == turn.stream_id
                first = left_with[turn.stream_id] = left_with.get(turn.after, key) if is_newest else key
                connection.execute(update(turns).where(turns.c.id == key).values(set_aside=first))

    def _insert(self, connection: Connection, session: int, turn: Turn, *, after: int | None) -> int:
        """A turn that has ended, after another one. Its events are lost."""
        key = insert_turn(connection, session, turn.stream_id, self._worker, turn.created_at, parent=after)
        ended = {
            "status": turn.status,
            "finish_reason": turn.finish_reason,
            "figures": turn.figures,
            "error_message": turn.error,
            "ended_at": turn.ended_at,
        }
        connection.execute(update(turns).where(turns.c.id == key).values(ended))
        insert_messages(connection, key, turn.messages)
        raise_version(connection, session)
        return key


def _said(messages: Sequence[Message], now: float) -> Turn:
    """A turn of what was said elsewhere."""
    return Turn(uuid.uuid4().hex, "complete", tuple(messages), None, None, None, now, now)


def _hold_turn(connection: Connection, owner: str, stream_id: str) -> RowMapping | None:
    """A turn in a session that no other process changes before this transaction ends."""
    turn = find_turn(connection, owner, stream_id)
    if turn is None or hold_session_of(connection, turn["id"]) is None:
        return None
    return find_turn(connection, owner, stream_id)  # another process may have forgotten it until then


def _get_turn(connection: Connection, owner: str, stream_id: str) -> tuple[RowMapping, Note | None]:
    turn = _hold_turn(connection, owner, stream_id)
    if turn is not None:
        note = connection.execute(select(turn_notes.c.note).where(turn_notes.c.turn == turn["id"])).scalar()
        if note != {}:
            return turn, note
    raise StreamNotFound("There is no such turn.")


def _session_note(connection: Connection, session: int) -> Note | None:
    return connection.execute(select(session_notes.c.note).where(session_notes.c.session == session)).scalar()
