"""The replies that this process makes: a thread for each, and one clock for all of them."""

from __future__ import annotations

import logging
import threading
import time
from collections.abc import Callable, Generator
from dataclasses import dataclass

from llm_core.errors import StorageError
from llm_core.events import ChatEvent
from llm_core.sessions.live import LiveReply

log = logging.getLogger(__name__)

CHECKPOINT_SECONDS = 0.3
CLOSE_SECONDS = 10.0


@dataclass(frozen=True, slots=True)
class _Live:
    owner: str
    reply: LiveReply
    thread: threading.Thread


class RunningReplies:
    """Safe from any thread."""

    def __init__(self) -> None:
        self._lock = threading.Lock()
        self._live: dict[str, _Live] = {}
        self._unsaved: list[_Live] = []  # those that have ended and could not be saved yet
        self._ticks = False

    def find(self, owner: str, stream_id: str) -> LiveReply | None:
        """The reply of a stream, if it is made here."""
        with self._lock:
            live = self._live.get(stream_id)
        return live.reply if live is not None and live.owner == owner else None

    def in_session(self, owner: str, session_id: str) -> LiveReply | None:
        """The reply that is made in a session, if it is made here."""
        with self._lock:
            replies = [each.reply for each in self._live.values() if each.owner == owner]
        return next((reply for reply in replies if reply.session_id == session_id), None)

    def start(self, owner: str, reply: LiveReply, generate: Callable[[], Generator[ChatEvent]]) -> None:
        """Makes a reply in a thread of its own."""

        def run() -> None:
            try:
                reply.run(generate)
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

    def save_what_is_left(self, owner: str, session_id: str) -> None:
        """Saves the end of a session's reply that could not be saved; without it the session would look busy.

        Raises:
            StorageError: It still cannot.
        """
        with self._lock:
            left = [each for each in (*self._live.values(), *self._unsaved) if each.owner == owner]
        for each in left:
            if each.reply.session_id == session_id:
                each.reply.save_now()

    def close(self) -> None:
        """Stops them all, and waits until they are saved."""
        with self._lock:
            running = list(self._live.values())
        for live in running:
            live.reply.cancel()
        for live in running:
            live.thread.join(CLOSE_SECONDS)

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
