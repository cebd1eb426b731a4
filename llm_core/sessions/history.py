"""What was said in sessions, and what becomes of it: look, search, rename, pin, choose among versions, delete."""

from __future__ import annotations

import threading
import time
import uuid
from collections.abc import Callable

from sqlalchemy import Engine

from llm_core.errors import InvalidRequest
from llm_core.messages import parse_messages
from llm_core.sessions.database import open_database
from llm_core.sessions.forgetting import Forgetting
from llm_core.sessions.imported import MAX_TITLE_CHARS, ExportedSession
from llm_core.sessions.records import Session, SessionSummary, Turn
from llm_core.sessions.running import RunningReplies
from llm_core.sessions.store import SessionStore
from llm_core.sessions.turn_store import TurnStore
from llm_core.settings import Settings

MAX_SEARCH_CHARS = 200
MAX_LISTED = 500
Messages = list[dict[str, str]]  # here, where `list` is not a method


class SessionHistory:
    """The sessions of one database. Safe from any thread. Nothing is opened until the first use.

    Args:
        settings: Where the database is, and the limits.
        forget: Forgets what was kept for a session that is deleted: its owner and its id.
    """

    def __init__(self, settings: Settings, forget: Callable[[str, str], None]) -> None:
        self._settings, self._forget = settings, forget
        self._lock = threading.Lock()
        self._opened: SessionStore | None = None
        self._running = RunningReplies()
        self._forgetting = Forgetting(lambda: self._store().forget_deleted())

    def engine(self) -> Engine:
        """The database, for what else is kept in it. It is opened on first use."""
        return self._store().engine

    @property
    def turns(self) -> TurnStore:
        """Turns that are found by their ids."""
        return self._store().turns

    def get(self, session_id: str, *, owner: str = "") -> Session:
        """A session and what was said in it. Raises `SessionNotFound` where this owner has none, as all that follow."""
        return self._store().session(owner, session_id)

    def has(self, session_id: str, *, owner: str = "") -> bool:
        """Whether there is a session, also one that was deleted and can be taken back."""
        return self._store().has(owner, session_id)

    def whole(self, session_id: str, *, owner: str = "") -> tuple[Session, tuple[Turn, ...]]:
        """A session as `get` has it, and what `set_aside` has, both of one moment."""
        return self._store().whole(owner, session_id)

    def list(
        self, *, owner: str = "", search: str = "", limit: int = 100, offset: int = 0
    ) -> tuple[SessionSummary, ...]:
        """An owner's sessions, the one used last first.

        Args:
            search: Only those whose title or messages have this text, in any case.
            limit: 1 to 500.
        """
        limit, offset = max(1, min(limit, MAX_LISTED)), max(0, min(offset, 1_000_000))
        return self._store().list_sessions(owner, search=search[:MAX_SEARCH_CHARS], limit=limit, offset=offset)

    def search(self, text: str, *, owner: str = "", limit: int = 20) -> Messages:
        """An owner's messages that have a text, in any case, the newest first: `session_id`, `title`, `role`, and the
        place in the `content`.

        Args:
            limit: 1 to 500.
        """
        return self._store().search(owner, text[:MAX_SEARCH_CHARS], max(1, min(limit, MAX_LISTED)))

    def add(self, exported: ExportedSession, *, owner: str = "") -> str:
        """Keeps an exported session, with what was set aside in it, as a new one of this owner's.

        Returns:
            Its id.

        Raises:
            InvalidRequest: What was said in it is not allowed, or its turns are no tree.
        """
        session_id = uuid.uuid4().hex
        session, set_aside = exported.session(session_id)
        self._store().turns.add_session(owner, session, session_id, set_aside)
        return session_id

    def rename(self, session_id: str, title: str, *, owner: str = "") -> None:
        """Gives a session another title, of 1 to 200 characters.

        Raises:
            SessionNotFound: This owner has no such session.
            InvalidRequest: The title is empty or too long.
        """
        (checked,) = parse_messages([{"role": "user", "content": title}])
        title = " ".join(checked.content.split())
        if not 1 <= len(title) <= MAX_TITLE_CHARS:
            raise InvalidRequest(f"title: 1 to {MAX_TITLE_CHARS} characters", param="title")
        self._store().rename(owner, session_id, title)

    def pin(self, session_id: str, pinned: bool = True, *, owner: str = "") -> None:
        """Has a session stand before those that are not pinned, or no more."""
        self._store().pin(owner, session_id, pinned)

    def set_aside(self, session_id: str, *, owner: str = "") -> tuple[Turn, ...]:
        """The turns of a session that are not what was said any more: other versions, and what followed them."""
        return self._store().set_aside(owner, session_id)

    def versions(self, session_id: str, stream_id: str, *, owner: str = "") -> tuple[Turn, ...]:
        """The turns that can stand at the place of one, the oldest first; that one alone where there are no others.

        Raises:
            SessionNotFound: This owner has no such session.
            SessionChanged: It has no such turn.
        """
        return self._store().versions(owner, session_id, stream_id)

    def choose(self, session_id: str, stream_id: str, *, version: int | None = None, owner: str = "") -> None:
        """Has a session go on with a turn that was set aside, and with what last followed it. What stood in its place
        is set aside.

        Args:
            stream_id: Of the turn.
            version: The session that the caller has seen; None for any.

        Raises:
            SessionNotFound: This owner has no such session.
            SessionBusy: A reply is being made in it.
            SessionChanged: It has another version, or no such turn.
        """
        self._running.save_what_is_left(owner, session_id)
        self._store().choose(owner, session_id, stream_id, version=version)

    def take_back(self, session_id: str, stream_id: str, *, version: int | None = None, owner: str = "") -> None:
        """Sets aside a turn and all after it: the session ends before them.

        Args, Raises: As of `choose`.
        """
        self._running.save_what_is_left(owner, session_id)
        self._store().take_back(owner, session_id, stream_id, version=version)

    def delete(self, session_id: str, *, restorable_seconds: float = 0, owner: str = "") -> None:
        """Deletes a session.

        Args:
            restorable_seconds: How long `restore` can take that back; nobody sees it meanwhile. 0: it is forgotten
                at once.

        Raises:
            SessionNotFound: This owner has no such session.
            SessionBusy: A reply is being made in it.
        """
        self._running.save_what_is_left(owner, session_id)
        if restorable_seconds <= 0:
            self._store().delete(owner, session_id)
            return
        self._store().delete(owner, session_id, forget_at=time.time() + restorable_seconds)
        self._forgetting.after(restorable_seconds + 1)

    def restore(self, session_id: str, *, owner: str = "") -> None:
        """Takes the deletion of a session back.

        Raises:
            SessionNotFound: This owner has no such session, or it cannot be taken back any more.
        """
        self._store().restore(owner, session_id)

    def close(self) -> None:
        """Stops running replies, waits until they are saved, and closes the database."""
        self._running.close()
        self._forgetting.close()
        with self._lock:
            opened, self._opened = self._opened, None
        if opened is not None:
            opened.close()

    def _store(self) -> SessionStore:
        with self._lock:
            if self._opened is None:
                settings = self._settings
                self._opened = SessionStore(
                    open_database(settings.sessions_url()),
                    session_limit=settings.session_limit,
                    session_days=settings.session_days,
                    forget=self._forget,
                )
            return self._opened
