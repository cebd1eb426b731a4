"""What was said, in the database: every query has the owner in it, and another owner's session does not exist.

Blocking calls, safe from any thread. What the user said is on the disk when `open_turn` returns.
"""

from __future__ import annotations

import time
import uuid
from collections.abc import Callable, Iterable, Mapping, Sequence
from typing import Any

from sqlalchemy import Connection, Engine, delete, select, update
from sqlalchemy.exc import IntegrityError

from llm_core.errors import LLMError, SessionBusy, StreamNotFound, error_of
from llm_core.events import Done
from llm_core.messages import Message
from llm_core.sessions.asked import Asked
from llm_core.sessions.branches import choose, last_turn, way_to
from llm_core.sessions.database import hold, storage_errors
from llm_core.sessions.exchange import check_results, open_calls, results_of
from llm_core.sessions.kept import KeptSessions
from llm_core.sessions.records import NumberedEvent, OpenTurn, ReaderSignals, StoredReply, Turn, TurnStatus
from llm_core.sessions.rows import (
    check_version,
    figures_of,
    find_messages,
    find_session,
    find_turn,
    get_session,
    get_turn,
    hold_session_of,
    insert_events,
    insert_messages,
    insert_session,
    insert_turn,
    load_events,
    load_said,
    load_turns,
    raise_version,
)
from llm_core.sessions.schema import sessions, turns
from llm_core.sessions.turn_store import TurnStore
from llm_core.sessions.upkeep import EVENTS_KEPT_SECONDS, end_orphans, forget_old, forget_session, make_room
from llm_core.sessions.worker import this_worker

TITLE_CHARS = 60


class SessionStore(KeptSessions):
    """Sessions in one database, and the turns that are made in them.

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
        super().__init__(engine, forget)
        self._session_limit, self._session_days = session_limit, session_days
        self._worker = this_worker()
        self.turns = TurnStore(engine, session_limit=session_limit, forget=forget, worker=self._worker)

    # ── a turn ───────────────────────────────────────────────────────────────────────────────────────────────────────

    def open_turn(
        self,
        owner: str,
        session_id: str,
        *opening: Message,
        system_prompt: str | None,
        model: str | None = None,
        settings: Mapping[str, Any] | None = None,
        stream_id: str | None = None,
        version: int | None = None,
        replaces: str | None = None,
        after: str | None = None,
        decisions: int = 0,
    ) -> OpenTurn:
        """Begins a turn and saves what is said. A user's message makes the session where there is none.

        Args:
            opening: The user's message, or what else is said; first the results of the calls of the last reply.
            system_prompt, model, settings: Take the place of the session's own; None leaves that as it is.
            stream_id: Of the turn, new in this database; None makes one.
            version: The session that the caller has seen, 0 for one that does not exist; None for any.
            replaces: The stream of the turn whose place this one takes, with all after it, once `admit_turn` says so.
            after: The stream of the turn that this one follows; what followed it is set aside, once `admit_turn` says
                so. None: the last one.
            decisions: How many of the results, the last ones, say whether a call is made.

        Raises:
            SessionBusy: A reply is being made in it, by this process or another.
            SessionChanged: It has another version, or not the turn to replace or to follow.
            SessionNotFound: There are results, and this owner has no such session.
            InvalidRequest: They are not the results of the calls of the last reply.
            StorageFull, StorageError: Nothing was saved.
        """
        now = time.time()
        with storage_errors(), self._engine.begin() as connection:
            hold(connection, "open a turn")  # other processes make sessions and tidy up too
            deleted = forget_old(connection, now, session_days=self._session_days)
            results = results_of(opening)
            find = get_session if results else find_session
            found = find(connection, owner, session_id)
            seen = found["version"] if found is not None else 0
            check_version(seen, version)
            if found is None:
                deleted += forget_session(connection, owner, session_id)
                deleted += make_room(connection, owner, self._session_limit)
                key = insert_session(connection, owner, session_id, title_of(_first_words(opening)), now)
            else:
                key = found["id"]
                system_prompt = found["system_prompt"] if system_prompt is None else system_prompt
                model = model or found["model"]
                settings = found["settings"] if settings is None else settings
                end_orphans(connection, key, now)
            parent = _parent(connection, key, after=after, replaces=replaces)
            is_aside = parent != last_turn(connection, key)
            earlier = _load_way(connection, key, parent) if is_aside else load_turns(connection, key)
            stream_id = stream_id or uuid.uuid4().hex
            try:
                turn = insert_turn(connection, key, stream_id, self._worker, now, parent=parent)
            except IntegrityError:
                raise SessionBusy(
                    f"A reply is already being made in session {session_id!r}. Wait for it or stop it."
                ) from None
            if results:
                check_results(results, open_calls(earlier), decisions=decisions)
            insert_messages(connection, turn, opening)
            changed = {"updated_at": now, "system_prompt": system_prompt, "model": model, "settings": settings}
            connection.execute(update(sessions).where(sessions.c.id == key).values(changed))
            if is_aside:
                connection.execute(update(turns).where(turns.c.id == turn).values(set_aside=turn))
            else:
                seen = raise_version(connection, key)
        self._forget_all(deleted)
        is_first = found is None
        return OpenTurn(turn, stream_id, session_id, system_prompt, model, earlier, is_first, seen, replaces=is_aside)

    def admit_turn(self, turn: OpenTurn) -> int:
        """The turns whose place it takes are set aside, in the moment in which it becomes one of what was said.

        Returns:
            The session's version from now on.
        """
        with storage_errors(), self._engine.begin() as connection:
            session = hold_session_of(connection, turn.key)
            if session is None:
                return turn.version
            choose(connection, session, turn.key)
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
        asked: Asked | None = None,
    ) -> None:
        """Saves the rest of a turn. The session stays where it is in the list: it was used when the turn began.

        Args:
            events: Those that no checkpoint has saved.
            replies: What came of it, as far as it came.
            done: How the reply ended, where it ended by itself.
            error: Why it failed, where it did.
            asked: How it was asked, which is kept while calls of it wait for somebody to agree.
        """
        now = time.time()
        with storage_errors(), self._engine.begin() as connection:
            hold_session_of(connection, turn)
            ended = {
                "status": status,
                "finish_reason": done.finish_reason if done else None,
                "figures": figures_of(done, asked) if done else None,
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

    def search(self, owner: str, text: str, limit: int) -> list[dict[str, str]]:
        """An owner's messages that have a text, the newest first."""
        with storage_errors(), self._reads.connect() as connection:
            return find_messages(connection, owner, text, limit)

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


def _parent(connection: Connection, session: int, *, after: str | None, replaces: str | None) -> int | None:
    """The key of the turn that a new one follows."""
    if after is not None:
        return int(get_turn(connection, session, after)["id"])
    if replaces is not None:
        parent: int | None = get_turn(connection, session, replaces)["parent"]
        return parent
    return last_turn(connection, session)


def _load_way(connection: Connection, session: int, until: int | None) -> tuple[Turn, ...]:
    """The turns up to one, whether they were set aside or not."""
    if until is None:
        return ()
    way = way_to(connection, session, until)
    return load_turns(connection, session, turns.c.id.in_(way))


def _first_words(opening: Sequence[Message]) -> str:
    return next((message for message in opening if message.role == "user"), opening[0]).content


def title_of(message: str) -> str:
    """A session's title: the beginning of its first message, cut between words."""
    text = " ".join(message.split())
    if len(text) <= TITLE_CHARS:
        return text
    cut = text[:TITLE_CHARS]
    return f"{cut.rsplit(' ', 1)[0]}…"
