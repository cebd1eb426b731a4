"""One of the models that are served: what is said of it, and what has become of it."""

from __future__ import annotations

import time
from concurrent.futures import Future
from dataclasses import dataclass, field
from functools import lru_cache
from pathlib import Path
from typing import Any, Literal

from llm_core.backends.backend import Backend, LoadStatus
from llm_core.engine.facts import EngineStats
from llm_core.errors import ModelError
from llm_core.models.header import read_model_header
from llm_core.models.info import ModelInfo
from llm_core.models.resolve import find
from llm_core.models.served import ServedModel
from llm_core.models.source import parse_source
from llm_core.settings import Settings
from llm_core.task import Task

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
        failed_at: When it could not be loaded, as `last_used`; None where it could, or only other settings would help.
        comes_back: What those wait for who want it again when it has left; None where nobody does.
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
    failed_at: float | None = None
    comes_back: Future[ModelInfo] | None = None
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

    @property
    def task(self) -> Task | None:
        """What it is for; None where that is not known: an engine elsewhere may not say, and a file may not be here."""
        if self.info is not None or self.served.server_url is not None:
            return self.info.task if self.info is not None else None
        try:
            path = find(parse_source(self.served.source)).path
            return _task_of(path, path.stat().st_mtime_ns)
        except (ModelError, OSError):
            return None

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


@lru_cache(maxsize=256)
def _task_of(path: Path, _changed: int) -> Task:
    return read_model_header(path).task
