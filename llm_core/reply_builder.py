"""From the events of a reply to the whole of it."""

from __future__ import annotations

from llm_core.events import (
    ChatEvent,
    ChatReply,
    ContentDelta,
    Done,
    Loading,
    Queued,
    ReasoningDelta,
    TokenLogprob,
    ToolApproval,
    ToolCallDelta,
    ToolResult,
    ToolStarted,
    reloaded,
)
from llm_core.messages import MAX_CALLS, FunctionCall, ToolCall


class CallBuilder:
    """Adds the pieces of calls up to whole ones."""

    def __init__(self) -> None:
        self._heads: list[tuple[str, str]] = []
        self._arguments: list[list[str]] = []

    def add(self, delta: ToolCallDelta) -> None:
        if delta.id is not None:
            self._heads.append((delta.id, delta.name or ""))
            self._arguments.append([])
        self._arguments[delta.index].append(delta.arguments)

    def calls(self) -> tuple[ToolCall, ...]:
        return tuple(
            ToolCall(id=call_id, function=FunctionCall(name=name, arguments="".join(pieces)))
            for (call_id, name), pieces in zip(self._heads, self._arguments, strict=True)
        )


class ReplyBuilder:
    """Adds events up to a `ChatReply`; the only way that a whole reply is made, so it cannot differ from the stream.

    Calls that were answered on the way (`ToolResult`) are not part of what it adds up to, and neither is the text
    before them: the reply is what the model said last, with the calls of it that nobody has answered.
    """

    def __init__(self) -> None:
        self._begin()
        self._done: Done | None = None

    def _begin(self) -> None:
        self._content: list[str] = []
        self._reasoning: list[str] = []
        self._logprobs: list[TokenLogprob] = []
        self._calls = CallBuilder()
        self._answered = set[str]()

    def add(self, event: ChatEvent) -> None:
        if self._answered and not isinstance(event, (ToolStarted, ToolApproval, ToolResult, Done)):
            self._begin()
        match event:
            case ContentDelta():
                self._content.append(event.text)
                self._logprobs.extend(event.logprobs)
            case ReasoningDelta():
                self._reasoning.append(event.text)
            case ToolCallDelta():
                self._calls.add(event)
            case ToolResult():
                self._answered.add(event.call_id)
            case Done():
                self._done = event
            case Queued() | Loading() | ToolStarted() | ToolApproval():
                pass
            case _:
                raise reloaded()

    def so_far(self) -> tuple[str, str, tuple[ToolCall, ...]]:
        """The text, the thinking and the calls that nobody has answered, as far as they came."""
        return "".join(self._content), "".join(self._reasoning), self._open_calls()

    def reply(self) -> ChatReply:
        if self._done is None:
            raise RuntimeError("the stream ended without a Done event")
        return ChatReply(
            content="".join(self._content),
            reasoning="".join(self._reasoning) or None,
            finish_reason=self._done.finish_reason,
            usage=self._done.usage,
            timings=self._done.timings,
            dropped_messages=self._done.dropped_messages,
            logprobs=tuple(self._logprobs),
            tool_calls=self._open_calls(),
            awaiting_approval=self._done.awaiting_approval,
            not_kept=self._done.not_kept,
            model=self._done.model,
        )

    def _open_calls(self) -> tuple[ToolCall, ...]:
        calls = self._calls.calls()
        if not self._answered:
            return calls
        # Of more calls than are made at all the rest is nobody's to answer.
        return tuple(call for call in calls[:MAX_CALLS] if call.id not in self._answered)
