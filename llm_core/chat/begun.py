"""A reply that was begun and is gone on with: what of it is open, its thinking or its text."""

from __future__ import annotations

from llm_core.chat.formats import ReasoningFormat
from llm_core.messages import Message


def is_in_thought(begun: Message) -> bool:
    """Whether it is the thinking that goes on: there is no text yet."""
    return bool(begun.reasoning) and not begun.content


def with_open_thought(begun: Message, markers: ReasoningFormat) -> Message:
    """The reply with thinking that its text begins, and does not end, where thinking belongs."""
    text = begun.content.lstrip()
    if not text.startswith(markers.opener) or markers.closer in text:
        return begun
    thought = text.removeprefix(markers.opener).lstrip()
    return begun.model_copy(update={"reasoning": thought, "content": ""}) if thought else begun


def with_mark(begun: Message, mark: str) -> Message:
    """The reply with a mark where it goes on."""
    if is_in_thought(begun):
        return begun.model_copy(update={"reasoning": f"{begun.reasoning}{mark}"})
    return begun.model_copy(update={"content": f"{begun.content}{mark}"})


def with_reply(asked: str, thought: str, said: str, markers: ReasoningFormat) -> str:
    """A prompt that asks for a reply, and what a model would have written of it so far."""
    end = asked.rstrip()
    if not said:
        if end.endswith(markers.opener):
            return asked + thought
        if end.endswith(markers.closer):  # it asks for a reply without thinking
            asked = end.removesuffix(markers.closer).rstrip().removesuffix(markers.opener)
        return f"{asked}{markers.opener}" + ("" if markers.answer_opener else "\n") + thought
    if end.endswith(markers.opener):
        return f"{asked}{thought}\n{markers.closer}\n\n{said}"
    return f"{asked}{markers.answer_opener}{said}"
