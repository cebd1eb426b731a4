"""One response in OpenAI's shapes: event by event, or whole."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass, field
from typing import Any, Literal

from llm_core.access.problems import problem
from llm_core.errors import SERVER_FAILED, LLMError, TimedOut
from llm_core.events import (
    ChatEvent,
    ContentDelta,
    Done,
    FinishReason,
    Loading,
    Queued,
    ReasoningDelta,
    TokenLogprob,
    ToolCallDelta,
    Usage,
)
from llm_core.http.openai_responses.items import (
    JSON,
    call_item,
    items_of,
    reasoning_item,
    reasoning_part,
    reply_item,
    text_part,
    with_id,
)
from llm_core.http.timeout import check_time
from llm_core.sessions.records import Turn

_STATUS: dict[FinishReason, str] = {
    "stop": "completed",
    "tool_calls": "completed",
    "length": "incomplete",
    "timeout": "incomplete",
    "cancelled": "cancelled",
}


@dataclass(slots=True)
class _Item:
    """What is being made.

    Attributes:
        key: Tells the pieces that belong to it.
        head: Of a call: its id, and the function's name.
    """

    kind: Literal["message", "reasoning", "call"]
    key: str
    place: int
    head: tuple[str, str] = ("", "")
    pieces: list[str] = field(default_factory=list)
    logprobs: list[TokenLogprob] = field(default_factory=list)

    def part(self) -> JSON:
        text = "".join(self.pieces)
        return text_part(text, self.logprobs) if self.kind == "message" else reasoning_part(text)

    def whole(self, status: str) -> JSON:
        """It as far as it is made."""
        if self.kind == "call":
            return call_item(*self.head, "".join(self.pieces), status)
        parts = [self.part()] if self.pieces else []
        return reply_item(parts, status) if self.kind == "message" else reasoning_item(parts, status)


class Answer:
    """One response while it is made.

    The same events of ours make the same events here, with the same numbers, however often and from wherever they are
    read: that is how a reader comes back.

    Args:
        head: Its id, model, time, and what it repeats of the request.
        first: The number of its first item in its turn.
    """

    def __init__(self, head: JSON, *, first: int = 0) -> None:
        self._head, self._first = head, first
        self._stream_id = head["id"].partition("_")[2]
        self._output: list[JSON] = []
        self._open: _Item | None = None
        self._sequence = -1
        self._is_queued = bool(head.get("background"))
        self.response = response(head, "queued" if self._is_queued else "in_progress")

    def begin(self) -> list[JSON]:
        """What stands before the reply."""
        begun = "response.queued" if self._is_queued else "response.in_progress"
        return [self._told("response.created"), self._told(begun)]

    def events(self, event: ChatEvent) -> list[JSON]:
        """Those of one of ours; none for what OpenAI has no words for, such as the place in the queue.

        Raises:
            TimedOut: It is the end of a reply that never began.
        """
        told = self._leave_queue(event)
        match event:
            case ContentDelta(text=text, logprobs=logprobs) if text or logprobs:
                told += self._enter("message", "message")
                told.append(self._piece("response.output_text.delta", text, logprobs))
            case ReasoningDelta(text=text):
                told += self._enter("reasoning", "reasoning")
                told.append(self._piece("response.reasoning_text.delta", text))
            case ToolCallDelta():
                told += self._enter("call", f"call {event.index}", (event.id or "", event.name or ""))
                if event.arguments:
                    told.append(self._piece("response.function_call_arguments.delta", event.arguments))
            case Done():
                check_time(event, has_begun=bool(self._output))
                told += self._end(event)
        return told

    def fail(self, error: Exception) -> list[JSON]:
        """What is told in place of the end."""
        said = problem(error, openai=True)[1]["error"]
        if not isinstance(error, LLMError):
            return [self._event("error", code=said["code"], message=said["message"], param=None)]
        closed = self._close("incomplete")
        self.response = response(self._head, "failed", output=self._output, error=said["message"])
        return [*closed, self._told("response.failed")]

    def _leave_queue(self, event: ChatEvent) -> list[JSON]:
        waits = isinstance(event, Loading) or (isinstance(event, Queued) and event.position > 0)
        if waits or not self._is_queued:
            return []
        self._is_queued = False
        self.response = response(self._head, "in_progress")
        return [self._told("response.in_progress")]

    def _end(self, done: Done) -> list[JSON]:
        status = _STATUS[done.finish_reason]
        closed = self._close("completed" if status == "completed" else "incomplete")
        self.response = response(self._head, status, output=self._output, done=done)
        # There is no event for a response that somebody stopped.
        return [*closed, self._told("response.completed" if status == "completed" else "response.incomplete")]

    # ── items ────────────────────────────────────────────────────────────────────────────────────────────────────────

    def _enter(
        self, kind: Literal["message", "reasoning", "call"], key: str, head: tuple[str, str] = ("", "")
    ) -> list[JSON]:
        """Opens an item, where another one is open or none."""
        if self._open is not None and self._open.key == key:
            return []
        told = self._close("completed")
        self._open = item = _Item(kind, key, len(self._output), head)
        self._output.append(self._whole(item, "in_progress"))
        told.append(self._event("response.output_item.added", output_index=item.place, item=self._output[-1]))
        if kind != "call":
            told.append(self._in_item("response.content_part.added", content_index=0, part=item.part()))
        return told

    def _piece(self, kind: str, text: str, logprobs: Sequence[TokenLogprob] = ()) -> JSON:
        assert self._open is not None
        self._open.pieces.append(text)
        self._open.logprobs += logprobs
        if self._open.kind == "call":
            return self._in_item(kind, delta=text)
        more = {"logprobs": text_part("", logprobs)["logprobs"]} if self._open.kind == "message" else {}
        return self._in_item(kind, content_index=0, delta=text, **more)

    def _close(self, status: str) -> list[JSON]:
        item = self._open
        if item is None:
            return []
        self._output[item.place] = whole = self._whole(item, status)
        text = "".join(item.pieces)
        if item.kind == "call":
            name = item.head[1]
            told = [self._in_item("response.function_call_arguments.done", name=name, arguments=text)]
        else:
            part = item.part()
            done, more = "response.reasoning_text.done", {}
            if item.kind == "message":
                done, more = "response.output_text.done", {"logprobs": part["logprobs"]}
            told = [
                self._in_item(done, content_index=0, text=text, **more),
                self._in_item("response.content_part.done", content_index=0, part=part),
            ]
        told.append(self._event("response.output_item.done", output_index=item.place, item=whole))
        self._open = None
        return told

    def _whole(self, item: _Item, status: str) -> JSON:
        return with_id(item.whole(status), self._stream_id, self._first + item.place)

    def _in_item(self, kind: str, **fields: Any) -> JSON:
        assert self._open is not None
        place = self._open.place
        return self._event(kind, item_id=self._output[place]["id"], output_index=place, **fields)

    def _told(self, kind: str) -> JSON:
        return self._event(kind, response=self.response)

    def _event(self, kind: str, **fields: Any) -> JSON:
        self._sequence += 1
        return {"type": kind, "sequence_number": self._sequence} | fields


def response(
    head: JSON,
    status: str,
    *,
    output: Sequence[JSON] = (),
    done: Done | None = None,
    error: str | None = None,
) -> JSON:
    """The response as it is now."""
    return head | {
        "model": (done and done.model) or head["model"],
        "object": "response",
        "status": status,
        "error": None if error is None else {"code": "server_error", "message": error},
        "incomplete_details": {"reason": "max_output_tokens"} if status == "incomplete" else None,
        "output": [*output],
        "usage": None if done is None else _usage(done.usage),
    }


def response_of(turn: Turn, head: JSON, inputs: int) -> JSON:
    """The response that a turn is.

    Args:
        inputs: With how many messages the turn began.
    """
    said, made = turn.messages[:inputs], turn.messages[inputs:]
    output = items_of(made, turn.stream_id, len(items_of(said, turn.stream_id)))
    done = turn.done
    status = "in_progress" if turn.status == "running" else "failed" if done is None else _STATUS[done.finish_reason]
    if status != "completed" and output:
        output[-1]["status"] = status if status == "in_progress" else "incomplete"
    if status == "in_progress":
        return response(head, status, output=output)
    if done is None:
        return response(head, "failed", output=output, error=turn.error or SERVER_FAILED)
    try:
        check_time(done, has_begun=bool(made))
    except TimedOut as error:
        return response(head, "failed", error=error.message)
    return response(head, status, output=output, done=done)


def _usage(usage: Usage) -> JSON:
    return {
        "input_tokens": usage.prompt_tokens,
        "input_tokens_details": {"cached_tokens": usage.cached_tokens, "cache_write_tokens": 0},
        "output_tokens": usage.completion_tokens,
        "output_tokens_details": {"reasoning_tokens": usage.reasoning_tokens},
        "total_tokens": usage.prompt_tokens + usage.completion_tokens,
    }
