"""For notebooks: a reply that grows in the cell's output while it is made, with its figures under it.

Knows events only, so it shows a reply of any client. Outside a notebook the text is printed as it comes.
"""

from __future__ import annotations

import html
import time
from collections.abc import AsyncGenerator, Callable, Generator
from contextlib import aclosing, closing
from typing import Any, Protocol

from llm_core.events import (
    ChatEvent,
    ChatReply,
    ContentDelta,
    Done,
    Loading,
    Queued,
    ReasoningDelta,
    ToolCallDelta,
    ToolResult,
)
from llm_core.figures import done_line, waiting_line
from llm_core.reply_builder import ReplyBuilder

UPDATE_SECONDS = 0.05  # each update is a message to the browser, which repaints
_STOPPED = "stopped"
_TEXT = "white-space: pre-wrap; max-width: 48em; line-height: 1.5"
_QUIET = "opacity: 0.65; font-size: 0.85em"


class _Output(Protocol):
    """Where a growing reply is shown."""

    def show(self, reply: _Growing) -> None: ...
    def end(self, reply: _Growing) -> None: ...


def show(events: Generator[ChatEvent]) -> ChatReply:
    """Shows a reply while it is made. Interrupting the cell stops the engine, and what came so far stays.

    Args:
        events: What `LLMClient.chat_stream` or `chat_session_stream` returns.

    Example:
        ```python
        reply = show(client.chat_stream(messages, max_tokens=80))
        ```
    """
    growing, output = _Growing(), _output()
    try:
        with closing(events):
            for event in events:
                growing.add(event)
                output.show(growing)
    finally:
        output.end(growing)
    return growing.reply()


async def ashow(events: AsyncGenerator[ChatEvent]) -> ChatReply:
    """`show` for event loops, such as that of a notebook: several replies grow side by side."""
    growing, output = _Growing(), _output()
    try:
        async with aclosing(events):
            async for event in events:
                growing.add(event)
                output.show(growing)
    finally:
        output.end(growing)
    return growing.reply()


class _Growing:
    """A reply as far as it came: its paragraphs, and the line under it."""

    def __init__(self) -> None:
        self._builder = ReplyBuilder()
        self.parts: list[tuple[str, str]] = []  # a kind and its text
        self.line = ""
        self._done = False

    def add(self, event: ChatEvent) -> None:
        self._builder.add(event)
        match event:
            case Loading():
                self.line = event.message
            case Queued(position=position):
                self.line = waiting_line(position)
            case ContentDelta(text=text):
                self._append("content", text)
            case ReasoningDelta(text=text):
                self._append("reasoning", text)
            case ToolCallDelta(name=name, arguments=arguments):
                if name is not None:
                    self.parts.append(("call", f"{name} "))
                self._append("call", arguments)
            case ToolResult(content=content):
                self.parts.append(("result", content))
            case Done():
                self.line, self._done = done_line(event), True

    def _append(self, kind: str, text: str) -> None:
        if not self.parts or self.parts[-1][0] != kind:
            self.parts.append((kind, ""))
        self.parts[-1] = (kind, self.parts[-1][1] + text)
        self.line = ""

    def stop(self) -> None:
        """There will be no more."""
        if not self._done:
            self.line = _STOPPED

    def reply(self) -> ChatReply:
        return self._builder.reply()

    def as_text(self) -> str:
        marks = {"content": "", "reasoning": "(thinking) ", "call": "→ ", "result": "← "}
        paragraphs = [f"{marks[kind]}{text}" for kind, text in self.parts]
        return "\n".join([*paragraphs, *([f"[{self.line}]"] if self.line else [])])

    def as_html(self) -> str:
        """Everything that a model or a tool wrote is escaped: it is text here and never markup."""
        marks = {"content": "", "reasoning": "", "call": "→ ", "result": "← "}
        paragraphs = [
            f'<div style="{_TEXT}{"" if kind == "content" else f"; {_QUIET}"}">{marks[kind]}{html.escape(text)}</div>'
            for kind, text in self.parts
        ]
        return "".join([*paragraphs, f'<div style="{_QUIET}">{html.escape(self.line)}</div>'])


class _Cell:
    """The output of a notebook's cell: one area that is replaced a few times a second."""

    def __init__(self, display: Callable[..., Any]) -> None:
        self._handle = display({"text/plain": ""}, raw=True, display_id=True)
        self._shown_at = 0.0

    def show(self, reply: _Growing) -> None:
        if time.monotonic() - self._shown_at >= UPDATE_SECONDS:
            self._update(reply)

    def end(self, reply: _Growing) -> None:
        reply.stop()
        self._update(reply)

    def _update(self, reply: _Growing) -> None:
        self._shown_at = time.monotonic()
        self._handle.update({"text/plain": reply.as_text(), "text/html": reply.as_html()}, raw=True)


class _Printed:
    """A terminal: what is new is written behind what is there."""

    def __init__(self) -> None:
        self._printed = ""

    def show(self, reply: _Growing) -> None:
        text = "\n".join(text for _, text in reply.parts)
        print(text.removeprefix(self._printed), end="", flush=True)
        self._printed = text

    def end(self, reply: _Growing) -> None:
        reply.stop()
        print(f"\n[{reply.line}]", flush=True)


def _output() -> _Output:
    try:
        from IPython.core.getipython import get_ipython
        from IPython.display import display
    except ImportError:  # it is no requirement of the app
        return _Printed()
    # IPython in a terminal cannot replace what it has shown.
    shell: Any = get_ipython()
    return _Cell(display) if hasattr(shell, "kernel") else _Printed()
