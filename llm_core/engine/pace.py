"""How many prompt tokens fit into one step, learned from how long steps take."""

from __future__ import annotations

_SMOOTHING = 0.25


class Pace:
    """Keeps the time of a step near its target while prompts arrive.

    A step costs what its running sequences cost, D(n), and so much for each prompt token. Both are moving averages; an
    error in D ends up in the cost of a prompt token, so that the step time settles at the target either way.

    Args:
        target: Seconds that a step should take.
    """

    def __init__(self, target: float) -> None:
        self._target = target
        self._decode: dict[int, float] = {0: 0.0}
        self._prompt_token = target / 16

    def prefill_budget(self, decoding: int, spent: float) -> int:
        """Prompt tokens for a step with `decoding` running sequences that has used `spent` seconds; at least one."""
        left = self._target - spent - self._decode_cost(decoding)
        return max(1, int(left / self._prompt_token))

    def observe(self, decoding: int, prompt_tokens: int, seconds: float) -> None:
        """Learns from a decode that took `seconds`."""
        if prompt_tokens == 0:
            self._decode[decoding] = _blend(self._decode.get(decoding), seconds)
            return
        # A prompt token never costs nothing, however far off D is.
        rest = max(seconds - self._decode_cost(decoding), 0.05 * seconds)
        self._prompt_token = _blend(self._prompt_token, rest / prompt_tokens)

    def _decode_cost(self, decoding: int) -> float:
        known = self._decode.get(decoding)
        if known is not None:
            return known
        nearest = min(self._decode, key=lambda count: (abs(count - decoding), -count))
        return self._decode[nearest] * decoding / max(nearest, 1)


def _blend(old: float | None, new: float) -> float:
    return new if old is None else old + _SMOOTHING * (new - old)
