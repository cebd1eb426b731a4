"""How many prompt tokens fit into what is left of a step, learned from how long they take."""

from __future__ import annotations

_SMOOTHING = 0.3


class Pace:
    """Keeps the time of a step near its target while prompts arrive.

    Args:
        target: Seconds that a step should take.
    """

    def __init__(self, target: float) -> None:
        self._target = target
        self._seconds_per_token = target / 16

    def prefill_budget(self, spent: float) -> int:
        """Prompt tokens for a step that has used `spent` seconds already. At least one, so that every step gets on."""
        return max(1, round((self._target - spent) / self._seconds_per_token))

    def observe(self, tokens: int, seconds: float) -> None:
        """Learns from a prefill of `tokens` that took `seconds`. Deeper prompts cost more, so the average moves."""
        self._seconds_per_token += _SMOOTHING * (seconds / tokens - self._seconds_per_token)
