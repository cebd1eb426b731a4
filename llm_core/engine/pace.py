"""How many prompt tokens fit into what is left of a step, learned from how long they take."""

from __future__ import annotations

_SMOOTHING = 0.3

# Prompts get this much of a step's target time at least. Where many streams decode, "what is left" would be a token or
# two, and prompts would wait for streams to end: more users, longer first tokens, out of proportion.
_PREFILL_FLOOR = 0.4
# So few tokens take about as long as one: the weights are read once for all of them. On a machine that is busy with
# other work a call takes a second however small it is, since llama.cpp's threads wait for each other, and with one
# token a step a prompt would take minutes. A Kalman filter that follows a call's fixed cost was tried too: timings
# there scatter from 0.1 to 9 s, too much to tell the two apart.
_LEAST_TOKENS = 4
_BURST = 3  # target times


class Pace:
    """Keeps the time of a step near its target while prompts arrive.

    Args:
        target: Seconds that a step should take.
    """

    def __init__(self, target: float) -> None:
        self._target = target
        self._seconds_per_token = target / 16

    def prefill_budget(self, spent: float) -> int:
        """Prompt tokens for a step that has used `spent` seconds already: what fits into the rest of it, or into the
        floor where that is more. Never less than a few, so that every step gets on."""
        seconds = max(self._target - spent, self._target * _PREFILL_FLOOR)
        return self.tokens_in(seconds)

    def tokens_in(self, seconds: float) -> int:
        """Prompt tokens that are read in a time; never less than a few."""
        return max(_LEAST_TOKENS, round(seconds / self._seconds_per_token))

    @property
    def burst(self) -> int:
        """Prompt tokens of one step that takes longer than its target: in few calls they cost less, and those who read
        along wait once instead of many times."""
        return self.tokens_in(_BURST * self._target)

    def observe(self, tokens: int, seconds: float) -> None:
        """Learns from a prefill of `tokens` that took `seconds`. Deeper prompts cost more, so the average moves."""
        self._seconds_per_token += _SMOOTHING * (seconds / tokens - self._seconds_per_token)
