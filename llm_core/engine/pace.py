"""How many prompt tokens fit into what is left of a step, learned from how long they take."""

from __future__ import annotations

# Prompts get this much of a step's target time at least. Where many streams decode, "what is left" would be a token or
# two, and prompts would wait for streams to end: more users, longer first tokens, out of proportion.
_PREFILL_FLOOR = 0.4
# A call is made worth its fixed cost: its tokens take a quarter of that, as far as so many do. On a machine that is
# busy with other work a call takes a second however small it is, since llama.cpp's threads wait for each other; with
# one token a step a prompt would then take minutes.
_WORTH_A_CALL, _MOST_FOR_THAT = 0.25, 8
_PROBE_EVERY = 4  # steps, where the target cannot be met: twice the tokens tell the call's cost from theirs

# The filter's beliefs, relative to the values: how much a cost changes from step to step, and how noisy a timing is.
_DRIFT, _NOISE = 0.25, 0.2
_OUTLIER = 4.0  # times the expected: what a timing counts for at most


class Pace:
    """Keeps the time of a step near its target while prompts arrive.

    A prefill of n tokens takes `call + n * token` seconds. Both change: prompts get deeper, and machines have other
    work. They are followed by a Kalman filter (R. E. Kalman 1960), which from one timing at a time moves both, each by
    as much as it is in doubt.

    Args:
        target: Seconds that a step should take.
    """

    def __init__(self, target: float) -> None:
        self._target = target
        self._call, self._token = target / 10, target / 16
        # Variances of the two, and their covariance.
        self._var_call, self._var_token, self._cov = self._call**2, self._token**2, 0.0
        self._last = 1
        self._steps = 0

    def prefill_budget(self, spent: float) -> int:
        """Prompt tokens for a step that has used `spent` seconds already: what fits into the rest of it, or into the
        floor where that is more. At least one, so that every step gets on."""
        left = max(self._target - spent, self._target * _PREFILL_FLOOR)
        fitting = (left - self._call) / self._token
        worth_it = min(_WORTH_A_CALL * self._call / self._token, _MOST_FOR_THAT)
        tokens = max(1, round(max(fitting, worth_it)))
        self._steps += 1
        if fitting < 1 and self._steps % _PROBE_EVERY == 0:
            tokens *= 2
        self._last = min(tokens, 2 * self._last + 1)  # a wrong belief grows no faster than it is found out
        return self._last

    def observe(self, tokens: int, seconds: float) -> None:
        """Learns from a prefill of `tokens` that took `seconds`."""
        expected = self._call + self._token * tokens
        surprise = min(seconds, _OUTLIER * expected) - expected
        var_call = self._var_call + (_DRIFT * self._call) ** 2
        var_token = self._var_token + (_DRIFT * self._token) ** 2
        with_call, with_token = var_call + self._cov * tokens, self._cov + var_token * tokens
        variance = with_call + with_token * tokens + (_NOISE * expected) ** 2
        to_call, to_token = with_call / variance, with_token / variance
        self._call = max(self._call + to_call * surprise, self._target / 1_000)
        self._token = max(self._token + to_token * surprise, self._target / 5_000)
        self._var_call, self._var_token = var_call - to_call * with_call, var_token - to_token * with_token
        self._cov -= to_call * with_token
