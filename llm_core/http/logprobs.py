"""Tokens' probabilities as OpenAI's formats have them."""

from __future__ import annotations

from collections.abc import Iterable
from typing import Any

from llm_core.events import TokenLogprob


def logprobs_of(logprobs: Iterable[TokenLogprob]) -> list[dict[str, Any]]:
    return [
        _logprob(each.token, each.data, each.logprob) | {"top_logprobs": [_logprob(*other) for other in each.top]}
        for each in logprobs
    ]


def _logprob(token: str, data: bytes, logprob: float) -> dict[str, Any]:
    return {"token": token, "bytes": list(data), "logprob": logprob}
