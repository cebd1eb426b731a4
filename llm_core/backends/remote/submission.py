"""A request on its way to an engine elsewhere."""

from __future__ import annotations

import asyncio
from contextlib import suppress
from typing import Any

from llm_core.errors import LLMError
from llm_core.events import Done


class RemoteSubmission:
    """A task of the backend's loop, from any thread.

    Args:
        loop: The backend's.
    """

    def __init__(self, loop: asyncio.AbstractEventLoop) -> None:
        self._loop = loop
        self.task: asyncio.Task[Done] | None = None

    def translate(self, event: Any) -> list[Any]:
        if isinstance(event, LLMError):
            raise event
        return [event]

    def cancel(self) -> None:
        with suppress(RuntimeError):  # the loop is closed, and the request with it
            self._loop.call_soon_threadsafe(self._stop)

    def _stop(self) -> None:
        assert self.task is not None
        self.task.cancel()
