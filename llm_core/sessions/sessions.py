"""The room's front: begin a turn, come back to its reply, stop it, and look after what was said.

It knows nothing of models: how a reply is made is given to it.
"""

from __future__ import annotations

import hashlib
import logging
import math
import re
import threading
import time
from collections.abc import AsyncGenerator, Callable, Generator, Iterable, Mapping
from contextlib import aclosing, suppress
from dataclasses import dataclass
from functools import partial
from typing import Any, Protocol, Unpack

from llm_core.cancellation import Cancellation
from llm_core.errors import InvalidRequest, KeyReused, ModelNotFound, SessionBusy, SessionChanged, StorageError
from llm_core.events import ChatEvent
from llm_core.messages import Message, parse_messages
from llm_core.options import BeginOptions, RequestOptions, given
from llm_core.request import ChatRequest
from llm_core.sessions.database import open_database
from llm_core.sessions.exchange import opening_messages, prompt_messages
from llm_core.sessions.follow import FollowedReply
from llm_core.sessions.live import LiveReply
from llm_core.sessions.records import NumberedEvent, Session, SessionSummary
from llm_core.sessions.store import SessionStore
from llm_core.settings import Settings

log = logging.getLogger(__name__)

CHECKPOINT_SECONDS = 0.3
CLOSE_SECONDS = 10.0
MAX_TITLE_CHARS = 200
MAX_SEARCH_CHARS = 200
MAX_LISTED = 500
SESSION_ID_RULE = "1 to 128 letters, digits, dots, colons, dashes or underscores"
SESSION_ID_PATTERN = r"^[A-Za-z0-9._:-]{1,128}$"
_SESSION_ID = re.compile(SESSION_ID_PATTERN)
STREAM_ID_PATTERN = r"^[0-9a-f]{32}$"
_STREAM_ID = re.compile(STREAM_ID_PATTERN)
_ANYTHING = Message(role="user", content="")  # what is said is checked by itself


class Reply(Protocol):
    """A reply that can be read from any event on: one that is being made, or one that has ended."""

    @property
    def stream_id(self) -> str: ...
    @property
    def session_id(self) -> str: ...
    def is_over(self, after: float = math.inf) -> bool: ...
    def cancel(self) -> None: ...
    def events(self, after: int = 0) -> Generator[NumberedEvent]: ...
    def aevents(self, after: int = 0) -> AsyncGenerator[NumberedEvent]: ...


async def unnumbered(reply: Reply) -> AsyncGenerator[ChatEvent]:
    """All events of a reply, for a reader who will not come back."""
    async with aclosing(reply.aevents()) as events:
        async for _, event in events:
            yield event


