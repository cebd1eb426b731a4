"""One reply in Ollama's shapes: whole, or object by object."""

from __future__ import annotations

import time
from collections.abc import Callable
from datetime import UTC, datetime
from typing import Any

from llm_core.events import (
    ChatEvent,
    ChatReply,
    ContentDelta,
    Done,
    FinishReason,
    Queued,
    ReasoningDelta,
    TokenLogprob,
    ToolCallDelta,
)
from llm_core.http.arguments import read_arguments
from llm_core.http.timeout import check_time
from llm_core.messages import ToolCall
from llm_core.reply_builder import CallBuilder

_DONE_REASONS: dict[FinishReason, str] = {
    "stop": "stop",
    "length": "length",
    "tool_calls": "stop",
    "timeout": "length",
    "cancelled": "stop",
}
Object = dict[str, Any]
Words = Callable[..., Object]


def chat_words(content: str = "", thinking: str = "", calls: tuple[ToolCall, ...] = ()) -> Object:
    """What `/api/chat` has of a reply."""
    message: Object = {"role": "assistant", "content": content}
    if thinking:
        message["thinking"] = thinking
    if calls:
        message["tool_calls"] = [
            {"id": call.id, "function": {"index": index, "name": call.name, "arguments": read_arguments(call)}}
            for index, call in enumerate(calls)
        ]
    return {"message": message}


def generate_words(content: str = "", thinking: str = "", calls: tuple[ToolCall, ...] = ()) -> Object:
    """What `/api/generate` has of a reply; it knows no calls."""
    return {"response": content} | ({"thinking": thinking} if thinking else {})


class Answer:
    """One reply. The time that it takes runs from here.

    Args:
        words: Its text in the route's shape.
    """

    def __init__(self, words: Words) -> None:
        self.model = ""
        self._words = words
        self._began, self._queued = time.perf_counter_ns(), 0
        self._calls, self._has_calls, self._has_begun = CallBuilder(), False, False

    def only(self, reason: str) -> Object:
        """The answer to who asked for nothing but that the model is loaded, or unloaded."""
        return self._object(self._words()) | {"done": True, "done_reason": reason}

    def whole(self, reply: ChatReply) -> Object:
        """The whole reply.

        Raises:
            TimedOut: There is nothing of it.
        """
        check_time(reply, has_begun=bool(reply.content or reply.reasoning or reply.tool_calls))
        words = self._words(reply.content, reply.reasoning or "", reply.tool_calls)
        return self._object(words, reply.logprobs) | self._end(reply)

    def objects(self, event: ChatEvent) -> list[Object]:
        """Those of one event; none for what Ollama has no words for, such as the place in the queue.

        Raises:
            TimedOut: It is the end of a reply that never began.
        """
        match event:
            case Queued() if not self._queued:
                self._queued = time.perf_counter_ns()
            case ContentDelta(text=text, logprobs=logprobs) if text or logprobs:
                return [self._object(self._words(text), logprobs) | {"done": False}]
            case ReasoningDelta(text=text):
                return [self._object(self._words("", text)) | {"done": False}]
            case ToolCallDelta():
                self._has_calls = self._has_begun = True
                self._calls.add(event)
            case Done():
                check_time(event, has_begun=self._has_begun)
                calls = self._object(self._words("", "", self._calls.calls())) | {"done": False}
                last = self._object(self._words()) | self._end(event)
                return [calls, last] if self._has_calls else [last]
        return []

    def _object(self, words: Object, logprobs: tuple[TokenLogprob, ...] = ()) -> Object:
        self._has_begun = True
        now = datetime.now(UTC).isoformat().replace("+00:00", "Z")
        return {"model": self.model, "created_at": now} | words | _logprobs(logprobs)

    def _end(self, end: ChatReply | Done) -> Object:
        """Why it ended and what it took; times are nanoseconds.

        The engine tells when the first token was there and how many a second came after it. Ollama's clients divide the
        tokens by their time, so that is what makes that rate.
        """
        total = time.perf_counter_ns() - self._began
        timings, tokens = end.timings, end.usage.completion_tokens
        reading = max(0, round((timings.ttft_ms - timings.queue_ms) * 1e6))
        before = self._queued - self._began if self._queued else 0
        writing = tokens / timings.tokens_per_second * 1e9 if timings.tokens_per_second else total - before - reading
        loading = before if self._queued else total - writing - timings.ttft_ms * 1e6
        return {
            "done": True,
            "done_reason": _DONE_REASONS[end.finish_reason],
            "total_duration": total,
            "load_duration": max(0, round(loading)),
            "prompt_eval_count": end.usage.prompt_tokens,
            "prompt_eval_duration": reading,
            "eval_count": tokens,
            "eval_duration": max(1, round(writing)),
        }


def _logprobs(logprobs: tuple[TokenLogprob, ...]) -> Object:
    if not logprobs:
        return {}
    return {
        "logprobs": [
            _logprob(each.token, each.data, each.logprob) | {"top_logprobs": [_logprob(*other) for other in each.top]}
            for each in logprobs
        ]
    }


def _logprob(token: str, data: bytes, logprob: float) -> Object:
    return {"token": token, "logprob": logprob, "bytes": list(data)}
