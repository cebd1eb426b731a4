"""Texts that wait for their vectors: those of one request, and in which order those of several are computed."""

from __future__ import annotations

import logging
import time
from collections import deque
from collections.abc import Callable, Iterator
from dataclasses import dataclass, field

from llm_core.engine.llama.arrays import Tokens
from llm_core.engine.llama.embedding_context import Vector
from llm_core.errors import LLMError
from llm_core.events import Done, FinishReason, Timings, Usage

log = logging.getLogger(__name__)

TextsEvent = Done | LLMError
TextsSink = Callable[[TextsEvent], None]


@dataclass(eq=False)
class TextsJob:
    """The texts of one request. Only the embedder's thread changes it, but for `cancel_requested`.

    Attributes:
        texts: Token ids of each.
        sink: Gets `Done`, when all vectors are there, or the error that came instead.
        timeout: Seconds from submission.
        vectors: What was made so far, by the texts' numbers.
        taken: Texts that are computed, or are being computed.
    """

    texts: list[Tokens]
    sink: TextsSink
    timeout: float
    owner: str = ""
    cancel_requested: bool = False
    taken: int = 0
    submitted_at: float = field(default_factory=time.monotonic)
    begun_at: float | None = None

    def __post_init__(self) -> None:
        self.vectors: dict[int, Vector] = {}

    @property
    def next_text(self) -> Tokens:
        return self.texts[self.taken]

    @property
    def is_whole(self) -> bool:
        return len(self.vectors) == len(self.texts)

    @property
    def is_late(self) -> bool:
        return time.monotonic() > self.submitted_at + self.timeout

    def end(self, reason: FinishReason) -> None:
        now = time.monotonic()
        usage = Usage(prompt_tokens=sum(map(len, self.texts)))
        queue_ms = ((self.begun_at or now) - self.submitted_at) * 1e3
        self.emit(Done(reason, usage, Timings(queue_ms=queue_ms, ttft_ms=(now - self.submitted_at) * 1e3)))

    def emit(self, event: TextsEvent) -> None:
        try:
            self.sink(event)
        except RuntimeError:  # the reader's event loop is closed
            return
        except Exception:
            log.exception("a request's sink failed")


class Rotation:
    """Jobs with texts left, whose next texts are taken in turns: one of each owner, and of an owner's one of each job.
    So a request of one text does not wait for one of thousands."""

    def __init__(self) -> None:
        self._owners: dict[str, deque[TextsJob]] = {}

    def add(self, job: TextsJob) -> None:
        self._owners.setdefault(job.owner, deque()).append(job)

    def remove(self, job: TextsJob) -> None:
        jobs = self._owners.get(job.owner, deque())
        if job in jobs:
            jobs.remove(job)
        if not jobs:
            self._owners.pop(job.owner, None)

    def __iter__(self) -> Iterator[TextsJob]:
        return (job for jobs in self._owners.values() for job in jobs)

    @property
    def first(self) -> TextsJob | None:
        """The job whose text is next."""
        return next((jobs[0] for jobs in self._owners.values()), None)

    def take(self) -> tuple[TextsJob, int]:
        """That job and the number of its next text; the turn goes on."""
        owner, jobs = next(iter(self._owners.items()))
        job, number = jobs[0], jobs[0].taken
        job.taken += 1
        jobs.rotate(-1)
        del self._owners[owner]
        self._owners[owner] = jobs
        if job.taken == len(job.texts):
            self.remove(job)
        return job, number
