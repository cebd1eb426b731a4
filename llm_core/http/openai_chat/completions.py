"""One completion in OpenAI's shapes: whole, or chunk by chunk."""

from __future__ import annotations

import time
import uuid
from collections.abc import Sequence
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
from llm_core.http.choices import total
from llm_core.http.logprobs import logprobs_of
from llm_core.http.timeout import check_time

_CHUNK = "chat.completion.chunk"
FINISH_REASONS: dict[FinishReason, str] = {
    "stop": "stop",
    "length": "length",
    "tool_calls": "tool_calls",
    "timeout": "length",
    "cancelled": "stop",
}


class Answer:
    """One completion in OpenAI's shapes: whole, or chunk by chunk.

    Args:
        n: How many choices it has.
    """

    def __init__(self, model: str, n: int = 1) -> None:
        self._n = n
        self._begun: set[int] = set()
        self._usages: list[Usage] = []
        self._head = {"id": f"chatcmpl-{uuid.uuid4().hex}", "created": int(time.time()), "model": model}

    def whole(self, replies: Sequence[ChatReply]) -> dict[str, Any]:
        """The whole completion.

        Raises:
            TimedOut: There is nothing of a choice. OpenAI has no finish reason for that.
        """
        choices = [self._choice(index, reply) for index, reply in enumerate(replies)]
        usage = total([reply.usage for reply in replies], n=self._n)
        return self._head | {"object": "chat.completion", "choices": choices, "usage": usage_of(usage)}

    def _choice(self, index: int, reply: ChatReply) -> dict[str, Any]:
        check_time(reply, has_begun=bool(reply.content or reply.reasoning or reply.tool_calls))
        message: dict[str, Any] = {"role": "assistant", "content": reply.content}
        if reply.tool_calls:
            message["content"] = reply.content or None
            message["tool_calls"] = [call.model_dump() for call in reply.tool_calls]
        if reply.reasoning is not None:
            message["reasoning_content"] = reply.reasoning
        return {
            "index": index,
            "message": message,
            "logprobs": _logprobs(reply.logprobs),
            "finish_reason": FINISH_REASONS[reply.finish_reason],
        }

    def chunks(self, event: ChatEvent, *, index: int = 0, with_usage: bool) -> list[dict[str, Any]]:
        """The chunks of one event of a choice; none for what OpenAI has no words for, such as the place in the queue.

        Raises:
            TimedOut: It is the end of a reply that never began.
        """
        if isinstance(event, (ContentDelta, ReasoningDelta, ToolCallDelta)):
            self._begun.add(index)
        match event:
            case ContentDelta(text=text, logprobs=logprobs):
                return [self.chunk({"content": text}, index=index, with_usage=with_usage, logprobs=logprobs)]
            case ReasoningDelta(text=text):
                return [self.chunk({"reasoning_content": text}, index=index, with_usage=with_usage)]
            case ToolCallDelta():  # the shape is OpenAI's own
                return [self.chunk(event_to_dict(event), index=index, with_usage=with_usage)]
            case Done():
                check_time(event, has_begun=index in self._begun)
                self._usages.append(event.usage)
                reason = FINISH_REASONS[event.finish_reason]
                last = self.chunk({}, index=index, with_usage=with_usage, finish_reason=reason)
                return [last, *self._totals()] if with_usage else [last]
        return []

    def _totals(self) -> list[dict[str, Any]]:
        """The usage, once the last choice has ended."""
        if len(self._usages) < self._n:
            return []
        return [self._head | {"object": _CHUNK, "choices": [], "usage": usage_of(total(self._usages, n=self._n))}]

    def chunk(
        self,
        delta: dict[str, Any],
        *,
        with_usage: bool,
        index: int = 0,
        finish_reason: str | None = None,
        logprobs: tuple[TokenLogprob, ...] = (),
    ) -> dict[str, Any]:
        choice = {"index": index, "delta": delta, "logprobs": _logprobs(logprobs), "finish_reason": finish_reason}
        # OpenAI: with include_usage every chunk has the field, and it is null in all but the last.
        return self._head | {"object": _CHUNK, "choices": [choice]} | ({"usage": None} if with_usage else {})


def usage_of(usage: Usage) -> dict[str, Any]:
    """What was used, in OpenAI's words and why the cache did not have more."""
    return {
        "prompt_tokens": usage.prompt_tokens,
        "completion_tokens": usage.completion_tokens,
        "total_tokens": usage.prompt_tokens + usage.completion_tokens,
        "prompt_tokens_details": {"cached_tokens": usage.cached_tokens},
        "completion_tokens_details": {
            "reasoning_tokens": usage.reasoning_tokens,
            "accepted_prediction_tokens": usage.accepted_tokens,
            "rejected_prediction_tokens": usage.draft_tokens - usage.accepted_tokens,
        },
        "cache_miss": usage.cache_miss,
    }


def _logprobs(logprobs: tuple[TokenLogprob, ...]) -> dict[str, Any] | None:
    return {"content": logprobs_of(logprobs), "refusal": None} if logprobs else None
