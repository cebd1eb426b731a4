"""A conversation in the page's form and in the model's: what is shown, and what of it was really said.

Gradio keeps the conversation as a list of messages. Thoughts and calls of tools are messages of their own with a title,
and what is told about a reply travels in its metadata, so that none of it can ever be sent back to the model as
something that was said.
"""

from __future__ import annotations

import time
from collections.abc import Callable
from dataclasses import dataclass, field
from typing import Literal, NotRequired, TypedDict

from llm_core.common_prefix import common_prefix
from llm_core.events import (
    ChatEvent,
    ContentDelta,
    Done,
    Loading,
    Queued,
    ReasoningDelta,
    ToolCallDelta,
    ToolResult,
)
from llm_core.figures import done_figures, waiting
from llm_core.page.blocks import Blocks
from llm_core.page.steps import Called, Step
from llm_core.texts.told import Text, told

ReplyState = Literal["waiting", "writing", "done", "failed"]


class Metadata(TypedDict):
    """What a shown message carries beside its text. The names are those that Gradio lets through.

    Of a reply's last message, `log` is the quiet line under it and `id` its `ReplyState`. For the page's script alone,
    `model` is the name of the model that made it, and `used` the tokens that the model read and wrote for it. `title`
    and `status` make a message one that folds: a thought, or a call of a tool, where `log` is a few words beside the
    title, and `called` what is in it. The page's script has Gradio draw all that in the reader's language (texts.js).
    """

    log: NotRequired[list[Text]]
    id: NotRequired[str]
    model: NotRequired[str]
    used: NotRequired[int]
    title: NotRequired[Text]
    called: NotRequired[Called]
    status: NotRequired[Literal["pending", "done"]]


class ShownMessage(TypedDict):
    """A message as Gradio's `Chatbot` keeps it."""

    role: Literal["user", "assistant"]
    content: list[dict[str, str]]
    metadata: Metadata


def shown(role: Literal["user", "assistant"], text: str, metadata: Metadata | None = None) -> ShownMessage:
    """`text` as a message of the page. A plain string in `content` would lose indentation (`inspect.cleandoc`)."""
    return {"role": role, "content": [{"type": "text", "text": text}], "metadata": metadata or {}}


class Changes(TypedDict):
    """From one drawing of a reply to the next: the first `keep` messages stay, and `add` follows them. Where the first
    of these `goes_on`, its text is what follows the text of the message that stood there: a long one is sent once."""

    keep: int
    add: list[ShownMessage]
    goes_on: bool


def changes(before: list[ShownMessage], now: list[ShownMessage]) -> Changes:
    """What makes `now` of `before`."""
    keep = common_prefix(before, now)
    add = now[keep:]
    known = before[keep]["content"][0]["text"] if keep < len(before) else ""
    goes_on = bool(known and add and add[0]["content"][0]["text"].startswith(known))
    if goes_on:
        rest = add[0]["content"][0]["text"][len(known) :]
        add = [shown(add[0]["role"], rest, add[0]["metadata"]), *add[1:]]
    return {"keep": keep, "add": add, "goes_on": goes_on}


@dataclass(slots=True)
class _Text:
    blocks: Blocks = field(default_factory=Blocks)


@dataclass(slots=True)
class _Thought:
    """What the model thinks before it says or calls something.

    Attributes:
        since: When it began, by the reply's clock.
        took: Seconds; None while it goes on.
    """

    since: float
    pieces: list[str] = field(default_factory=list)
    took: float | None = None


