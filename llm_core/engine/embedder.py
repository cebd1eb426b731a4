"""The engine of a model that makes vectors, or ranks: one thread that computes many texts in one call of llama.cpp.

Read `Embedder._step`: end who has left, gather texts, compute them in a turn, hand out. A step is short, so that the
chat engines of the process, with which it takes turns, make their tokens between two of them.
"""

from __future__ import annotations

import logging
import threading
import time
from dataclasses import dataclass

import numpy as np

from llm_core.engine.facts import EngineStats
from llm_core.engine.llama.arrays import Tokens
from llm_core.engine.llama.context import DecodeFailed
from llm_core.engine.llama.embedding_context import MOST_TEXTS, EmbeddingContext, Part
from llm_core.engine.llama.model import Model
from llm_core.engine.pace import Pace
from llm_core.engine.texts import Rotation, TextsJob
from llm_core.engine.turns import TURNS
from llm_core.errors import EngineClosed, EngineFailed, LLMError, QueueFull

log = logging.getLogger(__name__)

# A step's time, in target times of one: where chat engines make tokens between two steps, and where nobody does.
_SHARE, _BURST = 0.5, 3.0
# So many tokens at least. Fewer hardly take less time, and on a machine that is busy with other work a call takes long
# however small it is: by its time alone it would shrink to a text or two.
_LEAST_TOKENS, _LEAST_BURST = 32, 128
_WARM_UP_TOKENS = 16


@dataclass(frozen=True, slots=True)
class EmbedderOptions:
    """How it is built.

    Attributes:
        longest: The most tokens of a text.
        requests: That may run at a time; their texts are computed in turns.
        queue_limit: Requests that may wait beside them.
        threads: CPU threads.
        step_seconds: As of the chat engines.
    """

    longest: int
    requests: int
    queue_limit: int
    threads: int
    step_seconds: float


@dataclass(eq=False)
class _Text:
    """A text under way."""

    job: TextsJob
    number: int
    place: int
    computed: int = 0

    @property
    def tokens(self) -> Tokens:
        return self.job.texts[self.number]

    @property
    def left(self) -> int:
        return len(self.tokens) - self.computed


