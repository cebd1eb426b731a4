"""One of the models that are served: what is said of it, and what has become of it."""

from __future__ import annotations

import time
from dataclasses import dataclass, field
from typing import Any, Literal

from llm_core.backends.backend import Backend, LoadStatus
from llm_core.engine.facts import EngineStats
from llm_core.models.info import ModelInfo
from llm_core.models.served import ServedModel
from llm_core.settings import Settings

ModelState = Literal["absent", "loading", "ready", "failed"]
_STATES: dict[str, ModelState] = {
    "idle": "loading",
    "downloading": "loading",
    "loading": "loading",
    "ready": "ready",
    "failed": "failed",
}


@dataclass(eq=False)
class Member:
    """A model of the pool. The pool's lock guards what changes.

    Attributes:
        served: What the operator says of it.
        settings: With which it is served.
        backend: Makes its replies; None while it is not loaded and not being loaded.
        info: What it is, once that is known.
        reserved: Bytes of memory that it has.
        replies: Those that it makes now.
        waiting: Requests that wait for it to be loaded.
        is_leaving: It takes no more, and is unloaded when they have ended.
        last_used: When it was last asked for, in seconds of `time.monotonic`.
    """

    served: ServedModel
    settings: Settings
    backend: Backend[Any] | None = None
    info: ModelInfo | None = None
    reserved: int = 0
    replies: int = 0
    waiting: int = 0
    is_leaving: bool = False
    last_used: float = field(default_factory=time.monotonic)

    @property
    def name(self) -> str:
        return self.served.name or (self.info.name if self.info else self.served.short_name)

    @property
    def names(self) -> tuple[str, ...]:
        """All by which it can be asked for."""
        return (self.name, *self.served.names)

    @property
    def state(self) -> ModelState:
        """What became of it, in a word."""
        if self.backend is None or self.is_leaving:
            return "absent"
        return _STATES[self.backend.status().state]

    def stats(self) -> EngineStats | None:
        """A look at its engine; None where there is none."""
        return self.backend.stats() if self.backend is not None else None

    def status(self) -> LoadStatus:
        """How far loading is. One that has been loaded and left is as good as ready: it comes back when it is asked."""
        if self.backend is not None and not self.is_leaving:
            return self.backend.status()
        if self.info is not None:
            return LoadStatus("ready", 1.0, f"{self.name} is loaded when it is asked.")
        return LoadStatus("idle", 0.0, "The model is not loaded yet.")
