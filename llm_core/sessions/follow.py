"""A reply that another process makes, read from what that one saves of it twice a second."""

from __future__ import annotations

import asyncio
import math
import time
from collections.abc import AsyncGenerator, Generator

from llm_core.sessions.records import NumberedEvent, StoredReply
from llm_core.sessions.store import SessionStore

POLL_SECONDS = 0.25
MARK_SECONDS = 1.0  # between two times that the maker is told that somebody reads


class FollowedReply:
    """A running reply of another process. It ends when that one has ended it, or has gone."""

    def __init__(self, store: SessionStore, owner: str, seen: StoredReply) -> None:
        self._store, self._owner, self._seen = store, owner, seen
        self._marked_at = float("-inf")

    @property
    def stream_id(self) -> str:
        return self._seen.stream_id

    @property
    def session_id(self) -> str:
        return self._seen.session_id

    def is_over(self, after: float = math.inf) -> bool:
        """Whether it has ended; as far as this process knows, it has not."""
        return False

    def cancel(self) -> None:
        """Asks the process that makes it to stop, which it does when it saves the next time."""
        self._store.request_stop(self._owner, self.stream_id)

    def events(self, after: int = 0) -> Generator[NumberedEvent]:
        """The events after number `after`, as they are saved.

        Raises:
            LLMError: What the reply ended with.
        """
        seen, last = self._seen, 0
        while True:
            yield from _after(seen, after)
            last = _last(seen, last)
            if seen.status != "running":
                break
            time.sleep(POLL_SECONDS)
            seen = self._poll(last)
        if seen.error is not None:
            raise seen.error

    async def aevents(self, after: int = 0) -> AsyncGenerator[NumberedEvent]:
        """`events` for event loops."""
        seen, last = self._seen, 0
        while True:
            for numbered in _after(seen, after):
                yield numbered
            last = _last(seen, last)
            if seen.status != "running":
                break
            await asyncio.sleep(POLL_SECONDS)
            seen = await asyncio.to_thread(self._poll, last)
        if seen.error is not None:
            raise seen.error

    def _poll(self, last: int) -> StoredReply:
        if time.monotonic() > self._marked_at + MARK_SECONDS:
            self._marked_at = time.monotonic()
            self._store.mark_followed(self._owner, self.stream_id)
        return self._store.reply(self._owner, self.stream_id, last)


def _after(seen: StoredReply, after: int) -> list[NumberedEvent]:
    return [numbered for numbered in seen.saved if numbered[0] > after]


def _last(seen: StoredReply, last: int) -> int:
    return seen.saved[-1][0] if seen.saved else last
