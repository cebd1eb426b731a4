"""A conversation in the page's form and in the model's: what is shown, and what of it was really said.

Gradio keeps the conversation as a list of messages. Thoughts and calls of tools are messages of their own with a title,
and what is told about a reply travels in its metadata, so that none of it can ever be sent back to the model as
something that was said.
"""

from __future__ import annotations

import time
from collections.abc import Callable, Iterable, Mapping
from dataclasses import dataclass, field
from itertools import groupby
from typing import Any, Literal, NotRequired, TypedDict

from llm_core.events import ChatEvent, ContentDelta, Done, Queued, ReasoningDelta, ToolCallDelta, ToolResult
from llm_core.figures import done_line, seconds, waiting_line
from llm_core.web import steps
from llm_core.web.steps import Step

# refused: it failed before it began, and the message is not kept either.
ReplyState = Literal["waiting", "writing", "done", "failed", "refused"]
STOPPED = "Stopped"
THINKING = "Thinking"
READING_RESULTS = "Reading what came of it"


class Metadata(TypedDict):
    """What a shown message carries beside its text. The names are those that Gradio lets through.

    Of a reply's last message, `log` is the quiet line under it and `id` its `ReplyState`. `title` and `status` make a
    message one that folds: a thought, or a call of a tool, where `log` is a few words beside the title.
    """

    log: NotRequired[str]
    id: NotRequired[str]
    title: NotRequired[str]
    status: NotRequired[Literal["pending", "done"]]


class ShownMessage(TypedDict):
    """A message as Gradio's `Chatbot` keeps it."""

    role: Literal["user", "assistant"]
    content: list[dict[str, str]]
    metadata: Metadata


def shown(role: Literal["user", "assistant"], text: str, metadata: Metadata | None = None) -> ShownMessage:
    """`text` as a message of the page. A plain string in `content` would lose indentation (`inspect.cleandoc`)."""
    return {"role": role, "content": [{"type": "text", "text": text}], "metadata": metadata or {}}


@dataclass(slots=True)
class _Text:
    pieces: list[str] = field(default_factory=list)


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
        self._line = ""
        self._state: ReplyState = "waiting"

    @property
    def state(self) -> ReplyState:
        return self._state

    def add(self, event: ChatEvent) -> None:
        match event:
            case Queued(position=0) if self._parts:
                self._wait_again(READING_RESULTS)
            case Queued():
                self._wait_again(waiting_line(event.position))
            case ReasoningDelta():
                self._think(event.text)
            case ContentDelta(text=text) if text:
                self._write(text)
            case ToolCallDelta():
                self._call(event)
            case ToolResult():
                self._take_result(event)
            case Done(finish_reason="cancelled"):
                self._end("done", STOPPED)  # as `settled` has it: which of the two comes first is left to chance
            case Done():
                self._end("done", done_line(event))

    def wait(self, line: str) -> None:
        """Says what is waited for."""
        self._line = line

    def fail(self, sentence: str, *, kept: bool = True) -> None:
        """Ends the reply with what went wrong; the text that came before stays.

        Args:
            kept: Whether the message that it answers is remembered.
        """
        self._end("failed" if kept else "refused", sentence)

    def messages(self) -> list[ShownMessage]:
        """The reply as it stands. The last message is one of text, and has the reply's line and state."""
        messages = [_shown_part(part) for part in self._parts]
        if not (self._parts and isinstance(self._parts[-1], _Text)):
            messages.append(shown("assistant", ""))
        messages[-1]["metadata"] = {"log": self._line, "id": self._state}
        return messages

    def _wait_again(self, line: str) -> None:
        self._state, self._line = "waiting", line

    def _think(self, text: str) -> None:
        if not (self._parts and isinstance(self._parts[-1], _Thought)):
            self._parts.append(_Thought(self._now()))
        self._go_on(text)

    def _write(self, text: str) -> None:
        self._stop_thinking()
        if not (self._parts and isinstance(self._parts[-1], _Text)):
            self._parts.append(_Text())
        self._go_on(text)

    def _go_on(self, text: str) -> None:
        part = self._parts[-1]
        assert not isinstance(part, Step)
        part.pieces.append(text)
        self._state, self._line = "writing", ""

    def _call(self, delta: ToolCallDelta) -> None:
        self._stop_thinking()
        if delta.id is not None:
            step = Step(delta.id, delta.name or "")
            self._called[delta.index] = step
            self._parts.append(step)
        self._called[delta.index].arguments.append(delta.arguments)
        self._state, self._line = "writing", ""

    def _take_result(self, result: ToolResult) -> None:
        for part in self._parts:
            if isinstance(part, Step) and part.call_id == result.call_id:
                part.result, part.failed, part.is_over = result.content, result.failed, True

    def _end(self, state: ReplyState, line: str) -> None:
        self._stop_thinking()
        for part in self._parts:
            if isinstance(part, Step):
                part.is_over = True
        self._state, self._line = state, line

    def _stop_thinking(self) -> None:
        if self._parts and isinstance(part := self._parts[-1], _Thought) and part.took is None:
            part.took = self._now() - part.since


