"""A turn while its reply is made. It goes on without a reader for a time, so that one who was cut off can come back."""

from __future__ import annotations

import logging
import math
import threading
import time
from collections.abc import AsyncGenerator, Callable, Generator, Iterator
from contextlib import closing, contextmanager
from dataclasses import replace
from functools import partial

from llm_core.cancellation import Cancellation
from llm_core.errors import (
    SERVER_FAILED,
    EngineClosed,
    EngineFailed,
    LLMError,
    StorageError,
    StorageFull,
    StorageReadOnly,
)
from llm_core.events import ChatEvent, Done, FinishReason, Loading
from llm_core.sessions.asked import Asked
from llm_core.sessions.exchange import reply_messages
from llm_core.sessions.records import NumberedEvent, OpenTurn, ReaderSignals, TurnStatus
from llm_core.sessions.reply_log import ReplyLog
from llm_core.sessions.store import SessionStore

log = logging.getLogger(__name__)

FIRST_READER_SECONDS = 10.0  # for whoever began the reply to begin to read it
RETRY_SECONDS = 5.0  # between two tries to save where there is no room, which seldom changes
MAX_RETRY_SECONDS = 60.0
FOLLOWED_SECONDS = 5.0  # longer than a reader on another process is silent

_STATUS: dict[FinishReason, TurnStatus] = {
    "stop": "complete",
    "length": "complete",
    "tool_calls": "complete",
    "timeout": "interrupted",
    "cancelled": "cancelled",
}


