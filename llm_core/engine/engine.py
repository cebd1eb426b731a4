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

import numpy as np

from llm_core.engine.archive import Archive
from llm_core.engine.checkpoints import Checkpoints
from llm_core.engine.draft import MOST_TOKENS, Drafter, learn
from llm_core.engine.entry import HostEntry
from llm_core.engine.facts import EngineOptions, EngineStats
from llm_core.engine.generation import advance
from llm_core.engine.grouping import split_by_length
from llm_core.engine.inbox import Close, Inbox, Job
from llm_core.engine.integrity import check_integrity
from llm_core.engine.llama import Batch, Context, DecodeFailed, Model, Tokens
from llm_core.engine.pace import Pace
from llm_core.engine.placement import Placement
from llm_core.engine.prefix_cache import PrefixCache
from llm_core.engine.sampler import Sampler
from llm_core.engine.scheduler import Scheduler, share_budget
from llm_core.engine.sequence import GenerationRequest, Piece, Sequence, Sink
from llm_core.engine.slot import Slot
from llm_core.errors import (
    EngineClosed,
    EngineFailed,
    LLMError,
    ModelError,
    SequenceFailed,
)
from llm_core.events import FinishReason

log = logging.getLogger(__name__)

_BATCH_TOKENS = 512
_FETCH_SECONDS = 0.05  # a sequence that waits for a file is looked after so often


