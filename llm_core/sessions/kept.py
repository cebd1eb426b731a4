"""Sessions that are kept, in the database: looked at, listed, named, led another way, deleted and taken back.

Every query has the owner in it, and another owner's session does not exist. Blocking calls, safe from any thread.
"""

from __future__ import annotations

import time
from collections.abc import Callable

from sqlalchemy import ColumnElement, Engine, RowMapping, delete, func, or_, select, update

from llm_core.sessions.branches import choose, end_way, is_begun, on_the_way
from llm_core.sessions.database import ONLY_READS, hold, storage_errors
from llm_core.sessions.records import Session, SessionSummary, Turn
from llm_core.sessions.rows import get_session, get_turn, is_kept, load_turns, raise_version, session_of
from llm_core.sessions.schema import messages, sessions, turns
from llm_core.sessions.upkeep import Deleted, end_orphans, forget_deleted, get_idle


class KeptSessions:
    """What is kept of sessions in one database.

    Args:
        engine: Of `open_database`.
        forget: Called with the owner and the id of each session that is gone, whatever for.
    """

    def __init__(self, engine: Engine, forget: Callable[[str, str], None]) -> None:
        self._engine = engine
        self._reads = engine.execution_options(**{ONLY_READS: True})
        self._forget = forget

    def close(self) -> None:
        self._engine.dispose()

    @property
    def engine(self) -> Engine:
        """The database, for what else is kept in it."""
        return self._engine

    # ── reading ──────────────────────────────────────────────────────────────────────────────────────────────────────

    def session(self, owner: str, session_id: str) -> Session:
        """A session with all that was said in it.

        Raises:
            SessionNotFound: This owner has no such session.
        """
        found, loaded = self._load(owner, session_id)
        return session_of(found, loaded)

    def has(self, owner: str, session_id: str) -> bool:
        """Whether there is a session, also one that was deleted and can be taken back."""
        query = select(sessions.c.id).where(sessions.c.owner == owner, sessions.c.session_id == session_id)
        with storage_errors(), self._reads.connect() as connection:
            return connection.execute(query).first() is not None

    def whole(self, owner: str, session_id: str) -> tuple[Session, tuple[Turn, ...]]:
        """A session, and at the same moment its turns that are not what was said any more.

        Raises:
            SessionNotFound: This owner has no such session.
        """
        found, loaded = self._load(owner, session_id, is_begun())
        said = tuple(turn for turn in loaded if not turn.is_set_aside)
        return session_of(found, said), tuple(turn for turn in loaded if turn.is_set_aside)

    def _load(self, owner: str, session_id: str, *which: ColumnElement[bool]) -> tuple[RowMapping, tuple[Turn, ...]]:
        with storage_errors(), self._engine.begin() as connection:
            found = get_session(connection, owner, session_id)
            end_orphans(connection, found["id"], time.time())
            return found, load_turns(connection, found["id"], *which)

    def set_aside(self, owner: str, session_id: str) -> tuple[Turn, ...]:
        """The turns of a session that are not what was said any more: other versions, and what followed them.

        Raises:
            SessionNotFound: This owner has no such session.
        """
        with storage_errors(), self._engine.begin() as connection:
            found = get_session(connection, owner, session_id)
            return load_turns(connection, found["id"], ~on_the_way(), is_begun())

    def versions(self, owner: str, session_id: str, stream_id: str) -> tuple[Turn, ...]:
        """The turns that can stand at the place of one, the oldest first; that one alone where there are no others.

        Raises:
            SessionNotFound: This owner has no such session.
            SessionChanged: It has no such turn.
        """
        with storage_errors(), self._engine.begin() as connection:
            found = get_session(connection, owner, session_id)
            parent = get_turn(connection, found["id"], stream_id)["parent"]
            return load_turns(connection, found["id"], turns.c.parent.is_not_distinct_from(parent), is_begun())

    def list_sessions(
        self, owner: str, *, search: str = "", limit: int = 100, offset: int = 0
    ) -> tuple[SessionSummary, ...]:
        """An owner's sessions: pinned ones first, then the one used last.

        Args:
            search: Only those whose title or messages have this text, in any case.
        """
        of_session = (turns.c.session == sessions.c.id, on_the_way())
        count = select(func.count()).where(*of_session).scalar_subquery()
        busy = select(func.count()).where(turns.c.session == sessions.c.id, turns.c.status == "running")
        query = (
            select(sessions, count.label("turns"), busy.scalar_subquery().label("busy"))
            .where(sessions.c.owner == owner, is_kept())
            .order_by(sessions.c.pinned.desc(), sessions.c.updated_at.desc(), sessions.c.id.desc())
            .limit(limit)
            .offset(offset)
        )
        if search:
            found = (
                select(messages.c.id)
                .join(turns, turns.c.id == messages.c.turn)
                .where(*of_session, messages.c.content.icontains(search, autoescape=True))
            )
            query = query.where(or_(sessions.c.title.icontains(search, autoescape=True), found.exists()))
        with storage_errors(), self._reads.connect() as connection:
            rows = connection.execute(query).mappings().all()
        fields = ("session_id", "title", "turns", "created_at", "updated_at", "pinned")
        return tuple(SessionSummary(**{name: row[name] for name in fields}, busy=bool(row["busy"])) for row in rows)

    # ── changing ─────────────────────────────────────────────────────────────────────────────────────────────────────

    def rename(self, owner: str, session_id: str, title: str) -> None:
        """Gives a session another title.

        Raises:
            SessionNotFound: This owner has no such session.
        """
        self._change(owner, session_id, title=title)

    def pin(self, owner: str, session_id: str, pinned: bool) -> None:
        """Has a session stand before those that are not pinned, or no more.

        Raises:
            SessionNotFound: This owner has no such session.
        """
        self._change(owner, session_id, pinned=pinned)

    def _change(self, owner: str, session_id: str, **values: str | bool) -> None:
        with storage_errors(), self._engine.begin() as connection:
            key = get_session(connection, owner, session_id)["id"]
            connection.execute(update(sessions).where(sessions.c.id == key).values(values))

    def take_back(self, owner: str, session_id: str, stream_id: str, *, version: int | None = None) -> None:
        """Sets aside a turn and all after it: the conversation ends before them.

        Args:
            version: The session that the caller has seen; None for any.

        Raises:
            SessionNotFound: This owner has no such session.
            SessionBusy: A reply is being made in it.
            SessionChanged: It has another version, or no such turn.
        """
        with storage_errors(), self._engine.begin() as connection:
            found = get_idle(connection, owner, session_id, version)
            turn = get_turn(connection, found["id"], stream_id)
            choose(connection, found["id"], turn["id"])
            end_way(connection, found["id"], turn["parent"])
            raise_version(connection, found["id"])

    def choose(self, owner: str, session_id: str, stream_id: str, *, version: int | None = None) -> None:
        """Leads the conversation to a turn that was set aside, and on to what last followed it.

        Args:
            version: The session that the caller has seen; None for any.

        Raises:
            SessionNotFound: This owner has no such session.
            SessionBusy: A reply is being made in it.
            SessionChanged: It has another version, or no such turn.
        """
        with storage_errors(), self._engine.begin() as connection:
            found = get_idle(connection, owner, session_id, version)
            choose(connection, found["id"], get_turn(connection, found["id"], stream_id)["id"])
            raise_version(connection, found["id"])

    def delete(self, owner: str, session_id: str, *, forget_at: float | None = None) -> None:
        """Deletes a session.

        Args:
            forget_at: Until then `restore` takes that back; None: it is forgotten at once.

        Raises:
            SessionNotFound: This owner has no such session.
            SessionBusy: A reply is being made in it.
        """
        with storage_errors(), self._engine.begin() as connection:
            key = get_idle(connection, owner, session_id)["id"]
            if forget_at is not None:
                connection.execute(update(sessions).where(sessions.c.id == key).values(forget_at=forget_at))
                return
            connection.execute(delete(sessions).where(sessions.c.id == key))
        self._forget(owner, session_id)

    def restore(self, owner: str, session_id: str) -> None:
        """Takes the deletion of a session back, which is possible for a time.

        Raises:
            SessionNotFound: This owner has no such session, or none any more.
        """
        deleted = (sessions.c.owner == owner, sessions.c.session_id == session_id, sessions.c.forget_at > time.time())
        with storage_errors(), self._engine.begin() as connection:
            connection.execute(update(sessions).where(*deleted).values(forget_at=None))
            get_session(connection, owner, session_id)

    def forget_deleted(self) -> None:
        """Forgets the sessions whose deletion cannot be taken back any more."""
        with storage_errors(), self._engine.begin() as connection:
            hold(connection, "open a turn")
            deleted = forget_deleted(connection, time.time())
        self._forget_all(deleted)

    def _forget_all(self, deleted: Deleted) -> None:
        for owner, session_id in deleted:
            self._forget(owner, session_id)
