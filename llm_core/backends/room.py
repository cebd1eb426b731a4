"""The memory that a model may have: what a backend that loads one asks for before it takes it."""

from __future__ import annotations

from collections.abc import Callable
from contextlib import AbstractContextManager, nullcontext
from typing import Protocol

from llm_core.memory import free_memory


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

    @property
    def most(self) -> int:
        """Bytes that could be reserved, were all to leave who may."""


class WholeMachine:
    """For the one model of a process: as much as the system says is available."""

    def loading(self) -> AbstractContextManager[None]:
        return nullcontext()

    def reserve(self, size: int, on_wait: Callable[[str], None]) -> None:
        """There is nobody who could make room."""

    @property
    def most(self) -> int:
        return free_memory()
