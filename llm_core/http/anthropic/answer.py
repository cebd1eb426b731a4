"""One reply in Anthropic's shapes: whole, or event by event."""

from __future__ import annotations

import uuid
from typing import Any, Literal

from llm_core.events import (
    ChatEvent,
    ChatReply,
    ContentDelta,
    Done,
    FinishReason,
    ReasoningDelta,
    ToolCallDelta,
    Usage,
)
from llm_core.http.arguments import read_arguments
from llm_core.http.timeout import check_time

_STOP_REASONS: dict[FinishReason, str] = {
    "stop": "end_turn",
    "length": "max_tokens",
    "tool_calls": "tool_use",
    "timeout": "max_tokens",
    "cancelled": "end_turn",
}
Event = dict[str, Any]
_Kind = Literal["thinking", "text", "tool_use"]


class Answer:
    """One reply.

    Args:
        model: Its name.
    """

    def __init__(self, model: str) -> None:
        self._model, self._id = model, f"msg_{uuid.uuid4().hex}"
        self._place, self._open = -1, ""

    def whole(self, reply: ChatReply) -> Event:
        """The whole message.

        Raises:
            TimedOut: There is nothing of it.
        """
        content: list[Event] = []
        if reply.reasoning:
            content.append({"type": "thinking", "thinking": reply.reasoning, "signature": ""})
        if reply.content:
            content.append({"type": "text", "text": reply.content})
        content += [
            {"type": "tool_use", "id": call.id, "name": call.name, "input": read_arguments(call)}
            for call in reply.tool_calls
        ]
        check_time(reply, has_begun=bool(content))
        return self._message(content, _STOP_REASONS[reply.finish_reason], _usage(reply.usage))

    def begin(self) -> list[Event]:
        """What stands before the reply. How long the prompt is, is told at the end."""
        return [{"type": "message_start", "message": self._message([], None, _usage(Usage()))}]

    def events(self, event: ChatEvent) -> list[Event]:
        """Those of one of ours; none for what Anthropic has no words for, such as the place in the queue.

        Raises:
            TimedOut: It is the end of a reply that never began.
        """
        match event:
            case ContentDelta(text=text) if text:
                return self._in_block("text", "text", {"text": ""}, {"type": "text_delta", "text": text})
            case ReasoningDelta(text=text):
                opening: Event = {"thinking": "", "signature": ""}
                return self._in_block("thinking", "thinking", opening, {"type": "thinking_delta", "thinking": text})
            case ToolCallDelta():
                return self._call(event)
            case Done():
                check_time(event, has_begun=self._place >= 0)
                delta = {"stop_reason": _STOP_REASONS[event.finish_reason], "stop_sequence": None}
                ended: list[Event] = [
                    {"type": "message_delta", "delta": delta, "usage": _usage(event.usage)},
                    {"type": "message_stop"},
                ]
                return [*self._close(), *ended]
        return []

    def _call(self, delta: ToolCallDelta) -> list[Event]:
        piece = {"type": "input_json_delta", "partial_json": delta.arguments}
        opening: Event = {"id": delta.id, "name": delta.name, "input": {}}
        return self._in_block("tool_use", f"call {delta.index}", opening, piece)

    def _in_block(self, kind: _Kind, name: str, opening: Event, piece: Event) -> list[Event]:
        """A piece in its block, which is opened where another one is."""
        events: list[Event] = []
        if self._open != name:
            events = self._close()
            self._place, self._open = self._place + 1, name
            block = {"type": kind} | opening
            events.append({"type": "content_block_start", "index": self._place, "content_block": block})
        return [*events, {"type": "content_block_delta", "index": self._place, "delta": piece}]

    def _close(self) -> list[Event]:
        if not self._open:
            return []
        self._open = ""
        return [{"type": "content_block_stop", "index": self._place}]

    def _message(self, content: list[Event], stop_reason: str | None, usage: Event) -> Event:
        return {
            "id": self._id,
            "type": "message",
            "role": "assistant",
            "model": self._model,
            "content": content,
            "stop_reason": stop_reason,
            "stop_sequence": None,
            "usage": usage,
        }


def _usage(usage: Usage) -> Event:
    """Anthropic counts what was in the cache beside the input, not within it."""
    return {
        "input_tokens": usage.prompt_tokens - usage.cached_tokens,
        "cache_read_input_tokens": usage.cached_tokens,
        "cache_creation_input_tokens": 0,
        "output_tokens": usage.completion_tokens,
    }
