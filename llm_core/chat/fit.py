"""Fits a conversation into the context: refuses it, or leaves out its oldest turns.

They are left out in strides, so that the prompt begins the same for many turns and the prefix cache has it
(docs/decisions/009).
"""

from __future__ import annotations

from collections.abc import Callable, Sequence
from dataclasses import dataclass, replace
from itertools import chain

from llm_core.chat.template import Prompt
from llm_core.conversation import said_now, split_turns
from llm_core.errors import OVERFLOW_CODE, ContextOverflow
from llm_core.messages import Message
from llm_core.options import LEAVE_OUT_OLDEST, Overflow

_HARDLY_ANYTHING = Message(role="user", content="-")


@dataclass(frozen=True, slots=True)
class Fitted:
    """A prompt that fits.

    Attributes:
        dropped: How many of the oldest messages were left out for it.
        has_moved: They are more than in the prompt before, which ended before the last reply; or may be, where messages
            were measured too small.
    """

    prompt: Prompt
    dropped: int
    has_moved: bool = False


def fit(
    messages: Sequence[Message],
    render: Callable[[Sequence[Message]], Prompt],
    measure: Callable[[Message], int],
    *,
    limit_tokens: int,
    overflow: Overflow,
    reply_tokens: int = 0,
) -> Fitted:
    """The prompt of as much of the conversation as fits.

    An exchange is never cut in half. The system messages at the start stay, and so does the last turn.

    Args:
        messages: The whole conversation.
        render: Makes the prompt of some of it. Called a few times only, since rendering takes time.
        measure: About how many tokens a message has in a prompt, whatever else is in it. Called once for each.
        limit_tokens: Tokens that the prompt may have.
        overflow: `error` refuses a longer conversation, `drop_oldest` leaves out its oldest turns.
        reply_tokens: How many of those tokens, at most a quarter, `drop_oldest` keeps for the reply; the last turn may
            use them, though.

    Raises:
        ContextOverflow: It does not fit, or not even its last turn does.
    """
    full = render(messages)
    if overflow == "error":
        if len(full.tokens) > limit_tokens:
            advice = f"Shorten it, or let the oldest messages be left out ({LEAVE_OUT_OLDEST})."
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

    shortest = render_from(last) if last > 0 else Fitted(full, 0)
    if len(shortest.prompt.tokens) > limit_tokens:
        raise _too_long("The last turn with the system prompt", shortest.prompt, limit_tokens, "Shorten it.")
    if last <= 0:
        return shortest
    sizes = [[measure(message) for message in turn] for turn in turns]
    head = len(render([*system, _HARDLY_ANYTHING]).tokens)  # whatever is said last
    since = sum([*chain.from_iterable(sizes)][-len(said_now(messages)) - 1 :])  # the prompt before
    may_have_moved = len(full.tokens) - since <= wanted_tokens  # that one was whole
    room = _room(limit_tokens, head)
    while True:
        first, has_moved = first_kept(turns, sizes, room)
        tried = render_from(first) if room and first < last else shortest
        if tried is shortest or len(tried.prompt.tokens) <= wanted_tokens:
            return replace(tried, has_moved=has_moved or may_have_moved)
        # The measure was too small. In less room the cut stays for a stride as well.
        room, may_have_moved = room * 3 // 4, True


def first_kept(turns: Sequence[Sequence[Message]], sizes: Sequence[Sequence[int]], room: int) -> tuple[int, bool]:
    """Which turn the prompt begins with, where each prompt that had more than `room` tokens of turns was cut to half;
    and whether it was another one before the last reply.

    Nothing is remembered: the conversation grows here once more as it has grown, so whoever tells all of it again is
    cut at the same place until the next stride.

    Args:
        turns: All of them, whole ones but for the last.
        sizes: Tokens of their messages.
    """
    first = kept = 0
    has_moved = False
    for number, (turn, of_turn) in enumerate(zip(turns, sizes, strict=True)):
        for message, size in zip(turn, of_turn, strict=True):
            kept += size
            if message.role == "assistant":  # a prompt ended before it
                has_moved = False
            elif kept > room:
                while first < number and kept > room // 2:
                    kept -= sum(sizes[first])
                    first, has_moved = first + 1, True
    return first, has_moved


def _room(limit: int, head: int) -> int:
    """Tokens for turns. Whatever `max_tokens` is, a quarter is the reply's: a cut must not move when that changes. Nor
    when the system prompt changes a little, which is why its tokens count in sixteenths of the limit."""
    sixteenth = max(1, limit // 16)
    return limit - limit // 4 - -(-head // sixteenth) * sixteenth


def _too_long(what: str, prompt: Prompt, limit: int, advice: str) -> ContextOverflow:
    # Agents know an overflow by its words, and shorten the conversation: litellm and pi-ai look for those of
    # llama-server or OpenAI, langchain for OpenAI's code in the text.
    size = f"{what} exceeds the available context size: it has {len(prompt.tokens)} tokens, and this model's maximum "
    return ContextOverflow(f"{size}context length is {limit} tokens ({OVERFLOW_CODE}). {advice}", param="messages")