def _shown_part(part: _Text | _Thought | Step) -> ShownMessage:
    match part:
        case _Text(pieces):
            return shown("assistant", "".join(pieces))
        case _Thought(pieces=pieces, took=None):
            return shown("assistant", "".join(pieces), {"title": THINKING, "status": "pending"})
        case _Thought(pieces=pieces, took=took):
            title = f"Thought for {seconds(took)}" if took else "Thought"
            return shown("assistant", "".join(pieces), {"title": title, "status": "done"})
        case Step():
            status: Literal["pending", "done"] = "done" if part.is_over else "pending"
            return shown("assistant", part.text, {"title": part.title, "log": part.brief, "status": status})


def settled(history: Iterable[dict[str, Any]]) -> list[dict[str, Any]]:
    """The conversation with no reply left half-done: one that was stopped can no longer say so itself."""
    return [_settle(message) for message in history]


def _settle(message: dict[str, Any]) -> dict[str, Any]:
    metadata = message.get("metadata") or {}
    if metadata.get("status") == "pending":
        stopped = {"title": "Stopped thinking"} if metadata.get("title") == THINKING else {"log": steps.STOPPED}
        return {**message, "metadata": {**metadata, **stopped, "status": "done"}}
    if metadata.get("id") in ("waiting", "writing"):
        return {**message, "metadata": {**metadata, "log": STOPPED, "id": "done"}}
    return message


def conversation(history: Iterable[dict[str, Any]]) -> list[dict[str, str]]:
    """What was said, for the model: no reasoning, no calls, no lines about a reply, and no message that failed to be
    answered.

    Messages in a row from one speaker, left by a reply that was stopped before its first word, become one: many chat
    templates insist that the speakers take turns.
    """
    said: list[dict[str, str]] = []
    for message in history:
        text = spoken_text(message)
        if text:
            said.append({"role": message["role"], "content": text})
        elif _failed(message) and said and said[-1]["role"] == "user":
            said.pop()  # it may be the reason for the failure, and would fail every message after it too
    return _taking_turns(said)


def _taking_turns(said: list[dict[str, str]]) -> list[dict[str, str]]:
    turns = []
    for role, messages in groupby(said, key=lambda message: message["role"]):
        turns.append({"role": role, "content": "\n\n".join(message["content"] for message in messages)})
    return turns


def _failed(message: Mapping[str, Any]) -> bool:
    return (message.get("metadata") or {}).get("id") in ("failed", "refused")


def spoken_text(message: Mapping[str, Any]) -> str:
    """The text that a shown message adds to the conversation; "" for a thought or a call."""
    if (message.get("metadata") or {}).get("title"):
        return ""
    content = message["content"]
    if isinstance(content, str):
        return content
    return "".join(part["text"] for part in content if part.get("type") == "text")


def spoken(messages: Iterable[ShownMessage]) -> str:
    """The text of a shown reply: what was said between calls too."""
    return "\n\n".join(filter(None, map(spoken_text, messages)))


def failure(messages: Iterable[ShownMessage]) -> str | None:
    """What went wrong with a shown reply, or None."""
    return next((message["metadata"]["log"] for message in messages if _failed(message)), None)
