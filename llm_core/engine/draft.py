"""Prompt lookup: what a reply's last tokens were followed by earlier is likely to follow them again.

A reply that repeats its prompt or itself (a rewritten text, code with one change, JSON) has its next tokens looked up
there and tried in one call, which costs little more than a call for one token. Each is sampled as it would have been
without, and the first that differs ends the trial, so the text is the same (A. Saxena, "Prompt Lookup Decoding").
"""

from __future__ import annotations

from collections.abc import Callable
from collections.abc import Sequence as Row

import numpy as np

from llm_core.engine.llama.arrays import Tokens, common_prefix
from llm_core.engine.sequence import FIRST_DRAFT_RATE, Sequence

MOST_TOKENS = 16
"""Tried at once. On two cores a call for 17 tokens of the bundled model takes six times as long as a call for one."""
_FEW_TOKENS = 4  # from two on, what a call costs grows evenly; one for one token is cheaper than that
_MOST_STREAMS = 4  # with more, a call for their next tokens has as much to compute as it can do at once
_NEEDLE = 3  # tokens that must have been said before: with two, ordinary words match
_PLACES = 8  # the last ones at which they were said
_AGREEMENT = 32  # tokens before them that are compared to choose one
_RATE_STEP = 0.25
_RATE_DRIFT = 0.01
_COST_STEP = 0.1
_LEAST_GAIN = 1.2  # of tokens a second: a trial is a longer wait for who reads along, so it has to be worth that


def lookup(known: Tokens, most: int) -> tuple[Tokens, int]:
    """The tokens that followed where the last ones stood before, at most so many, none where they did not; and how many
    were the same before them, up to 32.

    Of several places the one is taken before which most is the same, of equals the last.
    """
    body, end = known[:-1], len(known)
    if len(body) < _NEEDLE:
        return known[end:], 0
    is_here = body[_NEEDLE - 1 :] == known[-1]
    for back in range(1, _NEEDLE):
        is_here &= body[_NEEDLE - 1 - back : len(body) - back] == known[-1 - back]
    places = np.flatnonzero(is_here)[-_PLACES:] + _NEEDLE
    if not len(places):
        return known[end:], 0
    agreement, best = max((_agreement(known, place), place) for place in places.tolist())
    return known[best : best + most], agreement


def _agreement(known: Tokens, place: int) -> int:
    before = known[max(0, place - _AGREEMENT) : place]
    return common_prefix(before[::-1], known[-_AGREEMENT:][::-1])


class Drafter:
    """Decides whether to try, and how many tokens, by what calls cost here and by how often trials held."""

    def __init__(self) -> None:
        # Seconds of a call for one token, for `_FEW_TOKENS`, and for `MOST_TOKENS` and one.
        self._one = self._few = self._most = 0.0

    def begin(self, seconds: Callable[[int], float]) -> None:
        """Times calls: `seconds` tells what one for so many tokens takes."""
        self._one, self._few, self._most = (seconds(tokens) for tokens in (1, _FEW_TOKENS, 1 + MOST_TOKENS))

    def observe(self, tokens: int, seconds: float) -> None:
        """Learns from a call for so many tokens. What slows a machine down slows all calls alike."""
        if not self._one:
            return
        factor = (seconds / self._cost(tokens)) ** _COST_STEP
        if tokens == 1:
            self._one *= factor
        else:
            self._few, self._most = self._few * factor, self._most * factor

    def drafts(self, running: Row[Sequence]) -> dict[Sequence, Tokens]:
        """What to try, for the sequences for which it pays."""
        if not 0 < len(running) <= _MOST_STREAMS or not self._one:
            return {}
        found = {sequence: self._draft(sequence, len(running)) for sequence in running}
        return {sequence: draft for sequence, draft in found.items() if len(draft)}

    def _draft(self, sequence: Sequence, streams: int) -> Tokens:
        request = sequence.request
        room = min(request.max_tokens - sequence.generated, sequence.capacity - sequence.length) - 1
        nothing = sequence.known[sequence.length :]
        if request.constraint is not None or sequence.uncomputed != 1 or room < 1:
            return nothing
        draft, agreement = lookup(sequence.known, min(MOST_TOKENS, room))
        if not len(draft):
            return nothing
        # The longer the text was the same, the surer is what follows.
        rate = 1 - (1 - sequence.draft_rate) * 8 / (agreement + 8 - _NEEDLE)
        paying = self._paying(len(draft), rate, streams)
        if not paying:  # it is tried again some time: what follows may repeat
            sequence.draft_rate += _RATE_DRIFT * (FIRST_DRAFT_RATE - sequence.draft_rate)
        return draft[:paying]

    def _paying(self, most: int, rate: float, streams: int) -> int:
        """How many tokens to try for the most tokens a second, 0 where none pay. They have a call of their own then,
        beside that of the other streams."""
        together = self._cost(streams - 1)
        best, length = _LEAST_GAIN * streams / self._cost(streams), 0
        for tokens in range(1, most + 1):
            held = rate * (1 - rate**tokens) / (1 - rate) if rate < 1 else tokens
            value = (streams + held) / (self._cost(1 + tokens) + together)
            if value > best:
                best, length = value, tokens
        return length

    def _cost(self, tokens: int) -> float:
        if tokens < 2:
            return self._one * tokens
        return self._few + (self._most - self._few) * (tokens - _FEW_TOKENS) / (1 + MOST_TOKENS - _FEW_TOKENS)


def learn(sequence: Sequence, tried: int, held: int) -> None:
    """Records how a trial ended."""
    sequence.draft_tokens += tried
    sequence.accepted_tokens += held
    sequence.draft_rate += _RATE_STEP * (held / min(tried, held + 1) - sequence.draft_rate)
