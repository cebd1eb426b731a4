"""The engine: one thread that owns the llama.cpp context and runs every request in one batch.

Read `Engine._step` first: take commands, end what was cancelled, admit, decode what runs, prefill while time is left.
Callers talk to it through `submit` and `cancel` alone, from any thread; what they get comes through their sink.
"""

from __future__ import annotations

import logging
import math
import threading
import time
from collections.abc import Callable
from concurrent.futures import Future
from contextlib import suppress

from llm_core.engine.checkpoints import Checkpoints
from llm_core.engine.decoder import Decoder
from llm_core.engine.draft import MOST_TOKENS
from llm_core.engine.facts import EngineOptions, EngineStats
from llm_core.engine.inbox import Close, Inbox, Job
from llm_core.engine.integrity import check_integrity
from llm_core.engine.kv.archive import Archive
from llm_core.engine.kv.entry import HostEntry
from llm_core.engine.kv.identity import identity
from llm_core.engine.kv.prefix_cache import PrefixCache
from llm_core.engine.kv.slot import Slot
from llm_core.engine.llama.context import Context, DecodeFailed
from llm_core.engine.llama.model import Model
from llm_core.engine.llama.sampler import Sampler
from llm_core.engine.placement import Placement
from llm_core.engine.scheduler import Scheduler
from llm_core.engine.sequence import GenerationRequest, Piece, Sequence, Sink
from llm_core.engine.turns import TURNS
from llm_core.errors import (
    EngineClosed,
    EngineFailed,
    LLMError,
    SequenceFailed,
)
from llm_core.events import FinishReason

log = logging.getLogger(__name__)

_FETCH_SECONDS = 0.05  # a sequence that waits for a file is looked after so often


def all_kept(_owner: str, _session: str) -> bool:
    """Where nobody knows of sessions, none of them is gone."""
    return True


