"""A conversation in the page's form and in the model's: what is shown, and what of it was really said.

Gradio keeps the conversation as a list of messages. Reasoning is a message of its own with a title; what is told about
a reply travels in its metadata, so that neither can ever be sent back to the model as something that was said.
"""

from __future__ import annotations

import time
from collections.abc import Callable, Iterable, Mapping
from itertools import groupby
from typing import Any, Literal, NotRequired, TypedDict

from llm_core.events import ChatEvent, ContentDelta, Done, Queued, ReasoningDelta
from llm_core.figures import done_line, seconds, waiting_line

# refused: it failed before it began, and the message is not kept either.
ReplyState = Literal["waiting", "writing", "done", "failed", "refused"]
STOPPED = "Stopped"


class Metadata(TypedDict):
    """What a shown message carries beside its text. The names are those that Gradio lets through.

    `log` is the quiet line under the reply and `id` its `ReplyState`; `title` and `status` make a message a thought.
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


class ShownReply:
    """A reply on the page while it is made.

    Args:
        now: A clock in seconds, for the time spent thinking.
    """

    def __init__(self, now: Callable[[], float] = time.monotonic) -> None:
        self._now = now
        self._content: list[str] = []
        self._reasoning: list[str] = []
        self._thinking_since = 0.0
        self._thought_for: float | None = None
        self._line = ""
        self._state: ReplyState = "waiting"

    @property
    def state(self) -> ReplyState:
        return self._state

    def add(self, event: ChatEvent) -> None:
        match event:
            case Queued():
                self.wait(waiting_line(event.position))
            case ReasoningDelta():
                self._think(event.text)
            case ContentDelta(text=text) if text:
                self._write(text)
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
        """The reply as it stands."""
        answer = shown("assistant", "".join(self._content), {"log": self._line, "id": self._state})
        return [self._thought(), answer] if self._reasoning else [answer]

    def _think(self, text: str) -> None:
        if not self._reasoning:
            self._thinking_since = self._now()
        self._reasoning.append(text)
        self._state, self._line = "writing", ""

    def _write(self, text: str) -> None:
        self._stop_thinking()
        self._content.append(text)
        self._state, self._line = "writing", ""

    def _end(self, state: ReplyState, line: str) -> None:
        self._stop_thinking()
        self._state, self._line = state, line

    def _stop_thinking(self) -> None:
        if self._reasoning and self._thought_for is None:
            self._thought_for = self._now() - self._thinking_since

    def _thought(self) -> ShownMessage:
        text = "".join(self._reasoning)
        if self._thought_for is None:
            return shown("assistant", text, {"title": "Thinking", "status": "pending"})
        title = f"Thought for {seconds(self._thought_for)}" if self._thought_for else "Thought"
        return shown("assistant", text, {"title": title, "status": "done"})


def settled(history: Iterable[dict[str, Any]]) -> list[dict[str, Any]]:
    """The conversation with no reply left half-done: one that was stopped can no longer say so itself."""
    return [_settle(message) for message in history]


def _settle(message: dict[str, Any]) -> dict[str, Any]:
    metadata = message.get("metadata") or {}
    if metadata.get("status") == "pending":
        return {**message, "metadata": {**metadata, "title": "Stopped thinking", "status": "done"}}
    if metadata.get("id") in ("waiting", "writing"):
        return {**message, "metadata": {**metadata, "log": STOPPED, "id": "done"}}
    return message


def conversation(history: Iterable[dict[str, Any]]) -> list[dict[str, str]]:
    """What was said, for the model: no reasoning, no lines about a reply, and no message that failed to be answered.

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
    """The text that a shown message adds to the conversation; "" for a thought."""
    if (message.get("metadata") or {}).get("title"):
        return ""
    content = message["content"]
    if isinstance(content, str):
        return content
    return "".join(part["text"] for part in content if part.get("type") == "text")


def failure(messages: Iterable[ShownMessage]) -> str | None:
    """What went wrong with a shown reply, or None."""
    return next((message["metadata"]["log"] for message in messages if _failed(message)), None)