class ShownReply:
    """A reply on the page while it is made.

    Args:
        now: A clock in seconds, for the time spent thinking.
    """

    def __init__(self, now: Callable[[], float] = time.monotonic) -> None:
        self._now = now
        self._parts: list[_Text | _Thought | Step] = []
        self._called: dict[int, Step] = {}  # by their place among the calls that are made
        self._line: list[Text] = []
        self._model, self._used = "", 0
        self._state: ReplyState = "waiting"

    @property
    def state(self) -> ReplyState:
        return self._state

    def add(self, event: ChatEvent) -> None:
        match event:
            case Loading():
                self._wait_again(told("reply.model_loading", event.message, percent=event.progress))
            case Queued(position=0) if self._parts:
                self._wait_again(told("reply.reading_results"))
            case Queued():
                self._wait_again(waiting(event.position))
            case ReasoningDelta():
                self._think(event.text)
            case ContentDelta(text=text) if text:
                self._write(text)
            case ToolCallDelta():
                self._call(event)
            case ToolResult():
                self._take_result(event)
            case Done():
                self._model, self._used = event.model, event.usage.prompt_tokens + event.usage.completion_tokens
                for part in self._parts:
                    if isinstance(part, Step):
                        part.waits = part.call_id in event.awaiting_approval
                is_stopped = event.finish_reason == "cancelled"
                self._end("done", [told("reply.stopped")] if is_stopped else done_figures(event))

    def fail(self, sentence: Text) -> None:
        """Ends the reply with what went wrong; the text that came before stays."""
        self._end("failed", [sentence])

    def messages(self) -> list[ShownMessage]:
        """The reply as it stands. The last message is one of text, and has the reply's line and state."""
        messages = [message for part in self._parts for message in _shown_part(part)]
        if not (self._parts and isinstance(self._parts[-1], _Text)):
            messages.append(shown("assistant", ""))
        messages[-1]["metadata"] = {"log": self._line, "id": self._state}
        if self._model:
            messages[-1]["metadata"]["model"] = self._model
        if self._used:
            messages[-1]["metadata"]["used"] = self._used
        return messages

    def _wait_again(self, line: Text) -> None:
        self._state, self._line = "waiting", [line]

    def _think(self, text: str) -> None:
        if not (self._parts and isinstance(part := self._parts[-1], _Thought)):
            self._parts.append(part := _Thought(self._now()))
        part.pieces.append(text)
        self._state, self._line = "writing", []

    def _write(self, text: str) -> None:
        self._stop_thinking()
        if not (self._parts and isinstance(part := self._parts[-1], _Text)):
            self._parts.append(part := _Text())
        part.blocks.append(text)
        self._state, self._line = "writing", []

    def _call(self, delta: ToolCallDelta) -> None:
        self._stop_thinking()
        if delta.id is not None:
            step = Step(delta.id, delta.name or "")
            self._called[delta.index] = step
            self._parts.append(step)
        self._called[delta.index].arguments.append(delta.arguments)
        self._state, self._line = "writing", []

    def _take_result(self, result: ToolResult) -> None:
        for part in self._parts:
            if isinstance(part, Step) and part.call_id == result.call_id:
                part.result, part.failed, part.is_over = result.content, result.failed, True

    def _end(self, state: ReplyState, line: list[Text]) -> None:
        self._stop_thinking()
        for part in self._parts:
            if isinstance(part, Step):
                part.is_over = True
        self._state, self._line = state, line

    def _stop_thinking(self) -> None:
        if self._parts and isinstance(part := self._parts[-1], _Thought) and part.took is None:
            part.took = self._now() - part.since


def _shown_part(part: _Text | _Thought | Step) -> list[ShownMessage]:
    match part:
        case _Text(blocks):
            return [shown("assistant", block) for block in blocks.parts()]
        case _Thought(pieces=pieces, took=None):
            return [shown("assistant", "".join(pieces), {"title": told("reply.thinking"), "status": "pending"})]
        case _Thought(pieces=pieces, took=took):
            title = told("reply.thought_for", time=took) if took else told("reply.thought")
            return [shown("assistant", "".join(pieces), {"title": title, "status": "done"})]
        case Step():
            status: Literal["pending", "done"] = "done" if part.is_over else "pending"
            about: Metadata = {"title": part.title, "log": [part.brief], "called": part.called, "status": status}
            return [shown("assistant", "", about)]