class LiveReply:
    """The reply of a running turn: a log that readers share, and a stop.

    Args:
        resume_seconds: How long it goes on with no reader.
        asked: How it was asked, to be kept with it.
    """

    def __init__(
        self, turn: OpenTurn, store: SessionStore, *, resume_seconds: float, asked: Asked | None = None
    ) -> None:
        self._turn, self._store, self._asked = turn, store, asked
        self._version, self._discarded = turn.version, False
        self._admitted = threading.Event()
        self._log = ReplyLog()
        self._saved = 0
        self._over = False
        self._save_at = 0.0  # on the monotonic clock: not before
        self._save: Callable[[], None] | None = None  # of the end, where that could not be saved yet
        self._retry_seconds = RETRY_SECONDS
        self._reported_unsaved = False
        self._saving = threading.Lock()
        self._cancellation = Cancellation()
        self._readers = 0
        self._reading = threading.Lock()
        self._resume_seconds = resume_seconds
        self._followed_at: float | None = None
        self._abandoned_at = math.inf  # on the monotonic clock
        self._wait_for_reader(max(resume_seconds, FIRST_READER_SECONDS))

    @property
    def stream_id(self) -> str:
        return self._turn.stream_id

    @property
    def session_id(self) -> str:
        return self._turn.session_id

    @property
    def version(self) -> int:
        """Of the session, when this turn came into it, or was taken out of it because it had been refused."""
        return self._version

    @property
    def discarded(self) -> bool:
        """Whether the turn is in no session: it was refused before it began."""
        return self._discarded

    @property
    def cancellation(self) -> Cancellation:
        return self._cancellation

    def keep(self) -> None:
        """From now on the turn stays in the session, also where the engine refuses it: somebody was told of it."""
        self._admitted.set()

    def is_over(self, after: float = math.inf) -> bool:
        """Whether it has ended, and nothing follows event number `after`. An error counts as an event."""
        return self._log.is_over(after)

    def cancel(self) -> None:
        """Stops the reply. What was made of it stays in the session."""
        self._cancellation.cancel()

    def wait(self, timeout: float) -> bool:
        """Waits until the reply has ended and is saved, at most `timeout` seconds. Whether it has."""
        return self._log.wait(timeout)

    def wait_for_first(self, timeout: float) -> bool:
        """Waits until the engine has taken or refused the request, at most `timeout` seconds. Whether it has."""
        return self._admitted.wait(timeout)

    # ── readers ──────────────────────────────────────────────────────────────────────────────────────────────────────

    def events(self, after: int = 0) -> Generator[NumberedEvent]:
        """The events after number `after`, as they come. Leaving does not stop the reply.

        Raises:
            LLMError: What the reply ended with.
        """
        with self._reader():
            yield from self._log.read(after)

    async def aevents(self, after: int = 0) -> AsyncGenerator[NumberedEvent]:
        """`events` for event loops."""
        with self._reader():
            async for numbered in self._log.aread(after):
                yield numbered

    @contextmanager
    def _reader(self) -> Iterator[None]:
        with self._reading:
            self._readers += 1
            self._abandoned_at = math.inf
        try:
            yield
        finally:
            with self._reading:
                self._readers -= 1
                if not self._readers:
                    self._wait_for_reader(self._resume_seconds)

    def _wait_for_reader(self, seconds: float) -> None:
        self._abandoned_at = time.monotonic() + seconds

    # ── the writer ───────────────────────────────────────────────────────────────────────────────────────────────────

    def run(self, generate: Callable[[], Generator[ChatEvent]]) -> None:
        """Makes the reply and saves it; returns when both have ended."""
        done: Done | None = None
        error: LLMError | None = None
        try:
            with closing(generate()) as events:
                for event in events:
                    if isinstance(event, Done):
                        done = event  # told to readers when it is saved, so that they find it in the history
                        continue
                    if not isinstance(event, Loading) and not self._admitted.is_set():
                        self._admit()
                    self._log.append(event)
        except LLMError as raised:
            error = raised
        except Exception:
            log.exception("the reply of stream %s failed", self.stream_id)
            error = LLMError(SERVER_FAILED)
        self._end(done, error)

    def _admit(self) -> None:
        if self._turn.replaces:
            self._version = self._store.admit_turn(self._turn)
        self._admitted.set()

    def _end(self, done: Done | None, error: LLMError | None) -> None:
        """Saves the rest and tells the readers. A reply that cannot be saved is given all the same, and marked."""
        save = self._saver(done, error)
        try:
            save()
        except StorageError as failed:
            log.error("stream %s could not be saved, which is tried again: %s", self.stream_id, failed)
            self._save_at = time.monotonic() + self._retry_seconds
            self._save = save
            if done is not None:
                done = replace(done, not_kept=failed.message)
            else:
                error = error or failed
        except Exception:  # readers would wait for ever
            log.exception("stream %s could not be saved", self.stream_id)
            error = error or LLMError(SERVER_FAILED)
        if done is not None and error is None:
            self._log.append(done)
        self._log.end(error)
        self._admitted.set()

    def _saver(self, done: Done | None, error: LLMError | None) -> Callable[[], None]:
        if not self._admitted.is_set() and (error is not None or self._turn.replaces):
            return self._discard
        with self._saving:
            self._over = True
        events = self._log.since(self._saved)
        if done is not None:
            events.append((len(self._log) + 1, done))
        replies = reply_messages(event for _, event in self._log.since(0))
        status = _STATUS[done.finish_reason] if done else _failed_status(error)
        end = partial(self._store.end_turn, self._turn.key, events, replies, asked=self._asked)
        return partial(end, status=status, done=done, error=error)

    def _discard(self) -> None:
        self._version, self._discarded = self._store.discard_turn(self._turn), True

    # ── the clock ────────────────────────────────────────────────────────────────────────────────────────────────────

    @property
    def is_unsaved(self) -> bool:
        """Whether it has ended and its end is still to be saved: until then nothing can be said in its session."""
        return self._save is not None

    def tick(self) -> None:
        """What is to be done from time to time: a reply that nobody reads is stopped, and what has come is saved.

        Raises:
            StorageError: It could not be saved, for the first time since it last could.
        """
        if time.monotonic() >= self._abandoned_at:
            self.cancel()
        if time.monotonic() >= self._save_at:
            self._checkpoint() if self._save is None else self._save_end()

    def save_now(self) -> None:
        """Saves an end that could not be saved before.

        Raises:
            StorageError: It still cannot.
        """
        with self._saving:
            if self._save is None:
                return
            self._save()
            self._save = None
        log.warning("stream %s is saved now", self.stream_id)

    def _save_end(self) -> None:
        try:
            self.save_now()
        except StorageError:
            self._retry_seconds = min(2 * self._retry_seconds, MAX_RETRY_SECONDS)
            self._save_at = time.monotonic() + self._retry_seconds

    def _checkpoint(self) -> None:
        """Saves the events that are not saved yet, and that this process is still at it."""
        with self._saving:
            if self._over:
                return
            events = self._log.since(self._saved)
            try:
                signals = self._store.checkpoint(self._turn.key, events)
            except StorageError as error:
                passes = not isinstance(error, (StorageFull, StorageReadOnly))
                self._save_at = time.monotonic() + (0 if passes else RETRY_SECONDS)
                reported, self._reported_unsaved = self._reported_unsaved, True
                if not reported:
                    raise
                return
            self._reported_unsaved = False
            self._saved += len(events)
            self._apply(signals)

    def _apply(self, signals: ReaderSignals) -> None:
        """Does what readers on other processes want."""
        if signals.stop:
            self.cancel()
        with self._reading:
            if signals.followed_at != self._followed_at and not self._readers:
                self._wait_for_reader(max(self._resume_seconds, FOLLOWED_SECONDS))
            self._followed_at = signals.followed_at


def _failed_status(error: LLMError | None) -> TurnStatus:
    return "interrupted" if isinstance(error, (EngineClosed, EngineFailed)) else "failed"