class Sessions:
    """All sessions of one database, and the replies that this process makes in them. Safe from any thread.

    Nothing is opened until the first use.

    Args:
        settings: Where the database is, and the limits.
        prepare: Checks messages and options and makes the request of them.
        generate: Makes the reply of a request.
        forget: Forgets what was kept for a session that is deleted: its owner and its id.
    """

    def __init__(
        self,
        settings: Settings,
        prepare: Callable[[Iterable[Message], Mapping[str, Any]], ChatRequest],
        generate: Callable[[ChatRequest, Cancellation], Generator[ChatEvent]],
        forget: Callable[[str, str], None],
    ) -> None:
        self._settings = settings
        self._prepare, self._generate, self._forget = prepare, generate, forget
        self._lock = threading.Lock()
        self._opened: SessionStore | None = None
        self._live: dict[str, _Live] = {}
        self._unsaved: list[_Live] = []  # those that have ended and could not be saved yet
        self._ticks = False

    # ── replies ──────────────────────────────────────────────────────────────────────────────────────────────────────

    def begin(
        self,
        session_id: str,
        message: str | None = None,
        *,
        tool_results: Iterable[Mapping[str, Any]] | None = None,
        system_prompt: str | None = None,
        stream_id: str | None = None,
        version: int | None = None,
        replaces: str | None = None,
        **options: Unpack[RequestOptions],
    ) -> LiveReply:
        """Says `message` in a session, which is made on first use, or gives the results of the calls of its last reply.

        What is said is saved when this returns.

        Args:
            tool_results: In place of `message`: `{"tool_call_id": ..., "content": ...}` for each of the calls.
            system_prompt: From now on in this session; None leaves it as it is, in a new one as in the settings.
            stream_id: Of the reply, as long and random as the one that is made where this is None.
            version: The session that the caller has seen, 0 for one that does not exist; None for any.
            replaces: The stream of the turn that this one is to take the place of, with all after it. They go away when
                the engine has taken the request; where it refuses it, they stay.
            options: As of every request. `overflow` is "drop_oldest" unless said otherwise.

        Raises:
            InvalidRequest: The id, the message, a result or an option is not allowed.
            SessionNotFound: There are results, and this owner has no such session.
            SessionBusy: A reply is being made in this session already.
            SessionChanged: It has another version, or not the turn to replace.
            StorageFull, StorageError: What was said could not be saved.
        """
        if not _SESSION_ID.fullmatch(session_id):
            raise InvalidRequest(f"session_id: {SESSION_ID_RULE}", param="session_id")
        if stream_id is not None and not _STREAM_ID.fullmatch(stream_id):
            raise InvalidRequest("stream_id: 32 lower-case hexadecimal digits", param="stream_id")
        opening = opening_messages(message, tool_results)
        owner = options.get("owner", "")
        chosen: dict[str, Any] = {"overflow": "drop_oldest"} | given(options)
        self._prepare([*_system(system_prompt), _ANYTHING], chosen)  # what is refused leaves no trace
        self._save_what_is_left(owner, session_id)
        turn = self._store().open_turn(
            owner,
            session_id,
            *opening,
            system_prompt=system_prompt,
            model=chosen.get("model"),
            stream_id=stream_id,
            version=version,
            replaces=replaces,
        )
        try:
            said = [*_system(turn.system_prompt), *prompt_messages(turn.earlier, opening)]
            request = self._request(said, chosen, turn.model)
        except BaseException:
            self._store().discard_turn(turn)
            raise
        reply = LiveReply(turn, self._store(), resume_seconds=self._settings.resume_seconds)
        self._start(owner, reply, request.of_session(session_id))
        return reply

    def begin_once(
        self,
        session_id: str,
        message: str | None = None,
        *,
        stream_id: str,
        **options: Unpack[BeginOptions],
    ) -> Reply:
        """`begin`, for a caller who cannot know whether it was heard: where the turn of this stream has begun already,
        it is the reply of that one, and nothing is said again.

        Args:
            options: Of `begin`. They count the first time.

        Raises:
            KeyReused: That turn began with something else, or in another session.
            StreamNotFound: It has ended so long ago that only the history has its reply.
            LLMError: All that `begin` raises.
        """
        results, owner = options.get("tool_results"), options.get("owner", "")
        if results is not None:
            results = options["tool_results"] = tuple(results)  # they are read twice
        turn = partial(self.begun, session_id, message, stream_id=stream_id, tool_results=results, owner=owner)
        reply = turn()
        if reply is not None:
            return reply
        try:
            return self.begin(session_id, message, stream_id=stream_id, **options)
        except (SessionBusy, SessionChanged):  # maybe by this very turn, which came twice at once
            reply = turn()
            if reply is None:
                raise
            return reply

    def begun(
        self,
        session_id: str,
        message: str | None = None,
        *,
        stream_id: str,
        tool_results: Iterable[Mapping[str, Any]] | None = None,
        owner: str = "",
    ) -> Reply | None:
        """The reply of the turn that has begun with this; None where there is no turn of this stream.

        Raises:
            KeyReused, StreamNotFound: As with `begin_once`.
        """
        begun = self._store().begun(owner, stream_id)
        if begun is None:
            return None
        if begun[0] != session_id or _words(begun[1]) != _words(opening_messages(message, tool_results)):
            raise KeyReused(
                "This key was sent before, with another message or session. Each message needs a key of its own."
            )
        return self.attach(stream_id, owner=owner)

    def attach(self, stream_id: str, *, owner: str = "") -> Reply:
        """The reply of a turn, while it is made and for an hour after.

        Raises:
            StreamNotFound: This owner has no such stream.
        """
        with self._lock:
            live = self._live.get(stream_id)
            if live is not None and live.owner == owner:
                return live.reply
        store = self._store()
        stored = store.reply(owner, stream_id)
        return FollowedReply(store, owner, stored) if stored.status == "running" else stored

    def running(self, session_id: str, *, owner: str = "") -> LiveReply | None:
        """The reply that this process makes in a session now, if it makes one."""
        with self._lock:
            live = [each.reply for each in self._live.values() if each.owner == owner]
        return next((reply for reply in live if reply.session_id == session_id), None)

    def _request(self, said: Iterable[Message], chosen: dict[str, Any], model: str | None) -> ChatRequest:
        """The request of a turn, to the session's own model where none is chosen and that one is still served."""
        if model is not None and "model" not in chosen:
            with suppress(ModelNotFound):
                return self._prepare(said, chosen | {"model": model})
        return self._prepare(said, chosen)

    def _start(self, owner: str, reply: LiveReply, request: ChatRequest) -> None:
        def run() -> None:
            try:
                reply.run(lambda: self._generate(request, reply.cancellation))
            finally:
                with self._lock:
                    if self._live.get(reply.stream_id) is live:  # one that was refused may have begun anew meanwhile
                        del self._live[reply.stream_id]
                    self._unsaved += [live] if reply.is_unsaved else []

        thread = threading.Thread(target=run, name=f"reply-{reply.stream_id[:8]}", daemon=True)
        live = _Live(owner, reply, thread)
        with self._lock:
            self._live[reply.stream_id] = live
            thread.start()
            if not self._ticks:
                self._ticks = True
                threading.Thread(target=self._tick, name="session-clock", daemon=True).start()

    def _save_what_is_left(self, owner: str, session_id: str) -> None:
        """Saves the end of a session's reply that could not be saved; without it the session would look busy.

        Raises:
            StorageError: It still cannot.
        """
        with self._lock:
            left = [each for each in (*self._live.values(), *self._unsaved) if each.owner == owner]
        for each in left:
            if each.reply.session_id == session_id:
                each.reply.save_now()

    def _tick(self) -> None:
        """The one clock of all replies, until none is left that needs it."""
        while True:
            time.sleep(CHECKPOINT_SECONDS)
            with self._lock:
                replies = [each.reply for each in (*self._live.values(), *self._unsaved)]
            for reply in replies:
                try:
                    reply.tick()
                except StorageError as error:
                    log.warning("stream %s could not be saved, which is tried again: %s", reply.stream_id, error)
                except Exception:  # the others need the clock too
                    log.exception("stream %s could not be looked after", reply.stream_id)
            with self._lock:
                self._unsaved = [each for each in self._unsaved if each.reply.is_unsaved]
                if not self._live and not self._unsaved:
                    self._ticks = False
                    return

    # ── what was said ────────────────────────────────────────────────────────────────────────────────────────────────

    def get(self, session_id: str, *, owner: str = "") -> Session:
        """A session and what was said in it.

        Raises:
            SessionNotFound: This owner has no such session.
        """
        return self._store().session(owner, session_id)

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

    def forget_from(self, session_id: str, stream_id: str, *, version: int | None = None, owner: str = "") -> None:
        """Takes back a turn and all after it.

        Args:
            stream_id: Of the turn.
            version: The session that the caller has seen; None for any.

        Raises:
            SessionNotFound: This owner has no such session.
            SessionBusy: A reply is being made in it.
            SessionChanged: It has another version, or no such turn.
        """
        self._save_what_is_left(owner, session_id)
        self._store().forget_from(owner, session_id, stream_id, version=version)

    def delete(self, session_id: str, *, owner: str = "") -> None:
        """Forgets a session.

        Raises:
            SessionNotFound: This owner has no such session.
            SessionBusy: A reply is being made in it.
        """
        self._save_what_is_left(owner, session_id)
        self._store().delete(owner, session_id)

    def close(self) -> None:
        """Stops running replies, waits until they are saved, and closes the database."""
        with self._lock:
            running = list(self._live.values())
        for live in running:
            live.reply.cancel()
        for live in running:
            live.thread.join(CLOSE_SECONDS)
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


@dataclass(frozen=True, slots=True)
class _Live:
    owner: str
    reply: LiveReply
    thread: threading.Thread


def stream_of_key(key: str, owner: str) -> str:
    """The id of the stream that a key names, whatever that looks like; the same key of another owner names another."""
    return hashlib.sha256(f"{owner}\0{key}".encode()).hexdigest()[:32]


def _words(messages: Iterable[Message]) -> list[tuple[str, str, str | None]]:
    """What was said, to be compared: PostgreSQL keeps no U+0000."""
    return [(each.role, each.content.replace("\0", "\ufffd"), each.tool_call_id) for each in messages]


def _system(prompt: str | None) -> list[Message]:
    return [] if prompt is None else list(parse_messages([{"role": "system", "content": prompt}]))
