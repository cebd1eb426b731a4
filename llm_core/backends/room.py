"""The memory that a model may have: what a backend that loads one asks for before it takes it."""

from __future__ import annotations

from collections.abc import Callable
from contextlib import AbstractContextManager, nullcontext, suppress
from pathlib import Path
from typing import Protocol

import psutil

_CGROUP_LIMITS = (Path("/sys/fs/cgroup/memory.max"), Path("/sys/fs/cgroup/memory/memory.limit_in_bytes"))
_MARGIN = 0.1  # of the memory is for the system, Python and the page


def memory_limit() -> int:
    """Bytes that models may have: what the machine has, or its container may have, less a margin."""
    total: int = psutil.virtual_memory().total
    for file in _CGROUP_LIMITS:
        with suppress(OSError, ValueError):  # not every system has it; "max" is no number
            total = min(total, int(file.read_text()))
    return int(total * (1 - _MARGIN))


class Room(Protocol):
    """One model's part of the memory of all."""

    def loading(self) -> AbstractContextManager[None]:
        """While it lasts no other model is loaded."""

    def reserve(self, size: int, on_wait: Callable[[str], None]) -> None:
        """Has others make room for so many more bytes.

        Args:
            size: Bytes.
            on_wait: Told in a sentence what is waited for.

        Raises:
            ModelError: There is not so much, whoever leaves.
        """

    def release(self, size: int) -> None:
        """Gives so many bytes back."""

    @property
    def most(self) -> int:
        """Bytes that could be reserved, were all to leave who may."""


class WholeMachine:
    """For the one model of a process: as much as the system says is available."""

    def loading(self) -> AbstractContextManager[None]:
        return nullcontext()

    def reserve(self, size: int, on_wait: Callable[[str], None]) -> None:
        """There is nobody who could make room."""

    def release(self, size: int) -> None:
        """Nobody waits for it."""

    @property
    def most(self) -> int:
        return psutil.virtual_memory().available
