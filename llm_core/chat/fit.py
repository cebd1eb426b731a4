"""Fits a conversation into the context: refuses it, or leaves out its oldest turns."""

from __future__ import annotations

from collections.abc import Callable, Sequence
from dataclasses import dataclass
from itertools import chain

from llm_core.chat.template import Prompt
from llm_core.conversation import split_turns
from llm_core.errors import OVERFLOW_CODE, ContextOverflow
from llm_core.messages import Message
from llm_core.options import Overflow


@dataclass(frozen=True, slots=True)
class Fitted:
    """A prompt that fits, and how many of the oldest messages were left out for it."""

    prompt: Prompt
    dropped: int


def fit(
    messages: Sequence[Message],
    render: Callable[[Sequence[Message]], Prompt],
    *,
    limit_tokens: int,
    overflow: Overflow,
    reply_tokens: int = 0,
) -> Fitted:
    """The prompt of as much of the conversation as fits.

    An exchange is never cut in half. The system messages at the start stay, and so does the last turn.

    Args:
        messages: The whole conversation.
        render: Makes the prompt of some of it. Called a logarithmic number of times, since rendering takes time.
        limit_tokens: Tokens that the prompt may have.
        overflow: `error` refuses a longer conversation, `drop_oldest` leaves out its oldest turns.
        reply_tokens: How many of those tokens `drop_oldest` keeps for the reply; the last turn may use them, though.

    Raises:
        ContextOverflow: It does not fit, or not even its last turn does.
    """
    full = render(messages)
    if overflow == "error":
        if len(full.tokens) > limit_tokens:
            advice = 'Shorten it, or let the oldest messages be left out (overflow: "drop_oldest").'
            raise _too_long("The conversation", full, limit_tokens, advice)
        return Fitted(full, 0)
    wanted_tokens = limit_tokens - reply_tokens
    if len(full.tokens) <= wanted_tokens:
        return Fitted(full, 0)

    system, turns = split_turns(messages)
    last = len(turns) - 1

    def render_from(turn: int) -> Fitted:
        kept = [*system, *chain.from_iterable(turns[turn:])]
        return Fitted(render(kept), len(messages) - len(kept))

    best = render_from(last) if last > 0 else Fitted(full, 0)
    if len(best.prompt.tokens) > limit_tokens:
        raise _too_long("The last turn with the system prompt", best.prompt, limit_tokens, "Shorten it.")
    low, high = 1, last
    while low < high:
        middle = (low + high) // 2
        tried = render_from(middle)
        if len(tried.prompt.tokens) <= wanted_tokens:
            best, high = tried, middle
        else:
            low = middle + 1
    return best


def _too_long(what: str, prompt: Prompt, limit: int, advice: str) -> ContextOverflow:
    # Agents know an overflow by its words, and shorten the conversation: litellm and pi-ai look for those of
    # llama-server or OpenAI, langchain for OpenAI's code in the text.
    size = f"{what} exceeds the available context size: it has {len(prompt.tokens)} tokens, and this model's maximum "
    return ContextOverflow(f"{size}context length is {limit} tokens ({OVERFLOW_CODE}). {advice}", param="messages")
