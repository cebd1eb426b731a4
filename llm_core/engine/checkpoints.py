"""For models whose memory cannot be cut: copies of their small recurrent state on the way, to go back to.

A recurrent layer has one state for the whole sequence, so an edit or a retry would have to read the conversation again
from its start. A checkpoint is that state as it was at a turn's end; the keys and values of the other layers, which are
most of a sequence's memory, are still there and can be cut. llama.cpp's own server does the same.
"""

from __future__ import annotations

from collections.abc import Iterable
from collections.abc import Set as AbstractSet

from llm_core.engine.kv.checkpoint import Checkpoint
from llm_core.engine.kv.prefix_cache import PrefixCache
from llm_core.engine.llama.arrays import Tokens
from llm_core.engine.llama.context import Context
from llm_core.engine.sequence import Sequence

_LEAST_APART = 16  # tokens: fewer are computed about as fast as a state is put back


class Checkpoints:
    """Takes them while prompts are read. Runs on the engine's thread.

    Args:
        end_tokens: The tokens that end a turn; a prompt has one after each of its messages.
    """

    def __init__(self, context: Context, cache: PrefixCache, end_tokens: AbstractSet[int]) -> None:
        self._context, self._cache, self._end_tokens = context, cache, end_tokens

    def begin(self, sequence: Sequence) -> None:
        """A sequence has got its slot, with what was computed before: most often up to the end of the last reply."""
        if self._context.can_trim or not self._cache.host_limit:
            return
        self._take(sequence)
        prompt = sequence.tokens[: len(sequence.request.prompt)]
        cached = sequence.running_slot.length
        sequence.stops = stops(prompt, cached, self._end_tokens, sequence.request.shared_tokens)

    def limit(self, shares: dict[Sequence, int]) -> dict[Sequence, int]:
        """Ends each prompt's share of a step where a checkpoint is to be taken."""
        return {sequence: _up_to_stop(sequence, count) for sequence, count in shares.items()}

    def take(self, sequences: Iterable[Sequence]) -> None:
        """Takes a checkpoint of those that have come to a stop."""
        for sequence in sequences:
            if sequence.stops and sequence.running_slot.length in sequence.stops:
                self._take(sequence)

    def _take(self, sequence: Sequence) -> None:
        slot = sequence.running_slot
        if slot.length and all(each.length != slot.length for each in slot.checkpoints):
            self._cache.add_checkpoint(slot, Checkpoint(slot.length, self._context.checkpoint(slot.index)))


def stops(prompt: Tokens, cached: int, end_tokens: AbstractSet[int], shared_tokens: int) -> tuple[int, ...]:
    """Lengths at which checkpoints are taken of a prompt of which `cached` tokens are computed.

    They are after what all owners share, before the end of the last reply, from where an edit of the message that is
    answered goes on, and before the end of that message, from where a retry does.
    """
    ends = [place for place, token in enumerate(prompt.tolist()) if token in end_tokens][-2:]
    wanted = []
    for place in sorted({shared_tokens, *(ends or [len(prompt) - 1])}):
        if cached + _LEAST_APART <= place < len(prompt):
            wanted.append(place)
            cached = place
    return tuple(wanted)


def _up_to_stop(sequence: Sequence, count: int) -> int:
    done = sequence.running_slot.length
    return next((stop - done for stop in sequence.stops if done < stop <= done + count), count)
