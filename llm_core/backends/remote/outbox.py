"""What the caller of an engine elsewhere is told, before its reply and during it."""

from __future__ import annotations

import asyncio
from collections.abc import Callable
from typing import Any

from llm_core.events import ChatEvent, Queued


class Outbox:
    """What a caller is told, in order, with one `Queued` before all of it."""

    def __init__(self, sink: Callable[[Any], None]) -> None:
        self._sink = sink
        self._has_begun = False

    def report_queued(self) -> None:
        """Tells the caller, once, that the request is on its way: a refusal can then no longer come before."""
        if not self._has_begun:
            self._has_begun = True
            self.send(Queued(0))

    def send(self, event: ChatEvent) -> None:
        try:
            self._sink(event)
        except RuntimeError:  # the reader's event loop is closed
            raise asyncio.CancelledError from None
