"""The memory that all loaded models of a pool have together: who gets how much, and who leaves for whom."""

from __future__ import annotations

import threading
from collections.abc import Callable, Sequence
from contextlib import AbstractContextManager
from typing import Any

from llm_core.backends.member import Member
from llm_core.errors import EngineClosed, ModelError
from llm_core.memory import free_memory


class SharedMemory:
    """
    Args:
        limit: Bytes.
        changed: The pool's lock; told when there may be room.
        members: The models of the pool.
        unload: Has one leave when its replies have ended; returns then.
    """

    def __init__(
        self,
        limit: int,
        changed: threading.Condition,
        members: Callable[[], Sequence[Member]],
        unload: Callable[[Member], None],
    ) -> None:
        self.limit = limit
        self._changed, self._members, self._unload = changed, members, unload
        self._loading = threading.Lock()
        self._closed = False

    def close(self) -> None:
        """Nobody gets any more. Called with the lock."""
        self._closed = True

    @property
    def left(self) -> int:
        """Bytes that nobody has."""
        return self.limit - sum(each.reserved for each in self._members())

    def reserve(self, member: Member, size: int, on_wait: Callable[[str], None]) -> None:
        """`Room.reserve` of a member."""
        while True:
            with self._changed:
                if self._closed:
                    raise EngineClosed("The client was closed while the model was loaded.")
                if size <= self.left:
                    member.reserved += size
                    return
                others = [each for each in self._members() if each is not member and each.reserved]
                leaving = [each for each in others if not each.served.pinned]
                if size > self.left + sum(each.reserved for each in leaving):
                    raise ModelError(f"There is no room for {member.name} any more. Try again.")
                if any(each.is_leaving for each in leaving):
                    self._changed.wait()
                    continue
                next_one = min(leaving, key=lambda each: (each.replies > 0, each.last_used))
            on_wait(f"Waiting for the replies of {next_one.name}, which makes room.")
            self._unload(next_one)

    def release(self, member: Member) -> None:
        """What a member had is free."""
        with self._changed:
            member.reserved = 0
            self._changed.notify_all()

    def most(self, member: Member) -> int:
        """`Room.most` of a member."""
        others = [each for each in self._members() if each is not member]
        leaving = sum(each.reserved for each in others if not each.served.pinned)
        return min(self.left + leaving, free_memory() + leaving)

    def share(self, member: Member) -> Share:
        return Share(self, member)


class Share:
    """One member's `Room`."""

    def __init__(self, memory: SharedMemory, member: Member) -> None:
        self._memory, self._member = memory, member

    def loading(self) -> AbstractContextManager[Any]:
        return self._memory._loading

    def reserve(self, size: int, on_wait: Callable[[str], None]) -> None:
        self._memory.reserve(self._member, size, on_wait)

    @property
    def most(self) -> int:
        return self._memory.most(self._member)
