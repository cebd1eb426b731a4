"""What was said, in the database: every query has the owner in it, and another owner's session does not exist.

Blocking calls, safe from any thread. What the user said is on the disk when `open_turn` returns.
"""

from __future__ import annotations

import time
import uuid
from collections.abc import Callable, Iterable, Sequence

from sqlalchemy import Connection, Engine, RowMapping, delete, func, or_, select, update
from sqlalchemy.exc import IntegrityError

from llm_core.errors import LLMError, SessionBusy, SessionChanged, StreamNotFound, error_of
from llm_core.events import Done
from llm_core.messages import Message
from llm_core.sessions.database import ONLY_READS, hold, storage_errors
from llm_core.sessions.exchange import check_results, open_calls
from llm_core.sessions.records import (
    NumberedEvent,
    OpenTurn,
    ReaderSignals,
    Session,
    SessionSummary,
    StoredReply,
    TurnStatus,
)
from llm_core.sessions.rows import (
    figures_of,
    find_session,
    find_turn,
    get_session,
    hold_session_of,
    insert_events,
    insert_messages,
    insert_session,
    insert_turn,
    load_events,
    load_said,
    load_turns,
    place_of_turn,
    raise_version,
)
from llm_core.sessions.schema import messages, sessions, turns
from llm_core.sessions.upkeep import EVENTS_KEPT_SECONDS, end_orphans, forget_old, make_room
from llm_core.sessions.worker import this_worker

TITLE_CHARS = 60


