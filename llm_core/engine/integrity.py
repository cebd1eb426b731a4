"""Whether slots, cache and queue agree with each other and with llama.cpp, between two steps of the engine."""

from __future__ import annotations

from collections.abc import Iterator
from collections.abc import Sequence as Row

import numpy as np

from llm_core.engine.inbox import Inbox
from llm_core.engine.kv.prefix_cache import PrefixCache
from llm_core.engine.kv.slot import Slot
from llm_core.engine.llama.context import Context
from llm_core.engine.scheduler import Scheduler
from llm_core.engine.sequence import Sequence


class IntegrityError(Exception):
    """Something of the engine's state contradicts the rest: a fault of the engine. Each line says what does."""


def check_integrity(slots: Row[Slot], cache: PrefixCache, scheduler: Scheduler, inbox: Inbox, context: Context) -> None:
    """Runs on the engine's thread.

    Raises:
        IntegrityError: They do not agree.
    """
    faults = [*_faults_of_queue(slots, scheduler), *_faults_of_cache(cache)]
    if not inbox.counts(len(scheduler.all())):
        faults.append(f"{len(scheduler.all())} requests are in the queue, and {inbox.accepted} are counted")
    for slot in slots:
        faults += _faults_of_slot(slot, context)
    if faults:
        raise IntegrityError("\n".join(faults))


def _faults_of_queue(slots: Row[Slot], scheduler: Scheduler) -> Iterator[str]:
    if len({id(each) for each in scheduler.all()}) < len(scheduler.all()):
        yield "a sequence is in the queue twice"
    for sequence in scheduler.waiting:
        if sequence.slot is not None or sequence.generated:
            yield "a waiting sequence has been in a slot"
    taken = [sequence.running_slot.index for sequence in scheduler.running if sequence.slot is not None]
    if len(taken) < len(scheduler.running):
        yield "a running sequence has no slot"
    busy = [slot.index for slot in slots if not slot.is_free]
    if sorted(taken) != busy:
        yield f"sequences run in the slots {sorted(taken)}, but {busy} are taken"
    for sequence in scheduler.running:
        if sequence.slot is not None:
            yield from _faults_of_running(sequence, sequence.slot)


def _faults_of_running(sequence: Sequence, slot: Slot) -> Iterator[str]:
    if slot.owner != sequence.owner:
        yield f"slot {slot.index} does not belong to the owner of its sequence"
    if slot.adapters != sequence.adapters:
        yield f"slot {slot.index} is computed with other adapters than its sequence asks for"
    if slot.length >= sequence.length and sequence.length < sequence.capacity:
        yield f"slot {slot.index} has nothing left to compute"
    if not np.array_equal(slot.known, sequence.tokens[: slot.length]):
        yield f"slot {slot.index} holds other tokens than its sequence"


def _faults_of_slot(slot: Slot, context: Context) -> Iterator[str]:
    if not 0 <= slot.length <= slot.capacity:
        yield f"slot {slot.index} holds {slot.length} tokens of {slot.capacity}"
    if (native := context.length(slot.index)) != slot.length:
        yield f"slot {slot.index} holds {slot.length} tokens, by llama.cpp's account {native}"
    if context.can_trim and (native := context.shortest(slot.index)) > slot.shortest:
        yield f"slot {slot.index} could be cut to {slot.shortest} tokens, by llama.cpp's account to {native}"
    if [each.length for each in slot.checkpoints] != sorted({each.length for each in slot.checkpoints}):
        yield f"slot {slot.index} has its checkpoints in no order"
    if slot.checkpoints and slot.checkpoints[-1].length > slot.length:
        yield f"slot {slot.index} has a checkpoint behind what it holds"
    if not slot.is_free and not 0 <= slot.shared_tokens <= slot.capacity:
        yield f"slot {slot.index} shares {slot.shared_tokens} tokens"


def _faults_of_cache(cache: PrefixCache) -> Iterator[str]:
    if cache.host_bytes > cache.host_limit:
        yield f"host memory holds {cache.host_bytes} bytes of {cache.host_limit}"
    if len({id(entry) for entry in cache.host}) < len(cache.host):
        yield "host memory has an entry twice"