class Engine:
    """Runs requests on one loaded model.

    Args:
        model: The model; the caller closes it, after the engine.
        options: Sizes and limits.
        is_kept: As of `Archive`; what is on disk of a session that is gone is removed.

    Raises:
        ModelError: There is not enough memory for the slots.
        SettingsError: The model's keys and values cannot be of the type that is asked for.
    """

    def __init__(self, model: Model, options: EngineOptions, is_kept: Callable[[str, str], bool] = all_kept) -> None:
        self.model = model
        self.options = options
        self._inbox = Inbox(slots=options.slots, queue_limit=options.queue_limit)
        self._scheduler = Scheduler()
        self._decoder = Decoder(model, options, end=self._end)
        self._steps = self._rebuilds = 0
        self._thread = threading.Thread(target=self._run, name="llm-engine", daemon=True)
        self._archive = self._open_archive(is_kept)
        try:
            self._open_context()
        except LLMError:
            self._close_archive()
            raise
        self._thread.start()

    # ── from any thread ──────────────────────────────────────────────────────────────────────────────────────────────

    @property
    def context_tokens(self) -> int:
        """Tokens that one request may use."""
        return self.options.context_tokens

    def submit(self, request: GenerationRequest, sink: Sink) -> Sequence:
        """Queues a request. Its events go to `sink`, on the engine's thread; `Queued` first, `Done` or an error last.

        Returns:
            What `cancel` takes.

        Raises:
            ContextOverflow: The prompt can never fit.
            QueueFull: As many requests wait as may.
            InvalidRequest: A token id is not in the vocabulary, the prompt is empty, or the model has no such adapter.
            EngineClosed, EngineFailed: The engine does not run any more.
        """
        model = self.model
        request.check(vocab_size=model.vocab_size, context_tokens=self.context_tokens, adapters=model.adapters)
        sequence = Sequence(request, sink, self.context_tokens)
        self._inbox.submit(sequence)
        self._context.interrupt()
        return sequence

    def cancel(self, sequence: Sequence) -> None:
        """Ends a request within one step, wherever it is; its finish reason is `cancelled`. Harmless after its end."""
        sequence.cancel_requested = True
        self._context.interrupt()

    def stats(self) -> EngineStats:
        """A look at the engine. It is taken while the engine works, so its numbers may be one step apart."""
        slots = self._slots
        return EngineStats(
            slots=len(slots),
            running=len(self._scheduler.running),
            waiting=self._inbox.accepted - len(self._scheduler.running),
            kv_cells=len(slots) * self.context_tokens,
            kv_cells_used=sum(slot.length for slot in slots),
            host_entries=len(self._cache.host),
            host_bytes=self._cache.host_bytes,
            prefilled_tokens=self._decoder.prefilled,
            generated_tokens=self._decoder.generated,
            steps=self._steps,
            rebuilds=self._rebuilds,
        )

    def clear_cache(self) -> None:
        """Forgets every cached prefix, in free slots, in host memory and on disk; returns once that is done."""
        self._do(lambda: self._placement.clear())

    def forget(self, owner: str, session: str) -> None:
        """Forgets a session's prefixes soon, wherever they are. Whoever deletes one needs not wait for a step."""
        self._post(lambda: self._placement.forget(owner, session))

    def check_integrity(self) -> None:
        """Whether slots, cache and queue agree; returns once that is known.

        Raises:
            IntegrityError: They do not.
            EngineFailed: The engine has stopped.
        """
        self._do(self._check_integrity)
        if isinstance(self._inbox.refusal, EngineFailed):
            raise self._inbox.refusal

    def _do(self, work: Callable[[], None]) -> None:
        done = self._post(work)
        self._context.interrupt()
        while self._thread.is_alive():
            with suppress(TimeoutError):
                return done.result(0.1)

    def _post(self, work: Callable[[], None]) -> Future[None]:
        """Has something done on the engine's thread, between two steps. Without that thread it is not done."""
        done: Future[None] = Future()
        if self._thread.is_alive():
            self._inbox.put(Job(work, done))
        else:
            done.set_result(None)
        return done

    def close(self) -> None:
        """Stops the thread and frees the context. Requests that have not ended get `EngineClosed`."""
        self._inbox.refuse(EngineClosed("The engine has been shut down."))
        self._close_archive()
        self._inbox.put(Close())
        self._context.interrupt()
        self._thread.join()

    # ── the engine's thread ──────────────────────────────────────────────────────────────────────────────────────────

    def _run(self) -> None:
        try:
            with TURNS.take(self._interrupt):
                self._decoder.warm_up()
            while self._step():
                pass
        except Exception as error:
            log.exception("the engine has stopped")
            self._stop(EngineFailed(f"The engine has stopped and needs a restart of the server: {error}"))
        finally:
            self._context.close()

    def _step(self) -> bool:
        """One round. False: it was told to close."""
        if not self._take_commands():
            return False
        with TURNS.take(self._interrupt):
            started = time.monotonic()
            try:
                self._end_cancelled_and_late(started)
                self._admit(started)
                self._decoder.decode(self._scheduler.decoding(), step=self._steps)
                self._read_prompts(started)
            except DecodeFailed as error:
                self._rebuild(error)
            self._steps += 1
        return True

    def _take_commands(self) -> bool:
        """Reads the inbox; waits there while there is nothing to do."""
        idle, pause = not self._scheduler.all(), None
        if not self._scheduler.running and self._archive and self._archive.is_fetching:
            idle, pause = True, _FETCH_SECONDS
        if idle and pause is None and self.options.self_check:
            self._check_integrity()
        while (command := self._inbox.take(wait=idle, seconds=pause)) is not None:
            idle = False
            match command:
                case Sequence():
                    self._scheduler.add(command)
                case Job():
                    command.run()
                case Close():
                    self._stop(EngineClosed("The engine has been shut down."))
                    return False
        return True

    def _end_cancelled_and_late(self, now: float) -> None:
        for sequence in self._scheduler.all():
            if sequence.cancel_requested:
                self._finish(sequence, "cancelled")
            elif now >= sequence.deadline:
                self._finish(sequence, "timeout")

    def _admit(self, started: float) -> None:
        """Fills free slots. Moving KV state takes time too, so this ends when half the step is spent."""
        for sequence in list(self._scheduler.order()):
            if time.monotonic() - started > self.options.step_seconds / 2:
                break
            try:
                if self._placement.try_place(sequence, self._scheduler.prefilling(), self._steps):
                    self._checkpoints.begin(sequence)
                    sequence.sampler = Sampler(self.model, sequence.request.sampling, sequence.known)
                    sequence.admitted_at = time.monotonic()
                    self._scheduler.start(sequence)
                    sequence.report_position(0)
            except Exception as error:
                self._fail(sequence, error)
        for place, sequence in enumerate(self._scheduler.order(), start=1):
            sequence.report_position(place)

    def _read_prompts(self, started: float) -> None:
        if prompts := self._scheduler.prefilling():
            is_wanted = self._is_wanted if len(self._scheduler.running) == 1 and self.model.can_trim else None
            streams = len(self._scheduler.running) - len(prompts)
            self._decoder.read(prompts, streams=streams, started=started, step=self._steps, is_wanted=is_wanted)

    def _is_wanted(self) -> bool:
        """Whether somebody has something for this thread, or another engine waits for its turn."""
        if TURNS.is_wanted or not self._inbox.is_empty:
            return True
        return any(each.cancel_requested for each in self._scheduler.running)

    def _interrupt(self) -> None:
        self._context.interrupt()

    # ── how a sequence ends ──────────────────────────────────────────────────────────────────────────────────────────

    def _end(self, sequence: Sequence, outcome: FinishReason | Exception) -> None:
        if isinstance(outcome, Exception):
            self._fail(sequence, outcome)
        else:
            self._finish(sequence, outcome)

    def _finish(self, sequence: Sequence, reason: FinishReason) -> None:
        if rest := sequence.text.finish():
            sequence.emit(Piece(rest, generated=sequence.generated))
        self._release(sequence)
        sequence.emit(sequence.done(reason))

    def _fail(self, sequence: Sequence, error: Exception) -> None:
        log.error("a request failed inside the engine", exc_info=error)
        self._release(sequence)
        if not isinstance(error, SequenceFailed):
            error = SequenceFailed(f"This request failed inside the engine: {error}")
        sequence.emit(error)

    def _release(self, sequence: Sequence) -> None:
        """Takes the sequence out. What its slot holds stays there as a prefix for later prompts."""
        self._scheduler.remove(sequence)
        if sequence.slot is not None:
            sequence.slot.is_free = True
            if self._archive and sequence.request.session:
                self._archive.wake()
        if sequence.sampler is not None:
            sequence.sampler.close()
        self._inbox.release()

    def _stop(self, error: LLMError) -> None:
        """Refuses everything from now on, and ends what was accepted with `error`."""
        self._inbox.refuse(error)
        while (command := self._inbox.take(wait=False)) is not None:
            if isinstance(command, Sequence):
                self._scheduler.add(command)
            elif isinstance(command, Job):
                command.done.set_result(None)
        for sequence in self._scheduler.all():
            self._release(sequence)
            sequence.emit(error)

    # ── the context ──────────────────────────────────────────────────────────────────────────────────────────────────

    def _open_archive(self, is_kept: Callable[[str, str], bool]) -> Archive | None:
        options = self.options
        if options.kv_folder is None:
            return None
        return Archive.open(
            options.kv_folder,
            limit=options.disk_bytes,
            identity=lambda: identity(self.model, slots=options.slots, kv_type=options.kv_type),
            longest=options.context_tokens,
            unwritten=self._unwritten,
            post=self._post,
            is_kept=is_kept,
        )

    def _close_archive(self) -> None:
        if self._archive is not None:
            self._archive.close()

    def _open_context(self) -> None:
        options = self.options
        self._context = Context(
            self.model,
            slots=options.slots,
            context_tokens=options.context_tokens,
            batch_tokens=self._decoder.batch.capacity,
            threads=options.threads,
            outputs=1 + MOST_TOKENS,
            kv_type=options.kv_type,
        )
        self._slots = [Slot(index, options.context_tokens) for index in range(options.slots)]
        disk = self._archive.entries if self._archive is not None else ()
        self._cache = PrefixCache(self._slots, disk, host_bytes=options.host_bytes, can_trim=self.model.can_trim)
        self._placement = Placement(self._context, self._slots, self._cache, self._archive)
        self._checkpoints = Checkpoints(self._context, self._cache, self.model.end_tokens)
        self._decoder.use(self._context, self._checkpoints)

    def _unwritten(self) -> tuple[HostEntry | None, bool]:
        """Where nothing runs, nobody waits for a state to be copied."""
        return self._placement.unwritten(self.options.step_seconds / 2 if self._scheduler.all() else math.inf)

    def _rebuild(self, error: DecodeFailed) -> None:
        """The context cannot be trusted: ends what was running, makes a new one, and goes on with what waits."""
        log.error("the context failed and is rebuilt: %s", error)
        for sequence in list(self._scheduler.running):
            self._release(sequence)
            sequence.emit(EngineFailed("llama.cpp failed while it was computing. Send the request again."))
        self._context.close()
        self._open_context()
        self._rebuilds += 1

    def _check_integrity(self) -> None:
        check_integrity(self._slots, self._cache, self._scheduler, self._inbox, self._context)
