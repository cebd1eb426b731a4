"""What a chat template takes, and how a conversation is brought into that form without losing a word.

Templates differ in where they take a system message, in whether speakers must take turns, in how many calls one message
may have. Some say so, and some leave out what they do not know. `Dialect` is found by trying when a template is loaded;
`FALLBACKS` are for what a template refuses later.
"""

from __future__ import annotations

from collections.abc import Callable, Iterable, Sequence
from dataclasses import dataclass
from itertools import groupby
from typing import Literal

from llm_core.chat.tool_prompt import in_words
from llm_core.conversation import count_leading_system, merge_neighbours, merged
from llm_core.messages import Message

NoTools = Literal["null", "empty"]
SystemPlaces = Literal["anywhere", "first", "nowhere"]


@dataclass(frozen=True, slots=True)
class Dialect:
    """What a template takes.

    Attributes:
        typed_content: Contents are lists of `{"type": "text", "text": ...}`, not texts.
        no_tools: What stands for no tools: null, as Hugging Face has it, or a list that is walked through unasked.
        system: Where system messages may stand. Elsewhere their text goes before that of the next user's message.
        text_arguments: A call's arguments are JSON in a text, not an object.
    """

    typed_content: bool = False
    no_tools: NoTools = "null"
    system: SystemPlaces = "anywhere"
    text_arguments: bool = False


def place_system(messages: Sequence[Message], where: SystemPlaces) -> list[Message]:
    """The conversation with system messages only where they may stand, and as one there."""
    if where == "anywhere":
        return list(messages)
    placed: list[Message] = []
    waiting: list[str] = []
    for is_system, group in groupby(messages, key=lambda message: message.role == "system"):
        run = list(group)
        if is_system and not placed and where == "first":
            placed.append(merged(run))
        elif is_system:
            waiting = [message.content for message in run]
        else:
            placed += _after_system(waiting, run)
            waiting = []
    return placed + _after_system(waiting, [])


def _after_system(system: list[str], messages: list[Message]) -> list[Message]:
    if not system:
        return messages
    asked = messages[:1] if messages and messages[0].role == "user" else []
    text = "\n\n".join([*system, *(message.content for message in asked)])
    return [Message(role="user", content=text), *messages[len(asked) :]]


def in_turns(messages: Sequence[Message]) -> list[Message]:
    """The conversation with neighbours of one role in one, and a user who speaks first."""
    turns = merge_neighbours(messages)
    start = count_leading_system(turns)
    if start < len(turns) and turns[start].role == "assistant":
        turns.insert(start, Message(role="user", content=""))
    return turns


def one_call_each(messages: Iterable[Message]) -> list[Message]:
    """The conversation with a message for each call, followed by its result."""
    split: list[Message] = []
    calls: dict[str, Message] = {}
    for message in messages:
        if message.role == "tool" and message.tool_call_id in calls:
            split += [calls.pop(message.tool_call_id), message]
            continue
        split += calls.values()  # nothing answers them
        calls = {}
        if len(message.tool_calls or ()) < 2:
            split.append(message)
            continue
        for number, call in enumerate(message.tool_calls or ()):
            changes = {} if number == 0 else {"content": "", "reasoning": None}
            calls[call.id] = message.model_copy(update={"tool_calls": (call,), **changes})
    return split + list(calls.values())


FALLBACKS: tuple[Callable[[Sequence[Message]], list[Message]], ...] = (
    in_turns,
    lambda messages: one_call_each(in_turns(messages)),
    lambda messages: in_turns(in_words(messages, ())),
)
"""What a conversation becomes that a template refuses, one after another until one is taken."""
