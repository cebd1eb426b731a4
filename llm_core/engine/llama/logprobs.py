"""Log probabilities of tokens, as the model gave them, before any sampler."""

from __future__ import annotations

import numpy as np
import numpy.typing as npt

from llm_core.engine.llama.model import Model
from llm_core.events import TokenLogprob


def token_logprob(model: Model, logits: npt.NDArray[np.float32], token: int, alternatives: int) -> TokenLogprob:
    """The chosen token's log probability and the most likely others.

    Args:
        logits: Shape (vocab_size,), float32, as decoded.
        token: The token that was chosen.
        alternatives: How many of the most likely tokens to name.
    """
    highest = float(logits.max())
    log_sum = highest + float(np.log(np.exp(logits.astype(np.float64) - highest).sum()))
    top: tuple[tuple[str, bytes, float], ...] = ()
    if alternatives:
        likeliest = np.argpartition(logits, -alternatives)[-alternatives:]
        ordered = likeliest[np.argsort(logits[likeliest])[::-1]]
        top = tuple((*_text(model, int(each)), float(logits[each]) - log_sum) for each in ordered)
    text, data = _text(model, token)
    return TokenLogprob(text, data, float(logits[token]) - log_sum, top)


def _text(model: Model, token: int) -> tuple[str, bytes]:
    data = model.token_bytes(token, special=True)
    return data.decode("utf-8", "replace"), data
