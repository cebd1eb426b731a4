"""The shape of a conversation: the system messages that it begins with, its turns, and who speaks in a row."""

from __future__ import annotations

from collections.abc import Iterable, Sequence
from itertools import groupby, pairwise

from llm_core.messages import Message


def count_leading_system(messages: Sequence[Message]) -> int:
    """How many system messages it begins with."""
    return next((at for at, message in enumerate(messages) if message.role != "system"), len(messages))


def turn_starts(messages: Sequence[Message], first: int = 0) -> list[int]:
    """Where its turns begin, from message number `first` on: a turn is a user's message and all up to the next one, so
    that a call is never parted from its result."""
    return [at for at in range(first, len(messages)) if messages[at].role == "user"]


def split_turns(messages: Sequence[Message]) -> tuple[list[Message], list[list[Message]]]:
    """The system messages at its start, and its turns. The first one may begin with something else than a user."""
    head = count_leading_system(messages)
    ends = [head, *turn_starts(messages, head + 1), len(messages)]
    return list(messages[:head]), [list(messages[start:end]) for start, end in pairwise(ends) if start < end]


def begun_reply(messages: Sequence[Message]) -> Message | None:
    """The reply that is to be gone on with: a last message of the assistant's own. One with calls has ended."""
    last = messages[-1] if messages else None
    return last if last is not None and last.role == "assistant" and not last.tool_calls else None


def gone_on_with(begun: Message, rest: Message) -> Message:
    """The whole reply of one that was begun and what came then."""
    thought, content = (begun.reasoning or "") + (rest.reasoning or ""), begun.content + rest.content
    return rest.model_copy(update={"content": content, "reasoning": thought or None})


def said_now(messages: Sequence[Message]) -> Sequence[Message]:
    """What comes after the last reply that has ended; where there is none yet, after the system messages."""
    head = count_leading_system(messages)
    end = len(messages) - (begun_reply(messages) is not None)
    replies = (at for at in reversed(range(head, end)) if messages[at].role == "assistant")
    return messages[next(replies, head - 1) + 1 :]


def merged(messages: Sequence[Message]) -> Message:
    """Messages of one speaker as one."""
    if len(messages) == 1:
        return messages[0]
    content = "\n\n".join(message.content for message in messages if message.content)
    reasoning = "\n\n".join(message.reasoning for message in messages if message.reasoning)
    return messages[0].model_copy(update={"content": content, "reasoning": reasoning or None})


def merge_neighbours(messages: Iterable[Message]) -> list[Message]:
    """The conversation with neighbours of one role in one. Calls and results keep a message each."""

    def speaker(placed: tuple[int, Message]) -> str | int:
        place, message = placed
        return place if message.tool_calls or message.role == "tool" else message.role

    return [merged([message for _, message in group]) for _, group in groupby(enumerate(messages), key=speaker)]
