"""Which computed prefixes exist and who may use them: the slots' contents and, behind them, host memory and the disk.

One index over all places: token ids, owner, adapters, where. A few hundred arrays compare in microseconds, so there is
no tree. It keeps books only; moving KV state between the places is the work of `engine.placement`. The disk is looked
at only where it has much more than the other two, and for its owner alone.
"""

from __future__ import annotations

from collections import deque
from collections.abc import Iterable
from dataclasses import dataclass
from itertools import chain

from llm_core.engine.kv.checkpoint import Checkpoint, last_of, size_of, thinned
from llm_core.engine.kv.entry import DiskEntry, Fetch, HostEntry
from llm_core.engine.kv.slot import Slot
from llm_core.engine.llama.arrays import Tokens, common_prefix
from llm_core.lora import AdapterSet

Source = Slot | HostEntry | DiskEntry
EVICTED_KEPT = 128

LEAST_FROM_DISK = 64
"""Tokens that a file has to have more than memory; else they are computed in about the time that it takes to read."""
_SHARE_FROM_DISK = 8  # and this part of all that is in it


@dataclass(frozen=True, slots=True)
class Prompt:
    """What a prefix is looked for of.

    Attributes:
        tokens: Token ids, without the last one: its logits are what the reply starts from, so it is always computed.
        owner: Who asks.
        shared_tokens: How many of the first of them any owner may share.
        adapters: What it is computed with beside the model.
    """

    tokens: Tokens
    owner: str
    shared_tokens: int
    adapters: AdapterSet = ()


@dataclass(frozen=True, slots=True)
class Match:
    """The longest usable prefix found: `length` tokens in `source`."""

    source: Source | None
    length: int


class PrefixCache:
    """The index.

    Args:
        slots: All slots of the engine; their contents are entries as they stand.
        disk: What is there now; kept by `archive`.
        host_bytes: The most memory that `HostEntry`s and checkpoints may use; the least recently used leave first.
        can_trim: The model's memory can be cut. Else (recurrent, hybrid) an entry is usable whole or to a checkpoint.

    Attributes:
        evicted: Tokens, owner and adapters of what had to make room last, to tell its owner why it is computed again.
    """

    def __init__(self, slots: list[Slot], disk: Iterable[DiskEntry], *, host_bytes: int, can_trim: bool) -> None:
        self._slots, self._disk = slots, disk
        self.host_limit = host_bytes
        self._can_trim = can_trim
        self.host: list[HostEntry] = []
        self.evicted: deque[tuple[Tokens, str, AdapterSet]] = deque(maxlen=EVICTED_KEPT)

    @property
    def host_bytes(self) -> int:
        return sum(entry.size for entry in self.host) + sum(size_of(slot.checkpoints) for slot in self._slots)

    def best(self, prompt: Prompt, fetch: Fetch | None = None) -> Match:
        """The longest prefix of the prompt that is computed already. Of equals a free slot comes first: it is free.

        Args:
            prompt: What is asked.
            fetch: The look at the disk that was had for it. There is one.
        """
        best = Match(None, 0)
        found = [fetch.found] if fetch and fetch.found else []
        for source in chain(self._sources(), found):
            length = self._usable(prompt, source.known, source)
            if length > best.length:
                best = Match(source, length)
        return best if fetch else self._best_on_disk(prompt, best)

    def _best_on_disk(self, prompt: Prompt, best: Match) -> Match:
        least = best.length + LEAST_FROM_DISK
        for entry in self._disk:
            if entry.owner == prompt.owner:
                length = self._usable(prompt, entry.known, entry)
                if length >= max(least, best.length + len(entry.known) // _SHARE_FROM_DISK):
                    best, least = Match(entry, length), length + 1
        return best

    def worth_waiting(self, prompt: Prompt, now: int, prefilling: Iterable[tuple[Tokens, Slot]], least: int) -> bool:
        """Whether a prompt that is being computed right now will hold more of this prompt than the `now` tokens that
        can be had already.

        Only prefixes of at least `least` tokens count, and only where the other prompt has no more left to compute than
        this one would save: waiting then costs nothing.

        Args:
            prompt: What is asked.
            now: Tokens.
            prefilling: The prompts that are being computed, each with the slot that it is computed in.
            least: Tokens.
        """
        if not self._can_trim:
            return False
        for known, slot in prefilling:
            coming = self._usable(prompt, known, slot)
            if coming >= least and now < coming and now <= slot.length:
                return True
        return False

    def covers(self, slot: Slot) -> bool:
        """Whether another entry that the same owner may use already holds all that is in this slot."""
        return any(
            source is not slot and _is_alike(source, slot) and common_prefix(source.known, slot.known) == slot.length
            for source in self._sources()
        )

    def add(self, entry: HostEntry) -> None:
        """Takes an entry in. Shorter ones of the same owner that it continues go, and old ones until it fits."""
        self.host = [
            old
            for old in self.host
            if not _is_alike(old, entry) or common_prefix(old.known, entry.known) < len(old.known)
        ]
        if entry.size > self.host_limit:
            self.evicted.append((entry.known, entry.owner, entry.adapters))
            return
        self.host.append(entry)
        self.make_room()

    def add_checkpoint(self, slot: Slot, checkpoint: Checkpoint) -> None:
        """Takes a checkpoint of a slot in; old entries go until it fits, then old checkpoints."""
        slot.checkpoints = thinned((*slot.checkpoints, checkpoint))
        self.make_room()

    def make_room(self) -> None:
        """Has old entries go until the rest is within the limit, then old checkpoints."""
        while self.host and self.host_bytes > self.host_limit:
            oldest = min(self.host, key=lambda old: old.last_used)
            self.evicted.append((oldest.known, oldest.owner, oldest.adapters))
            self.remove(oldest)
        for slot in sorted(self._slots, key=lambda slot: slot.last_used):
            while slot.checkpoints and self.host_bytes > self.host_limit:
                slot.checkpoints = slot.checkpoints[1:]

    def remove(self, entry: HostEntry) -> None:
        """Forgets an entry; one that has left already is no error."""
        self.host = [other for other in self.host if other is not entry]

    def forget(self, owner: str, session: str) -> None:
        """Forgets a session's entries."""
        self.host = [entry for entry in self.host if (entry.owner, entry.session) != (owner, session)]
        self.evicted = deque((past for past in self.evicted if past[1] != owner), maxlen=EVICTED_KEPT)

    def clear(self) -> None:
        self.host.clear()
        self.evicted.clear()

    def _sources(self) -> Iterable[Slot | HostEntry]:
        yield from (slot for slot in self._slots if slot.is_free)
        yield from (slot for slot in self._slots if not slot.is_free)
        yield from self.host

    def _usable(self, prompt: Prompt, known: Tokens, source: Source) -> int:
        if source.adapters != prompt.adapters:
            return 0
        length = common_prefix(prompt.tokens, known)
        if source.owner != prompt.owner:
            length = min(length, source.shared_tokens, prompt.shared_tokens)
        if length == len(known) or (self._can_trim and length >= source.shortest):
            return length
        checkpoint = last_of(source.checkpoints, length)
        return checkpoint.length if checkpoint else 0


def _is_alike(one: Source, other: Source) -> bool:
    """Whether the same prompts may go on from both."""
    return one.owner == other.owner and one.adapters == other.adapters
