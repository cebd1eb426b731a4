"""Prompt lookup: what a reply's last tokens were followed by earlier is likely to follow them again.

A reply that repeats its prompt or itself (a rewritten text, code with one change, JSON) has its next tokens looked up
there and tried in one call, which costs little more than a call for one token. Each is sampled as it would have been
without, and the first that differs ends the trial, so the text is the same (A. Saxena, "Prompt Lookup Decoding").
"""

from __future__ import annotations

from collections.abc import Sequence as Row

import numpy as np

from llm_core.engine.arrays import Tokens
from llm_core.engine.prefix_cache import common_prefix
from llm_core.engine.sequence import FIRST_DRAFT_RATE, Sequence

MOST_TOKENS = 8
"""Tried at once. More rarely hold: at an acceptance of 0.9 the ninth is right in four of ten trials."""
_MOST_STREAMS = 4  # with more, a call for their next tokens has as much to compute as it can do at once
_NEEDLE = 3  # tokens that must have been said before: with two, ordinary words match
_PLACES = 8  # the last ones at which they were said
_AGREEMENT = 32  # tokens before them that are compared to choose one
_RATE_STEP = 0.25
_RATE_DRIFT = 0.01
_COST_STEP = 0.1


def lookup(known: Tokens, most: int) -> Tokens:
    """The tokens that followed where the last ones stood before, at most so many; none where they did not.

    Of several places the one is taken before which most is the same, of equals the last.
    """
    body, end = known[:-1], len(known)
    if len(body) < _NEEDLE:
        return known[end:]
    is_here = body[_NEEDLE - 1 :] == known[-1]
    for back in range(1, _NEEDLE):
        is_here &= body[_NEEDLE - 1 - back : len(body) - back] == known[-1 - back]
    places = np.flatnonzero(is_here)[-_PLACES:] + _NEEDLE
    if not len(places):
        return known[end:]
    best = max(places.tolist(), key=lambda place: (_agreement(known, place), place))
    return known[best : min(best + most, end)]


def _agreement(known: Tokens, place: int) -> int:
    before = known[max(0, place - _AGREEMENT) : place]
    return common_prefix(before[::-1], known[-_AGREEMENT:][::-1])


class Drafter:
    """Decides whether to try, and how many tokens, by what calls cost here and by how often trials held."""

    def __init__(self) -> None:
        self._one = self._most = 0.0  # seconds of a call for one token, and for one and `MOST_TOKENS` more

    def observe(self, tokens: int, seconds: float) -> None:
        """Learns from a call for so many tokens."""
        if tokens == 1:
            self._one += (_COST_STEP if self._one else 1.0) * (seconds - self._one)
        elif 1 < tokens <= MOST_TOKENS + 1 and self._one:
            most = self._one + max(0.0, seconds - self._one) * MOST_TOKENS / (tokens - 1)
            self._most += (_COST_STEP if self._most else 1.0) * (most - self._most)

    def drafts(self, running: Row[Sequence]) -> dict[Sequence, Tokens]:
        """What to try, for the sequences for which it pays."""
        if not 0 < len(running) <= _MOST_STREAMS or not self._most:
            return {}
        found = {sequence: self._draft(sequence, len(running)) for sequence in running}
        return {sequence: draft for sequence, draft in found.items() if len(draft)}

    def _draft(self, sequence: Sequence, streams: int) -> Tokens:
        request = sequence.request
        room = min(request.max_tokens - sequence.generated, sequence.capacity - sequence.length) - 1
        nothing = sequence.known[sequence.length :]
        if request.constraint is not None or sequence.uncomputed != 1 or room < 1:
            return nothing
        draft = lookup(sequence.known, min(MOST_TOKENS, room))
        if not len(draft):
            return nothing
        paying = self._paying(len(draft), sequence.draft_rate, streams)
        if not paying:  # it is tried again some time: what follows may repeat
            sequence.draft_rate += _RATE_DRIFT * (FIRST_DRAFT_RATE - sequence.draft_rate)
        return draft[:paying]

    def _paying(self, most: int, rate: float, streams: int) -> int:
        """How many tokens to try for the most tokens a second, 0 where none pay. They have a call of their own then,
        beside that of the other streams."""
        together = self._cost(streams - 1)
        best, length = streams / self._cost(streams), 0
        for tokens in range(1, most + 1):
            held = rate * (1 - rate**tokens) / (1 - rate) if rate < 1 else tokens
            value = (streams + held) / (self._cost(1 + tokens) + together)
            if value > best:
                best, length = value, tokens
        return length

    def _cost(self, tokens: int) -> float:
        return self._one + (self._most - self._one) * (tokens - 1) / MOST_TOKENS if tokens else 0.0


def learn(sequence: Sequence, tried: int, held: int) -> None:
    """Records how a trial ended."""
    sequence.draft_tokens += tried
    sequence.accepted_tokens += held
    sequence.draft_rate += _RATE_STEP * (held / min(tried, held + 1) - sequence.draft_rate)