class Embedder:
    """Computes the texts of requests. `submit`, `cancel`, `stats` and `close` are safe from any thread.

    Args:
        model: The model; the caller closes it, after this.
        options: Sizes and limits.

    Raises:
        ModelError: There is not enough memory.
    """

    def __init__(self, model: Model, options: EmbedderOptions) -> None:
        self._model, self.options = model, options
        self._pace = Pace(options.step_seconds)
        self._changed = threading.Condition()  # guards the three that follow
        self._jobs: set[TextsJob] = set()
        self._rotation = Rotation()
        self._refusal: LLMError | None = None
        self._begun: _Text | None = None  # of which a part is computed
        self._tokens = self._steps = self._turns_begun = 0
        self._open_context()
        self._thread = threading.Thread(target=self._run, name="llm-embedder", daemon=True)
        self._thread.start()

    # ── from any thread ──────────────────────────────────────────────────────────────────────────────────────────────

    def submit(self, job: TextsJob) -> None:
        """Takes in a request: texts of at least one token, and of no more than `longest`.

        Raises:
            QueueFull: As many requests wait as may.
            EngineClosed, EngineFailed: It does not run any more.
        """
        with self._changed:
            if self._refusal is not None:
                raise self._refusal
            if len(self._jobs) >= self.options.requests + self.options.queue_limit:
                raise QueueFull("As many requests wait already as may. Try again in a few seconds.", retry_after=5)
            self._jobs.add(job)
            self._rotation.add(job)
            self._changed.notify()

    def cancel(self, job: TextsJob) -> None:
        """Drops the texts of a request that are not computed yet. Harmless after its end."""
        job.cancel_requested = True

    def stats(self) -> EngineStats:
        """A look at it, taken while it works."""
        jobs, most = len(self._jobs), self.options.requests
        running = min(jobs, most)
        return EngineStats(
            slots=most,
            running=running,
            waiting=jobs - running,
            prefilled_tokens=self._tokens,
            steps=self._steps,
        )

    def close(self) -> None:
        """Stops the thread and frees the context. Requests that have not ended get `EngineClosed`."""
        self._refuse(EngineClosed("The engine has been shut down."))
        self._thread.join()

    def _refuse(self, error: LLMError) -> None:
        with self._changed:
            self._refusal = self._refusal or error
            self._changed.notify()

    # ── its thread ───────────────────────────────────────────────────────────────────────────────────────────────────

    def _run(self) -> None:
        try:
            self._warm_up()
            while self._step():
                pass
        except Exception as error:
            log.exception("the embedder has stopped")
            self._refuse(EngineFailed(f"The engine has stopped and needs a restart of the server: {error}"))
        finally:
            for job in [*self._jobs]:
                self._end(job, self._refusal or EngineClosed("The engine has been shut down."))
            self._context.close()

    def _warm_up(self) -> None:
        """Pages the weights in, and times a call, before the first request."""
        tokens = np.zeros(_WARM_UP_TOKENS, np.int32)
        for _ in range(2):
            self._compute([Part(0, 0, tokens)])
            self._context.forget(0)

    def _step(self) -> bool:
        """One round. False: it was told to end."""
        with self._changed:
            while not self._jobs and self._refusal is None:
                self._changed.wait()
            if self._refusal is not None:
                return False
        self._end_cancelled_and_late()
        if texts := self._gather():
            try:
                self._read(texts)
            except DecodeFailed as error:
                self._rebuild(error, texts)
            self._steps += 1
        return True

    def _end_cancelled_and_late(self) -> None:
        with self._changed:
            jobs = [*self._jobs]
        for job in jobs:
            if job.cancel_requested or job.is_late:
                self._end(job, None)
                job.end("cancelled" if job.cancel_requested else "timeout")

    def _gather(self) -> list[tuple[_Text, int]]:
        """The texts of a step, and how many tokens of each: as many as its time holds; of a model that has to read
        texts whole at least one."""
        left = min(self._context.capacity, self._budget())
        texts: list[tuple[_Text, int]] = []
        if self._begun is not None and self._begun.job in self._jobs:
            texts.append((self._begun, min(left, self._begun.left)))
        else:
            self._forget_begun()
        while len(texts) < MOST_TEXTS and (not texts or texts[-1][0].left == texts[-1][1]):
            left_now = left - sum(tokens for _, tokens in texts)
            with self._changed:
                if (job := self._rotation.first) is None:
                    break
                tokens = len(job.next_text)
                if self._context.reads_in_parts:
                    tokens = min(tokens, left_now)
                if tokens == 0 or (texts and tokens > left_now):
                    break
                job, number = self._rotation.take()
            job.begun_at = job.begun_at or time.monotonic()
            texts.append((_Text(job, number, self._free_place(texts)), tokens))
        return texts

    def _budget(self) -> int:
        """Tokens of a step."""
        is_alone = TURNS.begun == self._turns_begun
        times, least = (_BURST, _LEAST_BURST) if is_alone else (_SHARE, _LEAST_TOKENS)
        return max(least, self._pace.tokens_in(times * self.options.step_seconds))

    def _free_place(self, texts: list[tuple[_Text, int]]) -> int:
        taken = {text.place for text, _ in texts}
        return next(place for place in range(MOST_TEXTS) if place not in taken)

    def _read(self, texts: list[tuple[_Text, int]]) -> None:
        # llama.cpp wants sequences in ascending order.
        texts = sorted(texts, key=lambda each: each[0].place)
        self._compute(
            [Part(text.place, text.computed, text.tokens[text.computed :][:tokens]) for text, tokens in texts]
        )
        self._begun = None
        for text, tokens in texts:
            text.computed += tokens
            if text.left:
                self._begun = text
                continue
            text.job.vectors[text.number] = self._context.vector(text.place)
            self._context.forget(text.place)
        for job in {text.job for text, _ in texts}:
            if job.is_whole:
                self._end(job, None)
                job.end("stop")

    def _compute(self, parts: list[Part]) -> None:
        tokens = sum(len(part.tokens) for part in parts)
        with TURNS.take(_is_short):
            started = time.monotonic()
            self._context.compute(parts)
            self._pace.observe(tokens, time.monotonic() - started)
            self._turns_begun = TURNS.begun
        self._tokens += tokens

    def _forget_begun(self) -> None:
        if self._begun is not None:
            self._context.forget(self._begun.place)
            self._begun = None

    def _end(self, job: TextsJob, error: LLMError | None) -> None:
        """Takes a request out, and tells it what went wrong."""
        with self._changed:
            self._jobs.discard(job)
            self._rotation.remove(job)
        if error is not None:
            job.emit(error)

    # ── the context ──────────────────────────────────────────────────────────────────────────────────────────────────

    def _open_context(self) -> None:
        options = self.options
        self._context = EmbeddingContext(self._model, longest=options.longest, threads=options.threads)

    def _rebuild(self, error: DecodeFailed, texts: list[tuple[_Text, int]]) -> None:
        """The context cannot be trusted: ends those whose texts were in the call, and goes on with the others."""
        log.error("the context failed and is rebuilt: %s", error)
        for job in {text.job for text, _ in texts} & self._jobs:
            self._end(job, EngineFailed("llama.cpp failed while it was computing. Send the request again."))
        self._begun = None
        self._context.close()
        self._open_context()


def _is_short() -> None:
    """A call ends soon by itself; to break it off would lose it."""
