"""What a step computes, in calls of llama.cpp: the next tokens of what runs, and parts of prompts."""

from __future__ import annotations

import time
from collections.abc import Callable
from collections.abc import Sequence as Row

import numpy as np

from llm_core.engine.checkpoints import Checkpoints
from llm_core.engine.draft import MOST_TOKENS, Drafter, learn
from llm_core.engine.facts import EngineOptions
from llm_core.engine.generation import advance
from llm_core.engine.grouping import split_by_adapters, split_by_length
from llm_core.engine.llama.arrays import Tokens
from llm_core.engine.llama.context import Batch, Context
from llm_core.engine.llama.model import Model
from llm_core.engine.pace import Pace
from llm_core.engine.scheduler import share_budget
from llm_core.engine.sequence import Sequence
from llm_core.events import FinishReason

_BATCH_TOKENS = 512
_WARM_UP_TOKENS = 16


class Decoder:
    """Computes tokens of sequences that have slots, samples the next ones, and hands their text out.

    Runs on the engine's thread.

    Args:
        model: The model.
        options: Those of the engine.
        end: Called with a sequence whose reply has ended, and why; or with the error that ends it.

    Attributes:
        batch: What one call gets.
        prefilled, generated: Tokens since the start, of prompts and of replies.
    """

    def __init__(
        self, model: Model, options: EngineOptions, *, end: Callable[[Sequence, FinishReason | Exception], None]
    ) -> None:
        self._model, self._end = model, end
        self.batch = Batch(max(_BATCH_TOKENS, options.slots))
        self.prefilled = self.generated = 0
        self._pace = Pace(options.step_seconds)
        self._drafter = Drafter() if options.drafts == "auto" and model.can_trim else None
        self._samples_all = options.drafts == "off"
        self._step = 0

    def use(self, context: Context, checkpoints: Checkpoints) -> None:
        """What is computed with from now on."""
        self._context, self._checkpoints = context, checkpoints

    def decode(self, running: Row[Sequence], *, step: int) -> None:
        """Every running sequence's next tokens: one, or more where what comes next is sure or likely."""
        self._step = step
        running = sorted(running, key=_slot_index)
        drafts = self._drafter.drafts(running) if self._drafter else {}
        for alike in split_by_adapters(running, first=self._context.adapters):
            for sequence in alike:
                if sequence in drafts:
                    self._try(sequence, drafts[sequence])
            rest = [each for each in alike if each not in drafts]
            for group in split_by_length(rest) if self._context.pads_to_longest else [rest]:
                self._decode_group(group)

    def _decode_group(self, group: Row[Sequence]) -> None:
        """The next tokens of sequences with the same adapters, in one call."""
        started = time.monotonic()
        most = self.batch.capacity // max(1, len(group))
        tokens = self._compute({each: min(each.uncomputed, most) for each in group})
        if self._drafter and tokens == 1:
            self._drafter.observe(1, time.monotonic() - started)

    def read(
        self,
        prompts: Row[Sequence],
        *,
        streams: int,
        started: float,
        step: int,
        is_wanted: Callable[[], bool] | None,
    ) -> None:
        """Some of the prompts: docs/engine.md says how much of which. Those with other adapters than the oldest wait.

        They have a batch of their own, after the running sequences' tokens have been handed out: what is left of the
        step is measured and not guessed, and no running sequence is computed as if it were as long as the prompt.

        Args:
            prompts: The oldest first.
            streams: How many sequences run beside them.
            started: When the step began, in seconds of `time.monotonic`.
            is_wanted: Whether somebody waits for this thread, asked once `Context.interrupt` would end the call. None:
                the call is not to be interrupted.
        """
        self._step = step
        now = time.monotonic()
        prompts = [each for each in prompts if each.adapters == prompts[0].adapters]
        if prompts[0].was_interrupted:  # so that no series of newcomers can keep a prompt from its end
            is_wanted = None
        if is_wanted is not None:
            budget = self._pace.tokens_in(prompts[0].deadline - now)
        elif not streams:
            budget = self._pace.burst
        else:
            budget = self._pace.prefill_budget(now - started)
        shares = share_budget(prompts, budget, burst=self._pace.burst, capacity=self.batch.capacity)
        shares = self._checkpoints.limit(shares)
        tokens = self._compute(shares, is_wanted)
        self._checkpoints.take(shares)
        self.prefilled += tokens
        prompts[0].was_interrupted = tokens < sum(shares.values())
        if not prompts[0].was_interrupted:
            self._pace.observe(tokens, time.monotonic() - now)

    def warm_up(self) -> None:
        """Computes a few tokens, so that weights are paged in and calls have been timed before the first request."""
        self._time_call(1)
        for _ in range(2):
            self._pace.observe(_WARM_UP_TOKENS, self._time_call(_WARM_UP_TOKENS))
        if self._drafter:
            self._drafter.begin(lambda tokens: min(self._time_call(tokens) for _ in range(3)))

    def _time_call(self, tokens: int) -> float:
        """Seconds that a call for so many tokens takes."""
        self.batch.clear()
        self.batch.add(0, 0, np.ones(tokens, np.int32), wants_logits=True, of_each=tokens <= 1 + MOST_TOKENS)
        started = time.monotonic()
        self._context.decode(self.batch)
        seconds = time.monotonic() - started
        self._context.trim(0, 0)
        return seconds

    def _compute(self, shares: dict[Sequence, int], is_wanted: Callable[[], bool] | None = None) -> int:
        """Decodes the next tokens of some sequences with the same adapters, so many of each, and samples where a
        sequence's last one is among them. Returns how many were decoded: less where it was interrupted."""
        if not shares:
            return 0
        self._context.use_adapters(next(iter(shares)).adapters)
        self.batch.clear()
        outputs = [(each, self._add_chunk(each, shares[each])) for each in sorted(shares, key=_slot_index)]
        is_whole = self._context.decode(self.batch) if is_wanted is None else self._decode_unless(is_wanted)
        computed = 0
        for sequence, share in shares.items():
            slot = sequence.running_slot
            count = share if is_whole else self._context.length(slot.index) - slot.length
            slot.extend(sequence.tokens[slot.length : slot.length + count])
            slot.last_used = self._step
            computed += count
        for sequence, output in outputs if is_whole else ():
            if output is not None:
                self._sample(sequence, output)
        return computed

    def _decode_unless(self, is_wanted: Callable[[], bool]) -> bool:
        """Decodes the batch until somebody wants this thread. False: not to the end."""
        with self._context.interruptible():
            return not is_wanted() and self._context.decode(self.batch)  # who came before this could not interrupt

    def _add_chunk(self, sequence: Sequence, count: int) -> int | None:
        """Adds tokens to the batch; returns the index to sample from, None in the middle of a prompt."""
        slot = sequence.running_slot
        is_last = count == sequence.uncomputed
        tokens = sequence.tokens[slot.length : slot.length + count]
        output = self.batch.add(slot.index, slot.length, tokens, wants_logits=is_last)
        return output if is_last else None

    def _try(self, sequence: Sequence, draft: Tokens) -> None:
        """Decodes a sequence's next token and those that may follow it, and keeps them as far as they are sampled."""
        started = time.monotonic()
        slot = sequence.running_slot
        self._context.use_adapters(sequence.adapters)
        tokens = np.append(sequence.tokens[slot.length : sequence.length], draft)
        self.batch.clear()
        first = self.batch.add(slot.index, slot.length, tokens, wants_logits=True, of_each=True) - len(draft)
        self._context.decode(self.batch)
        slot.extend(tokens[:1])
        held = 0
        while self._sample(sequence, first + held) and held < len(draft) and sequence.known[-1] == draft[held]:
            slot.extend(draft[held : held + 1])
            held += 1
        slot.last_used = self._step
        self._context.trim(slot.index, slot.length)
        learn(sequence, len(draft), held)
        assert self._drafter is not None
        self._drafter.observe(len(tokens), time.monotonic() - started)

    def _sample(self, sequence: Sequence, output: int) -> bool:
        """Advances a sequence by its next token. False: it has ended."""
        before = sequence.generated
        outcome: FinishReason | Exception | None
        try:
            outcome = advance(self._model, self._context, sequence, output, samples_all=self._samples_all)
        except Exception as error:
            outcome = error
        else:
            self.generated += sequence.generated - before
        if outcome is not None:
            self._end(sequence, outcome)
        return outcome is None


def _slot_index(sequence: Sequence) -> int:
    return sequence.running_slot.index