class Engine:
    """Runs requests on one loaded model.

    Args:
        model: The model; the caller closes it, after the engine.
        options: Sizes and limits.

    Raises:
        ModelError: There is not enough memory for the slots.
    """

    def __init__(self, model: Model, options: EngineOptions) -> None:
        self.model = model
        self.options = options
        self._inbox = Inbox(slots=options.slots, queue_limit=options.queue_limit)
        self._scheduler = Scheduler()
        self._pace = Pace(options.step_seconds)
        self._batch = Batch(max(_BATCH_TOKENS, options.slots))
        self._steps = self._prefilled = self._generated = self._rebuilds = 0
        self._was_interrupted = False
        self._drafter = Drafter() if options.drafts and model.can_trim else None
        self._thread = threading.Thread(target=self._run, name="llm-engine", daemon=True)
        self._archive = Archive.open(model, options, unwritten=self._unwritten, post=self._post)
        try:
            self._open_context()
        except ModelError:
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
            InvalidRequest: A token id is not in the vocabulary, or the prompt is empty.
            EngineClosed, EngineFailed: The engine does not run any more.
        """
        request.check(vocab_size=self.model.vocab_size, context_tokens=self.context_tokens)
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
            prefilled_tokens=self._prefilled,
            generated_tokens=self._generated,
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
            self._warm_up()
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
        started = time.monotonic()
        try:
            self._end_cancelled_and_late(started)
            self._admit(started)
            self._decode_running()
            self._prefill_prompts(started)
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

    def _decode_running(self) -> None:
        """Every running sequence's next tokens: one, or more where what comes next is sure or likely."""
        running = sorted(self._scheduler.decoding(), key=_slot_index)
        drafts = self._drafter.drafts(running) if self._drafter else {}
        for sequence, draft in drafts.items():
            self._try(sequence, draft)
        running = [each for each in running if each not in drafts]
        for group in split_by_length(running) if self._context.pads_to_longest else [running]:
            started = time.monotonic()
            most = self._batch.capacity // max(1, len(group))
            tokens = self._compute({each: min(each.uncomputed, most) for each in group})
            if self._drafter and tokens == 1:
                self._drafter.observe(1, time.monotonic() - started)

    def _try(self, sequence: Sequence, draft: Tokens) -> None:
        """Decodes a sequence's next token and those that may follow it, and keeps them as far as they are sampled."""
        started = time.monotonic()
        slot = sequence.running_slot
        tokens = np.append(sequence.tokens[slot.length : sequence.length], draft)
        self._batch.clear()
        first = self._batch.add(slot.index, slot.length, tokens, wants_logits=True, of_each=True) - len(draft)
        self._context.decode(self._batch)
        slot.extend(tokens[:1])
        held = 0
        while self._sample(sequence, first + held) and held < len(draft) and sequence.known[-1] == draft[held]:
            slot.extend(draft[held : held + 1])
            held += 1
        slot.last_used = self._steps
        self._context.trim(slot.index, slot.length)
        learn(sequence, len(draft), held)
        assert self._drafter is not None
        self._drafter.observe(len(tokens), time.monotonic() - started)

    def _prefill_prompts(self, started: float) -> None:
        """Some of the prompts: docs/engine.md says how much of which.

        They have a batch of their own, after the running sequences' tokens have been handed out: what is left of the
        step is measured and not guessed, and no running sequence is computed as if it were as long as the prompt.
        """
        prompts = self._scheduler.prefilling()
        if not prompts:
            return
        now = time.monotonic()
        # Who has been interrupted gets on undisturbed once, so that no series of newcomers can keep it from its end.
        is_alone = len(self._scheduler.running) == 1 and self.model.can_trim and not self._was_interrupted
        if is_alone:
            budget = self._pace.tokens_in(prompts[0].deadline - now)
        elif len(prompts) == len(self._scheduler.running):
            budget = self._pace.burst
        else:
            budget = self._pace.prefill_budget(now - started)
        shares = share_budget(prompts, budget, burst=self._pace.burst, capacity=self._batch.capacity)
        shares = self._checkpoints.limit(shares)
        tokens = self._compute(shares, may_be_interrupted=is_alone)
        self._checkpoints.take(shares)
        self._prefilled += tokens
        self._was_interrupted = tokens < sum(shares.values())
        if not self._was_interrupted:
            self._pace.observe(tokens, time.monotonic() - now)

    def _compute(self, shares: dict[Sequence, int], *, may_be_interrupted: bool = False) -> int:
        """Decodes the next tokens of some sequences, so many of each, and samples where a sequence's last one is among
        them. Returns how many were decoded: less where it was interrupted."""
        if not shares:
            return 0
        self._batch.clear()
        outputs = [(each, self._add_chunk(each, shares[each])) for each in sorted(shares, key=_slot_index)]
        is_whole = self._decode_unless_wanted() if may_be_interrupted else self._context.decode(self._batch)
        computed = 0
        for sequence, share in shares.items():
            slot = sequence.running_slot
            count = share if is_whole else self._context.length(slot.index) - slot.length
            slot.extend(sequence.tokens[slot.length : slot.length + count])
            slot.last_used = self._steps
            computed += count
        for sequence, output in outputs if is_whole else ():
            if output is not None:
                self._sample(sequence, output)
        return computed

    def _decode_unless_wanted(self) -> bool:
        """Decodes the batch until somebody has something for this thread. False: not to the end."""
        with self._context.interruptible():
            # What came before this could not interrupt.
            is_wanted = not self._inbox.is_empty or any(each.cancel_requested for each in self._scheduler.running)
            return not is_wanted and self._context.decode(self._batch)

    def _add_chunk(self, sequence: Sequence, count: int) -> int | None:
        """Adds tokens to the batch; returns the index to sample from, None in the middle of a prompt."""
        slot = sequence.running_slot
        is_last = count == sequence.uncomputed
        tokens = sequence.tokens[slot.length : slot.length + count]
        output = self._batch.add(slot.index, slot.length, tokens, wants_logits=is_last)
        return output if is_last else None

    def _sample(self, sequence: Sequence, output: int) -> bool:
        """Advances a sequence by its next token. False: it has ended."""
        before = sequence.generated
        try:
            reason = advance(self.model, self._context, sequence, output)
        except Exception as error:
            self._fail(sequence, error)
            return False
        self._generated += sequence.generated - before
        if reason is not None:
            self._finish(sequence, reason)
        return reason is None

    # ── how a sequence ends ──────────────────────────────────────────────────────────────────────────────────────────

    def _finish(self, sequence: Sequence, reason: FinishReason) -> None:
        if rest := sequence.text.finish():
            sequence.emit(Piece(rest))
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

    def _close_archive(self) -> None:
        if self._archive is not None:
            self._archive.close()

    def _open_context(self) -> None:
        options = self.options
        self._context = Context(
            self.model,
            slots=options.slots,
            context_tokens=options.context_tokens,
            batch_tokens=self._batch.capacity,
            threads=options.threads,
            outputs=1 + MOST_TOKENS,
        )
        self._slots = [Slot(index, options.context_tokens) for index in range(options.slots)]
        disk = self._archive.entries if self._archive is not None else ()
        self._cache = PrefixCache(self._slots, disk, host_bytes=options.host_bytes, can_trim=self.model.can_trim)
        self._placement = Placement(self._context, self._slots, self._cache, self._archive)
        self._checkpoints = Checkpoints(self._context, self._cache, self.model.end_tokens)

    def _unwritten(self) -> tuple[HostEntry | None, bool]:
        """Where nothing runs, nobody waits for a state to be copied."""
        return self._placement.unwritten(self.options.step_seconds / 2 if self._scheduler.all() else math.inf)

    def _warm_up(self) -> None:
        """Computes a few tokens, so that weights are paged in and calls have been timed before the first request."""
        self._time_call(1)
        for _ in range(2):
            self._pace.observe(_WARM_UP_TOKENS, self._time_call(_WARM_UP_TOKENS))
        if self._drafter:
            for tokens in (1, 1 + MOST_TOKENS):
                self._drafter.observe(tokens, min(self._time_call(tokens) for _ in range(3)))

    def _time_call(self, tokens: int) -> float:
        """Seconds that a call for so many tokens takes."""
        self._batch.clear()
        self._batch.add(0, 0, np.ones(tokens, np.int32), wants_logits=True, of_each=tokens <= 1 + MOST_TOKENS)
        started = time.monotonic()
        self._context.decode(self._batch)
        seconds = time.monotonic() - started
        self._context.trim(0, 0)
        return seconds

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


_WARM_UP_TOKENS = 16


def _slot_index(sequence: Sequence) -> int:
    return sequence.running_slot.index
