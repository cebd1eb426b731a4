"""One completion in OpenAI's shapes: whole, or chunk by chunk."""

from __future__ import annotations

import time
import uuid
from typing import Any

from llm_core.events import (
    ChatEvent,
    ChatReply,
    ContentDelta,
    Done,
    FinishReason,
    ReasoningDelta,
    TokenLogprob,
    ToolCallDelta,
    Usage,
    event_to_dict,
)
from llm_core.http.timeout import check_time

_CHUNK = "chat.completion.chunk"
_FINISH_REASONS: dict[FinishReason, str] = {
    "stop": "stop",
    "length": "length",
    "tool_calls": "tool_calls",
    "timeout": "length",
    "cancelled": "stop",
}


class Answer:
    """One completion in OpenAI's shapes: whole, or chunk by chunk."""

    def __init__(self, model: str) -> None:
        self._has_begun = False
        self._head = {"id": f"chatcmpl-{uuid.uuid4().hex}", "created": int(time.time()), "model": model}

    def whole(self, reply: ChatReply) -> dict[str, Any]:
        """The whole completion.

        Raises:
            TimedOut: There is nothing of it. OpenAI has no finish reason for that.
        """
        self._has_begun = bool(reply.content or reply.reasoning or reply.tool_calls)
        check_time(reply, has_begun=self._has_begun)
        message: dict[str, Any] = {"role": "assistant", "content": reply.content}
        if reply.tool_calls:
            message["content"] = reply.content or None
            message["tool_calls"] = [call.model_dump() for call in reply.tool_calls]
        if reply.reasoning is not None:
            message["reasoning_content"] = reply.reasoning
        choice = {
            "index": 0,
            "message": message,
            "logprobs": _logprobs(reply.logprobs),
            "finish_reason": _FINISH_REASONS[reply.finish_reason],
        }
        return self._head | {"object": "chat.completion", "choices": [choice], "usage": _usage(reply.usage)}

    def chunks(self, event: ChatEvent, *, with_usage: bool) -> list[dict[str, Any]]:
        """The chunks of one event; none for what OpenAI has no words for, such as the place in the queue.

        Raises:
            TimedOut: It is the end of a reply that never began.
        """
        self._has_begun |= isinstance(event, (ContentDelta, ReasoningDelta, ToolCallDelta))
        match event:
            case ContentDelta(text=text, logprobs=logprobs):
                return [self.chunk({"content": text}, with_usage=with_usage, logprobs=logprobs)]
            case ReasoningDelta(text=text):
                return [self.chunk({"reasoning_content": text}, with_usage=with_usage)]
            case ToolCallDelta():
                return [self.chunk(event_to_dict(event), with_usage=with_usage)]  # the shape is OpenAI's own
            case Done():
                check_time(event, has_begun=self._has_begun)
                last = self.chunk({}, with_usage=with_usage, finish_reason=_FINISH_REASONS[event.finish_reason])
                totals = self._head | {"object": _CHUNK, "choices": [], "usage": _usage(event.usage)}
                return [last, totals] if with_usage else [last]
        return []

    def chunk(
        self,
        delta: dict[str, Any],
        *,
        with_usage: bool,
        finish_reason: str | None = None,
        logprobs: tuple[TokenLogprob, ...] = (),
    ) -> dict[str, Any]:
        choice = {"index": 0, "delta": delta, "logprobs": _logprobs(logprobs), "finish_reason": finish_reason}
        # OpenAI: with include_usage every chunk has the field, and it is null in all but the last.
        return self._head | {"object": _CHUNK, "choices": [choice]} | ({"usage": None} if with_usage else {})


def _usage(usage: Usage) -> dict[str, Any]:
    return {
        "prompt_tokens": usage.prompt_tokens,
        "completion_tokens": usage.completion_tokens,
        "total_tokens": usage.prompt_tokens + usage.completion_tokens,
        "prompt_tokens_details": {"cached_tokens": usage.cached_tokens},
        "completion_tokens_details": {
            "accepted_prediction_tokens": usage.accepted_tokens,
            "rejected_prediction_tokens": usage.draft_tokens - usage.accepted_tokens,
        },
        "cache_miss": usage.cache_miss,
    }


def _logprobs(logprobs: tuple[TokenLogprob, ...]) -> dict[str, Any] | None:
    if not logprobs:
        return None
    return {
        "content": [
            _logprob(each.token, each.data, each.logprob) | {"top_logprobs": [_logprob(*other) for other in each.top]}
            for each in logprobs
        ],
        "refusal": None,
    }


def _logprob(token: str, data: bytes, logprob: float) -> dict[str, Any]:
    return {"token": token, "bytes": list(data), "logprob": logprob}
