"""The tokens of a raw prompt, on a model in this process."""

from __future__ import annotations

from llm_core.completion_request import CompletionRequest
from llm_core.engine.llama.model import Model
from llm_core.errors import OVERFLOW_CODE, ContextOverflow, InvalidRequest


def raw_prompt(request: CompletionRequest, model: Model, *, limit_tokens: int) -> tuple[int, ...]:
    """What the model goes on from.

    Args:
        limit_tokens: Tokens that prompt and completion may have together.

    Raises:
        ContextOverflow: It does not fit.
        InvalidRequest: It is empty, an id is none of the vocabulary's, or the model cannot fill in.
    """
    tokens = _tokens(request, model)
    last = model.vocab_size - 1
    if not tokens or max(tokens) > last:
        raise InvalidRequest(f"prompt: must be a text, or token ids from 0 to {last}, at least one.", param="prompt")
    if len(tokens) >= limit_tokens:
        raise ContextOverflow(
            f"The prompt exceeds the available context size: it has {len(tokens)} tokens, and this model's maximum "
            f"context length is {limit_tokens - 1} tokens ({OVERFLOW_CODE}). Shorten it.",
            param="prompt",
        )
    return tuple(tokens)


def _tokens(request: CompletionRequest, model: Model) -> list[int]:
    is_text = isinstance(request.prompt, str)
    # BOS by itself: with `add_special` some vocabularies would put EOS behind the text.
    bos = model.tokenize("", add_special=True, parse_special=False)[:1] if model.add_bos and is_text else []
    if request.suffix is None:
        tokens = _plain(request.prompt, model, parse_special=True)
        return tokens if tokens[:1] == bos else [*bos, *tokens]
    if model.fill_in is None:
        raise InvalidRequest(
            "suffix: this model cannot fill in text: its vocabulary has no tokens for that. Leave it out.",
            param="suffix",
        )
    before, after, middle = model.fill_in
    prompt = _plain(request.prompt, model, parse_special=False)
    return [*bos, before, *prompt, after, *_plain(request.suffix, model, parse_special=False), middle]


def _plain(prompt: str | tuple[int, ...], model: Model, *, parse_special: bool) -> list[int]:
    if isinstance(prompt, str):
        return model.tokenize(prompt, add_special=False, parse_special=parse_special)
    return list(prompt)
