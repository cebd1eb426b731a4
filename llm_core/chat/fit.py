"""Fits a conversation into the context: refuses it, or leaves out its oldest turns."""

from __future__ import annotations

from collections.abc import Callable, Sequence
from dataclasses import dataclass

from llm_core.chat.template import Prompt
from llm_core.errors import ContextOverflow
from llm_core.messages import Message
from llm_core.request import Overflow


@dataclass(frozen=True, slots=True)
class Fitted:
    """A prompt that fits, and how many of the oldest messages were left out for it."""

    prompt: Prompt
    dropped: int


def fit(
    messages: Sequence[Message], render: Callable[[Sequence[Message]], Prompt], *, limit_tokens: int, overflow: Overflow
) -> Fitted:
    """The prompt of as much of the conversation as fits.

    A turn is a user's message and all that follows until the next one, so an exchange is never cut in half. The system
    message stays, and so does the last turn.

    Args:
        messages: The whole conversation.
        render: Makes the prompt of some of it. Called a logarithmic number of times, since rendering takes time.
        limit_tokens: Tokens that the prompt may have.
        overflow: `error` refuses a longer conversation, `drop_oldest` leaves out its oldest turns.

    Raises:
        ContextOverflow: It does not fit, or not even its last turn does.
    """
    whole = render(messages)
    if len(whole.tokens) <= limit_tokens:
        return Fitted(whole, 0)
    if overflow == "error":
        raise _too_long(whole, limit_tokens, "Shorten it, or let the oldest messages be left out (overflow).")
    head = 1 if messages[0].role == "system" else 0
    starts = [at for at in range(head + 1, len(messages)) if messages[at].role == "user"]
    best: Fitted | None = None
    low, high = 0, len(starts)
    while low < high:
        middle = (low + high) // 2
        start = starts[middle]
        prompt = render([*messages[:head], *messages[start:]])
        if len(prompt.tokens) <= limit_tokens:
            best, high = Fitted(prompt, start - head), middle
        else:
            low = middle + 1
    if best is None:
        last = render([*messages[:head], *messages[starts[-1] :]]) if starts else whole
        raise _too_long(last, limit_tokens, "Its last message alone is too long: shorten it.")
    return best


def _too_long(prompt: Prompt, limit: int, advice: str) -> ContextOverflow:
    return ContextOverflow(f"The conversation has {len(prompt.tokens)} tokens; {limit} fit. {advice}", param="messages")
