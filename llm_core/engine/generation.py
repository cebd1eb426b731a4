"""From the logits of one sequence to its next token and text, and to its end."""

from __future__ import annotations

from llm_core.engine.llama.context import Context
from llm_core.engine.llama.logprobs import token_logprob
from llm_core.engine.llama.model import Model
from llm_core.engine.sequence import Piece, Sequence
from llm_core.events import FinishReason, TokenLogprob


def advance(
    model: Model, context: Context, sequence: Sequence, output: int, *, samples_all: bool = False
) -> FinishReason | None:
    """Chooses a sequence's next token and hands out its text; then, without asking the model, the tokens that its form
    leaves no choice about.

    Args:
        output: The batch index of the last decode whose logits are the sequence's.
        samples_all: Asks the model for each token, also where there is no choice.

    Returns:
        Why the reply has ended; None where it goes on.
    """
    forced = [] if samples_all or sequence.generated else _forced(sequence)
    reason = None
    if not forced:
        reason = _take(model, sequence, *_choose(model, context, sequence, output))
        forced = [] if samples_all or reason is not None else _forced(sequence)
    for token in forced:
        assert sequence.sampler is not None
        sequence.sampler.accept(token)
        if (reason := _take(model, sequence, token, ())) is not None:
            break
    return reason


def _forced(sequence: Sequence) -> list[int]:
    """What must come next. Not where log probabilities are wanted, which only the model can tell."""
    request = sequence.request
    if request.constraint is None or request.sampling.logprobs is not None:
        return []
    return request.constraint.forced()


def _take(model: Model, sequence: Sequence, token: int, logprobs: tuple[TokenLogprob, ...]) -> FinishReason | None:
    """Adds a token to the sequence and hands out its text."""
    request = sequence.request
    sequence.append(token)
    if token in model.end_tokens:
        return "stop"
    if request.constraint is not None:
        request.constraint.accept(token)
    text = sequence.text.feed(model.token_bytes(token, special=token in request.visible_tokens))
    if text or logprobs:
        sequence.emit(Piece(text, logprobs, sequence.generated))
    if sequence.text.stopped or (request.constraint is not None and request.constraint.is_complete):
        return "stop"
    if sequence.generated >= request.max_tokens or sequence.length >= sequence.capacity:
        return "length"
    return None


def _choose(model: Model, context: Context, sequence: Sequence, output: int) -> tuple[int, tuple[TokenLogprob, ...]]:
    """Samples from what the request's constraint leaves. Log probabilities are those before it took any away."""
    constraint, wanted = sequence.request.constraint, sequence.request.sampling.logprobs
    assert sequence.sampler is not None
    if constraint is None and wanted is None:
        return sequence.sampler.sample(context, output), ()
    logits = context.logits(output)
    unmasked = logits if constraint is None or wanted is None else logits.copy()
    if constraint is not None:
        constraint.mask(logits)  # the very memory that the sampler reads
    token = sequence.sampler.sample(context, output)
    return token, () if wanted is None else (token_logprob(model, unmasked, token, wanted),)
