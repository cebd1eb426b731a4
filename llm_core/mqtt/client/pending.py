"""A reply on the client's side: messages in, in whatever state the network left them, and each event out once."""

from __future__ import annotations

import math
import time
from collections.abc import Callable
from typing import Any

from llm_core.errors import BrokerError, LLMError, QueueFull, error_of
from llm_core.events import (
    ChatEvent,
    ContentDelta,
    Done,
    Loading,
    Queued,
    ReasoningDelta,
    Timings,
    ToolApproval,
    ToolCallDelta,
    ToolResult,
    ToolStarted,
    Usage,
    event_from_dict,
)

ASK_AGAIN_SECONDS = 10.0  # without a word. Who answers says at least that the request is accepted.

Sink = Callable[[ChatEvent | LLMError], None]


class Pending:
    """A reply that is waited for. Its methods are called by one thread.

    Args:
        body: The request.
        sink: Takes the events, or the error, that the messages mean.
    """

    def __init__(self, body: dict[str, Any], sink: Sink) -> None:
        self.body, self._sink = body, sink
        self.heard_at = time.monotonic()
        self.ask_again_at = math.inf  # it is still to be asked for the first time
        self.ended = False
        self._seq = 0
        self._missing = False  # and asked for
        self._position: int | None = None
        self._content = self._reasoning = ""  # what has been emitted since the last result of a tool
        self._calls: dict[int, tuple[str, int]] = {}  # of each call, its id, and how many characters of its arguments

    @property
    def again(self) -> dict[str, Any]:
        """The request, to be sent once more: what has been received is left out of the answer."""
        return self.body | {"after": self._seq}

    def receive(self, message: dict[str, Any]) -> bool:
        """Takes a message. False: messages before it are missing, and have to be asked for, once."""
        self.heard_at = time.monotonic()
        self.ask_again_at = self.heard_at + ASK_AGAIN_SECONDS
        match message.get("type"):
            case "loading":
                self._sink(Loading(message["message"], message["progress"]))
            case "accepted":
                position = int(message["queue_position"])
                if position != self._position:
                    self._position = position
                    self._sink(Queued(position))
            case "delta":
                return self._receive_delta(message)
            case "done":
                self._receive_done(message)
            case "error":
                self.fail(_error(message))
        return True

    def fail(self, error: LLMError) -> None:
        """Nothing follows."""
        self.ended = True
        self._sink(error)

    def _receive_delta(self, message: dict[str, Any]) -> bool:
        seq = message["seq"]
        if seq <= self._seq:
            return True
        if seq > self._seq + 1:
            asked, self._missing = self._missing, True
            return asked
        self._seq, self._missing = seq, False
        self._emit(event_from_dict({name: value for name, value in message.items() if name not in ("type", "seq")}))
        return True

    def _receive_done(self, message: dict[str, Any]) -> None:
        """The end has all of the text, also what pieces were lost of it."""
        if message.get("split"):
            if message["seq"] > self._seq + 1:
                self.fail(BrokerError("The broker lost a part of the reply, which was too long for one message."))
                return
        else:
            self._emit(ReasoningDelta(_rest(message.get("reasoning") or "", self._reasoning)))
            self._emit(ContentDelta(_rest(message["content"], self._content)))
        for index, call in enumerate(message.get("tool_calls") or ()):
            function, (known, sent) = call["function"], self._calls.get(index, ("", 0))
            if known == call["id"]:
                self._emit(ToolCallDelta(index, arguments=function["arguments"][sent:]))
            else:
                self._emit(ToolCallDelta(index, call["id"], function["name"], function["arguments"]))
        self.ended = True
        usage, timings = Usage(**message["usage"]), Timings(**message.get("timings", {}))
        remarks = {name: message[name] for name in ("dropped_messages", "not_kept", "model") if name in message}
        awaiting = tuple(message.get("awaiting_approval", ()))
        self._sink(Done(message["finish_reason"], usage, timings, **remarks, awaiting_approval=awaiting))

    def _emit(self, event: ChatEvent) -> None:
        match event:
            case ContentDelta(text=text):
                self._content += text
            case ReasoningDelta(text=text):
                self._reasoning += text
            case ToolCallDelta(id=call_id, arguments=text):
                known, sent = self._calls.get(event.index, ("", 0))
                self._calls[event.index] = (call_id or known, sent + len(text))
                text = text or (call_id or "")
            case ToolResult():  # the text that the end brings begins after it
                self._content = self._reasoning = ""
                self._calls.clear()
                text = event.call_id
            case ToolStarted() | ToolApproval():
                text = event.call_id
            case _:
                return
        if text:
            self._sink(event)


def _rest(text: str, emitted: str) -> str:
    """What is still to come of a text. All of it, where what was emitted stood before a tool's result that was lost."""
    return text[len(emitted) :] if text.startswith(emitted) else text


def _error(message: dict[str, Any]) -> LLMError:
    code, text = str(message["code"]), str(message["message"])
    error = QueueFull(text) if code == "busy" else error_of(code, text)
    error.retry_after = message.get("retry_after")
    return error
