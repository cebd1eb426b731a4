"""Puts a waiting sequence into a slot, with as much of its prompt already computed as can be had."""

from __future__ import annotations

import logging
import time
from collections.abc import Sequence as Row

from llm_core.engine.cache_miss import cache_miss
from llm_core.engine.kv.archive import LEAST_TOKENS, Archive
from llm_core.engine.kv.checkpoint import last_of
from llm_core.engine.kv.entry import DiskEntry, HostEntry
from llm_core.engine.kv.prefix_cache import Match, PrefixCache, Prompt
from llm_core.engine.kv.slot import Slot
from llm_core.engine.llama.context import Context
from llm_core.engine.sequence import Sequence

log = logging.getLogger(__name__)

MIN_MOVED_TOKENS = 32
"""Tokens below which a prefix is computed afresh: moving a stream costs about as much time (docs/decisions)."""


class Placement:
    """Chooses slots, and moves KV state between slots, host memory and the archive.

    Runs on the engine's thread, between decodes.
    """

    def __init__(self, context: Context, slots: list[Slot], cache: PrefixCache, archive: Archive | None) -> None:
        self._context = context
        self._slots = slots
        self._cache = cache
        self._archive = archive
        self._seconds_per_byte = 1e-9

    def try_place(self, sequence: Sequence, prefilling: Row[Sequence], now: int) -> bool:
        """Gives the sequence a slot. False: it is better to wait, for a slot or for a prefix that is being computed.

        Args:
            sequence: The waiting sequence.
            prefilling: Those whose prompts are being computed.
            now: The number of this step, for the order of last use.
        """
        free = [slot for slot in self._slots if slot.is_free]
        if sequence.fetch is not None and not sequence.fetch.is_over:
            return False
        if not free:
            return False
        request = sequence.request
        known = sequence.tokens[: len(request.prompt) - 1]
        prompt = Prompt(known, request.owner, request.shared_tokens, request.adapters)
        match = self._cache.best(prompt, sequence.fetch)
        coming = [(other.known, other.running_slot) for other in prefilling]
        if self._cache.worth_waiting(prompt, match.length, coming, MIN_MOVED_TOKENS):
            return False
        if isinstance(match.source, DiskEntry):
            assert self._archive is not None
            sequence.fetch = self._archive.fetch(match.source)
            return False
        if isinstance(match.source, Slot) and match.source.is_free and self._take_over(match, free):
            slot = match.source
        else:
            # A slot whose content is being copied must not be overwritten before the copy has happened.
            targets = [s for s in free if s is not match.source and s.index not in self._context.copy_sources]
            if not targets:
                return False
            slot = min(targets, key=self._cost_of_eviction)
            self._keep(slot)
            self._fill(slot, match)
        slot.is_free, slot.owner, slot.last_used = False, request.owner, now
        slot.session, slot.is_on_disk = request.session, False
        slot.shared_tokens, slot.adapters = request.shared_tokens, request.adapters
        sequence.slot, sequence.cached_tokens = slot, slot.length
        sequence.cache_miss = cache_miss(
            sequence, self._cache, self._archive.outdated if self._archive is not None else set()
        )
        return True

    def unwritten(self, seconds: float) -> tuple[HostEntry | None, bool]:
        """The state of an idle conversation that is not on disk, and whether there are more.

        Args:
            seconds: How long it may take to copy it; where it would take longer there is none now.
        """
        wanted: list[Slot | HostEntry] = [entry for entry in self._cache.host if _is_unwritten(entry)]
        wanted += [slot for slot in self._slots if slot.is_free and _is_unwritten(slot)]
        if not wanted:
            return None, False
        first = min(wanted, key=lambda each: each.last_used)
        if isinstance(first, Slot):
            if self._context.size(first.index) * self._seconds_per_byte > seconds:
                return None, True
            started = time.monotonic()
            entry = self._saved(first)
            self._seconds_per_byte = (time.monotonic() - started) / entry.size
        else:
            entry = first
        first.is_on_disk = True
        return entry, len(wanted) > 1

    def forget(self, owner: str, session: str) -> None:
        """Forgets what belongs to a session, wherever it is."""
        if self._archive is not None:
            self._archive.forget(owner, session)
        self._cache.forget(owner, session)
        for slot in self._slots:
            if (slot.owner, slot.session) == (owner, session):
                slot.session = ""  # one that runs is not written when it ends
                if slot.is_free:
                    self._trim(slot, 0)

    def clear(self) -> None:
        """Forgets what is in free slots, in host memory and on disk."""
        if self._archive is not None:
            self._archive.clear()
        self._cache.clear()
        for slot in self._slots:
            if slot.is_free:
                self._trim(slot, 0)

    def _take_over(self, match: Match, free: list[Slot]) -> bool:
        """Goes on in the free slot that holds the prefix, unless that would throw away much of another conversation
        while there is a slot to copy the prefix to."""
        slot = match.source
        assert isinstance(slot, Slot)
        lost = slot.length - match.length
        if lost >= MIN_MOVED_TOKENS:
            if match.length >= MIN_MOVED_TOKENS and len(free) > 1:
                return False
            self._keep(slot)
        if lost:
            self._trim(slot, match.length)
        return True

    def _cost_of_eviction(self, slot: Slot) -> tuple[bool, bool, int]:
        """Neighbours of a running one first: llama.cpp computes only neighbours together. Then empty, then oldest."""
        neighbours = [self._slots[i] for i in (slot.index - 1, slot.index + 1) if 0 <= i < len(self._slots)]
        return (all(each.is_free for each in neighbours), slot.length > 0, slot.last_used)

    def _keep(self, slot: Slot) -> None:
        """Moves what the slot holds to host memory, where it is worth that and nothing else holds it."""
        if slot.length < MIN_MOVED_TOKENS or self._cache.covers(slot):
            return
        self._cache.add(self._saved(slot))

    def _saved(self, slot: Slot) -> HostEntry:
        state, shortest = self._context.save(slot.index)
        return HostEntry(
            slot.known.copy(),
            slot.owner,
            slot.session,
            slot.shared_tokens,
            shortest,
            slot.checkpoints,
            state,
            slot.last_used,
            slot.is_on_disk,
            slot.adapters,
        )

    def _fill(self, slot: Slot, match: Match) -> None:
        """Empties the slot and puts the matching prefix there."""
        self._trim(slot, 0)
        source = match.source
        if source is None or match.length < MIN_MOVED_TOKENS:
            return
        assert not isinstance(source, DiskEntry)
        prefix = source.known[: match.length].copy()
        if isinstance(source, Slot):
            self._context.copy(source.index, slot.index)
        elif not self._context.restore(slot.index, source.state):
            log.warning("a saved prefix of %d tokens could not be restored; it is computed afresh", match.length)
            self._cache.remove(source)
            if self._archive is not None and source.is_on_disk:
                self._archive.forget(source.owner, source.session)
            return
        elif match.length == len(source.known):
            self._cache.remove(source)
        slot.hold(prefix)
        slot.shortest, slot.checkpoints = source.shortest, source.checkpoints
        if match.length < len(source.known):
            self._trim(slot, match.length)
        self._cache.make_room()  # its checkpoints are in two places now

    def _trim(self, slot: Slot, length: int) -> None:
        """Cuts what the slot holds, or goes back to a checkpoint; where neither can be done after all, it is empty."""
        checkpoint = last_of(slot.checkpoints, length)
        is_there = checkpoint is not None and checkpoint.length == length
        if not self._context.trim(slot.index, length, checkpoint.state if checkpoint and is_there else None):
            log.warning("a prefix of %d tokens could not be cut out of %d; it is computed afresh", length, slot.length)
            length = 0
            self._context.trim(slot.index, 0)
        slot.length = length
        slot.checkpoints = tuple(each for each in slot.checkpoints if each.length <= length)
        if not length:
            slot.shortest = 0


def _is_unwritten(source: Slot | HostEntry) -> bool:
    return bool(source.session) and not source.is_on_disk and len(source.known) >= LEAST_TOKENS