class SessionStore:
    """Sessions in one database.

    Args:
        engine: Of `open_database`.
        session_limit: Sessions an owner may have; the one that was used least recently makes room. 0: any number.
        session_days: Days after which an unused session is deleted. 0: never.
        forget: Called with the owner and the id of each session that was deleted, whatever for.
    """

    def __init__(
        self,
        engine: Engine,
        *,
        session_limit: int = 0,
        session_days: float = 0,
        forget: Callable[[str, str], None] = lambda _owner, _session_id: None,
    ) -> None:
        self._engine = engine
        self._reads = engine.execution_options(**{ONLY_READS: True})
        self._session_limit, self._session_days = session_limit, session_days
        self._forget = forget
        self._worker = this_worker()

    def close(self) -> None:
        self._engine.dispose()

    # ── a turn ───────────────────────────────────────────────────────────────────────────────────────────────────────

    def open_turn(
        self,
        owner: str,
        session_id: str,
        *opening: Message,
        system_prompt: str | None,
        model: str | None = None,
        stream_id: str | None = None,
        version: int | None = None,
        replaces: str | None = None,
    ) -> OpenTurn:
        """Begins a turn and saves what is said. A user's message makes the session where there is none.

        Args:
            opening: The user's message, or the results of the calls of the last reply.
            system_prompt, model: Take the place of the session's own; None leaves that as it is.
            stream_id: Of the turn, new in this database; None makes one.
            version: The session that the caller has seen, 0 for one that does not exist; None for any.
            replaces: The stream of the turn whose place this one takes, with all after it, once `admit_turn` says so.

        Raises:
            SessionBusy: A reply is being made in it, by this process or another.
            SessionChanged: It has another version, or not the turn to replace.
            SessionNotFound: There are results, and this owner has no such session.
            InvalidRequest: They are not the results of the calls of the last reply.
            StorageFull, StorageError: Nothing was saved.
        """
        now = time.time()
        with storage_errors(), self._engine.begin() as connection:
            hold(connection, "open a turn")  # other processes make sessions and tidy up too
            deleted = forget_old(connection, now, session_days=self._session_days)
            are_results = opening[0].role == "tool"
            find = get_session if are_results else find_session
            found = find(connection, owner, session_id)
            seen = found["version"] if found is not None else 0
            _check_version(seen, version)
            if found is None:
                deleted += make_room(connection, owner, self._session_limit)
                key = insert_session(connection, owner, session_id, title_of(opening[0].content), now)
            else:
                key = found["id"]
                system_prompt = found["system_prompt"] if system_prompt is None else system_prompt
                model = model or found["model"]
                end_orphans(connection, key, now)
            place = None if replaces is None else place_of_turn(connection, key, replaces)
            earlier = load_turns(connection, key, before=place)
            stream_id = stream_id or uuid.uuid4().hex
            try:
                turn = insert_turn(connection, key, stream_id, self._worker, now, replaces=place)
            except IntegrityError:
                raise SessionBusy(
                    f"A reply is already being made in session {session_id!r}. Wait for it or stop it."
                ) from None
            if are_results:
                check_results(opening, open_calls(earlier))
            insert_messages(connection, turn, opening)
            changed = {"updated_at": now, "system_prompt": system_prompt, "model": model}
            connection.execute(update(sessions).where(sessions.c.id == key).values(changed))
            if place is None:
                seen = raise_version(connection, key)
        for each in deleted:
            self._forget(*each)
        is_first = found is None
        return OpenTurn(
            turn, stream_id, session_id, system_prompt, model, earlier, is_first, seen, replaces=place is not None
        )

    def admit_turn(self, turn: OpenTurn) -> int:
        """The turns whose place it takes go away, in the moment in which it becomes one of what was said.

        Returns:
            The session's version from now on.
        """
        with storage_errors(), self._engine.begin() as connection:
            session = hold_session_of(connection, turn.key)
            place = connection.execute(select(turns.c.replaces).where(turns.c.id == turn.key)).scalar()
            if session is None or place is None:
                return turn.version
            replaced = (turns.c.session == session, turns.c.id >= place, turns.c.id < turn.key)
            connection.execute(delete(turns).where(*replaced))
            connection.execute(update(turns).where(turns.c.id == turn.key).values(replaces=None))
            return raise_version(connection, session)

    def checkpoint(self, turn: int, events: Sequence[NumberedEvent]) -> ReaderSignals:
        """Saves the newest events of a running turn, and that it still runs.

        Args:
            events: Those since the last time, maybe none.

        Returns:
            What readers on other processes want of it.
        """
        still_running = update(turns).where(turns.c.id == turn, turns.c.status == "running")
        beat = still_running.values(heartbeat_at=time.time()).returning(turns.c.stop_wanted, turns.c.followed_at)
        with storage_errors(), self._engine.begin() as connection:
            row = connection.execute(beat).first()
            if row is None:
                return ReaderSignals(stop=True)  # another process took this one for dead, and has ended the turn
            insert_events(connection, turn, events)
        return ReaderSignals(stop=row.stop_wanted, followed_at=row.followed_at)

    def end_turn(
        self,
        turn: int,
        events: Sequence[NumberedEvent],
        replies: Iterable[Message],
        *,
        status: TurnStatus,
        done: Done | None,
        error: LLMError | None,
    ) -> None:
        """Saves the rest of a turn. The session stays where it is in the list: it was used when the turn began.

        Args:
            events: Those that no checkpoint has saved.
            replies: What came of it, as far as it came.
            done: How the reply ended, where it ended by itself.
            error: Why it failed, where it did.
        """
        now = time.time()
        with storage_errors(), self._engine.begin() as connection:
            hold_session_of(connection, turn)
            ended = {
                "status": status,
                "finish_reason": done.finish_reason if done else None,
                "figures": figures_of(done) if done else None,
                "error_code": error.code if error else None,
                "error_message": error.message if error else None,
                "ended_at": now,
            }
            still_running = update(turns).where(turns.c.id == turn, turns.c.status == "running")
            if not connection.execute(still_running.values(ended)).rowcount:
                return  # another process took this one for dead, and has ended the turn with what was saved
            insert_events(connection, turn, events)
            insert_messages(connection, turn, replies)

    def discard_turn(self, turn: OpenTurn) -> int:
        """Forgets a turn that was refused before it began, and the session that was made for it.

        Returns:
            The session's version from now on, 0 where there is none.
        """
        with storage_errors(), self._engine.begin() as connection:
            session = hold_session_of(connection, turn.key)
            connection.execute(delete(turns).where(turns.c.id == turn.key))
            if turn.is_first or session is None:
                connection.execute(delete(sessions).where(sessions.c.id == session))
                return 0
            return turn.version if turn.replaces else raise_version(connection, session)

    # ── reading ──────────────────────────────────────────────────────────────────────────────────────────────────────

    def session(self, owner: str, session_id: str) -> Session:
        """A session with all that was said in it.

        Raises:
            SessionNotFound: This owner has no such session.
        """
        with storage_errors(), self._engine.begin() as connection:
            found = get_session(connection, owner, session_id)
            end_orphans(connection, found["id"], time.time())
            loaded = load_turns(connection, found["id"])
        fields = ("session_id", "title", "system_prompt", "model", "created_at", "updated_at", "version")
        return Session(**{name: found[name] for name in fields}, turns=loaded)

    def list_sessions(
        self, owner: str, *, search: str = "", limit: int = 100, offset: int = 0
    ) -> tuple[SessionSummary, ...]:
        """An owner's sessions, the one used last first.

        Args:
            search: Only those whose title or messages have this text, in any case.
        """
        of_session = (turns.c.session == sessions.c.id, turns.c.replaces.is_(None))
        count = select(func.count()).where(*of_session).scalar_subquery()
        busy = select(func.count()).where(turns.c.session == sessions.c.id, turns.c.status == "running")
        query = (
            select(sessions, count.label("turns"), busy.scalar_subquery().label("busy"))
            .where(sessions.c.owner == owner)
            .order_by(sessions.c.updated_at.desc(), sessions.c.id.desc())
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
        return tuple(
            SessionSummary(
                row["session_id"], row["title"], row["turns"], bool(row["busy"]), row["created_at"], row["updated_at"]
            )
            for row in rows
        )

    def reply(self, owner: str, stream_id: str, after: int = 0) -> StoredReply:
        """The events of a turn, as far as they are saved.

        Args:
            after: Only those that were saved together after this one.

        Raises:
            StreamNotFound: This owner has no such stream, or its events are not kept any more.
        """
        with storage_errors(), self._engine.begin() as connection:
            turn = find_turn(connection, owner, stream_id)
            if turn is not None and end_orphans(connection, turn["session"], time.time()):
                turn = find_turn(connection, owner, stream_id)
            if turn is None:
                raise StreamNotFound("There is no such stream.")
            saved = load_events(connection, turn["id"], after)
        if turn["ended_at"] is not None and turn["ended_at"] < time.time() - EVENTS_KEPT_SECONDS:
            raise StreamNotFound("This stream has ended some time ago. The session's history has the reply.")
        error = error_of(turn["error_code"], turn["error_message"]) if turn["error_code"] else None
        return StoredReply(stream_id, turn["session_id"], turn["status"], saved, error)

    def begun(self, owner: str, stream_id: str) -> tuple[str, tuple[Message, ...]] | None:
        """The session of a turn, and what it began with; None where this owner has no such turn."""
        with storage_errors(), self._reads.connect() as connection:
            turn = find_turn(connection, owner, stream_id)
            return None if turn is None else (turn["session_id"], load_said(connection, turn["id"]))

    def request_stop(self, owner: str, stream_id: str) -> None:
        """Has the process that makes a reply stop it, when it saves the next time."""
        self._signal_worker(owner, stream_id, stop_wanted=True)

    def mark_followed(self, owner: str, stream_id: str) -> None:
        """Tells the process that makes a reply that somebody reads it here."""
        self._signal_worker(owner, stream_id, followed_at=time.time())

    def _signal_worker(self, owner: str, stream_id: str, **signal: bool | float) -> None:
        of_owner = select(sessions.c.id).where(sessions.c.owner == owner)
        turn = update(turns).where(turns.c.stream_id == stream_id, turns.c.session.in_(of_owner))
        with storage_errors(), self._engine.begin() as connection:
            connection.execute(turn.values(signal))

    # ── changing ─────────────────────────────────────────────────────────────────────────────────────────────────────

    def rename(self, owner: str, session_id: str, title: str) -> None:
        """Gives a session another title.

        Raises:
            SessionNotFound: This owner has no such session.
        """
        with storage_errors(), self._engine.begin() as connection:
            key = get_session(connection, owner, session_id)["id"]
            connection.execute(update(sessions).where(sessions.c.id == key).values(title=title))

    def forget_from(self, owner: str, session_id: str, stream_id: str, *, version: int | None = None) -> None:
        """Forgets a turn and all after it.

        Args:
            version: The session that the caller has seen; None for any.

        Raises:
            SessionNotFound: This owner has no such session.
            SessionBusy: A reply is being made in it.
            SessionChanged: It has another version, or no such turn.
        """
        with storage_errors(), self._engine.begin() as connection:
            found = self._get_idle(connection, owner, session_id)
            _check_version(found["version"], version)
            place = place_of_turn(connection, found["id"], stream_id)
            connection.execute(delete(turns).where(turns.c.session == found["id"], turns.c.id >= place))
            raise_version(connection, found["id"])

    def delete(self, owner: str, session_id: str) -> None:
        """Forgets a session.

        Raises:
            SessionNotFound: This owner has no such session.
            SessionBusy: A reply is being made in it.
        """
        with storage_errors(), self._engine.begin() as connection:
            found = self._get_idle(connection, owner, session_id)
            connection.execute(delete(sessions).where(sessions.c.id == found["id"]))
        self._forget(owner, session_id)

    def _get_idle(self, connection: Connection, owner: str, session_id: str) -> RowMapping:
        found = get_session(connection, owner, session_id)
        end_orphans(connection, found["id"], time.time())
        running = select(turns.c.id).where(turns.c.session == found["id"], turns.c.status == "running")
        if connection.execute(running).first():
            raise SessionBusy(f"A reply is being made in session {session_id!r}. Stop it first.")
        return found


def _check_version(version: int, seen: int | None) -> None:
    if seen is not None and seen != version:
        raise SessionChanged("The session has changed since you saw it. Look at it again.")


def title_of(message: str) -> str:
    """A session's title: the beginning of its first message, cut between words."""
    text = " ".join(message.split())
    if len(text) <= TITLE_CHARS:
        return text
    cut = text[:TITLE_CHARS]
    return f"{cut.rsplit(' ', 1)[0]}…"
