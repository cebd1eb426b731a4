"""Who is next, and who gets how much of a step. Plain queues: no context, no text, no threads."""

from __future__ import annotations

import heapq
from collections import Counter, defaultdict, deque
from collections.abc import Iterable, Iterator

from llm_core.engine.sequence import Sequence


class Scheduler:
    """The waiting and the running sequences.

    The next slot goes to the owner who holds the fewest, among equals to who came first. With one owner that is first
    come, first served; with several, none can keep another waiting by asking more often.
    """

    def __init__(self) -> None:
        self.waiting: list[Sequence] = []
        self.running: list[Sequence] = []

    def add(self, sequence: Sequence) -> None:
        self.waiting.append(sequence)

    def start(self, sequence: Sequence) -> None:
        self.waiting.remove(sequence)
        self.running.append(sequence)

    def remove(self, sequence: Sequence) -> None:
        (self.running if sequence in self.running else self.waiting).remove(sequence)

    def all(self) -> list[Sequence]:
        return [*self.running, *self.waiting]

    def order(self) -> Iterator[Sequence]:
        """The waiting sequences in the order in which they will get slots, if none arrives or ends meanwhile."""
        if not self.waiting:  # the usual case, in every step
            return
        held = Counter(sequence.owner for sequence in self.running)
        queues: defaultdict[str, deque[tuple[int, Sequence]]] = defaultdict(deque)
        for arrival, sequence in enumerate(self.waiting):
            queues[sequence.owner].append((arrival, sequence))
        heads = [(held[owner], queue[0][0], owner) for owner, queue in queues.items()]
        heapq.heapify(heads)
        while heads:
            count, _, owner = heapq.heappop(heads)
            _, sequence = queues[owner].popleft()
            yield sequence
            if queues[owner]:
                heapq.heappush(heads, (count + 1, queues[owner][0][0], owner))

    def decoding(self) -> list[Sequence]:
        return [sequence for sequence in self.running if not sequence.is_prefilling]

    def prefilling(self) -> list[Sequence]:
        return [sequence for sequence in self.running if sequence.is_prefilling]


def share_budget(
    prompts: Iterable[Sequence], budget: int, *, burst: int = 0, capacity: int = 512
) -> dict[Sequence, int]:
    """Splits a step's prompt tokens.

    Args:
        prompts: The oldest first.
        budget: Tokens of the step. Half go to the oldest long prompt, so that it ends; the rest to the shortest first,
            so that a letter is not held up by a book.
        burst: Tokens that short prompts may have in all where that is more, first come, first served. A prompt is short
            where all of it would fit.
        capacity: The most tokens in all.
    """
    queue = list(prompts)
    shares: dict[Sequence, int] = {}
    left = min(max(budget, burst), capacity)
    for sequence in (each for each in queue if each.uncached_tokens <= burst):
        left -= _give(shares, sequence, left)
    long = [each for each in queue if each.uncached_tokens > burst]
    if not long:
        return shares
    given = sum(shares.values())
    half = (budget + 1) // 2
    left = min(max(half, budget - given), capacity - given)
    if len(long) > 1:
        left -= _give(shares, long[0], min(half, left))
    for sequence in sorted(long, key=lambda prompt: prompt.uncomputed):
        left -= _give(shares, sequence, left)
    return shares


def _give(shares: dict[Sequence, int], sequence: Sequence, most: int) -> int:
    """Adds tokens to a sequence's share; returns how many."""
    already = shares.get(sequence, 0)
    more = min(sequence.uncomputed - already, most)
    if more <= 0:
        return 0
    shares[sequence] = already + more
    return more
