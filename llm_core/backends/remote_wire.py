"""OpenAI's wire format from the caller's side: a request as an engine reads it, and its chunks as our events."""

from __future__ import annotations

import time
import uuid
from collections.abc import Iterable, Iterator
from typing import Any

from llm_core.errors import EngineFailed
from llm_core.events import (
    ChatEvent,
    ContentDelta,
    Done,
    FinishReason,
    ReasoningDelta,
    Timings,
    TokenLogprob,
    ToolCallDelta,
    Usage,
)
from llm_core.messages import Message
from llm_core.request import ChatRequest
from llm_core.tool_spec import NamedTool

# What OpenAI does not know; sent only where the caller has set it, since a strict engine refuses what it does not know.
# Repetition has two names: llama.cpp's and that of vLLM and TGI. An engine ignores the one that is not its own.
_OWN_NAMES = {
    "top_k": ("top_k",),
    "min_p": ("min_p",),
    "typical_p": ("typical_p",),
    "repeat_penalty": ("repeat_penalty", "repetition_penalty"),
    "repeat_last_n": ("repeat_last_n",),
}
# Engines' words for what is not simply a stop.
_FINISH_REASONS: dict[str, FinishReason] = {
    "length": "length",
    "tool_calls": "tool_calls",
    "function_call": "tool_calls",
    "abort": "cancelled",
}


def arguments_of(request: ChatRequest, model: str) -> dict[str, Any]:
    """The arguments of `AsyncInferenceClient.chat_completion`."""
    sampling = request.sampling
    arguments: dict[str, Any] = {
        "messages": [_message(message) for message in request.messages],
        "model": model,
        "max_tokens": request.max_tokens,
        "temperature": sampling.temperature,
        "top_p": sampling.top_p,
        "seed": sampling.seed,
        "stop": list(request.stop) or None,
        "presence_penalty": sampling.presence_penalty or None,
        "frequency_penalty": sampling.frequency_penalty or None,
        "stream_options": {"include_usage": True},
        "extra_body": _extra(request),
    }
    if sampling.logprobs is not None:
        arguments |= {"logprobs": True, "top_logprobs": sampling.logprobs or None}
    if request.tools:
        arguments |= {"tools": [tool.as_openai() for tool in request.tools], "tool_choice": _choice(request)}
    if request.response_format is not None:
        schema = {"name": "reply", "schema": request.response_format.json_schema, "strict": True}
        arguments["response_format"] = {"type": "json_schema", "json_schema": schema}
    return arguments


def _extra(request: ChatRequest) -> dict[str, Any]:
    sampling = request.sampling
    extra: dict[str, Any] = {
        theirs: getattr(sampling, ours)
        for ours, names in _OWN_NAMES.items()
        if ours in sampling.model_fields_set
        for theirs in names
    }
    if sampling.logit_bias:
        extra["logit_bias"] = {str(token): bias for token, bias in sampling.logit_bias.items()}
    if request.thinking is not None:
        extra["chat_template_kwargs"] = {"enable_thinking": request.thinking}
    if request.tools and not request.parallel_tool_calls:
        extra["parallel_tool_calls"] = False
    return extra


def _choice(request: ChatRequest) -> Any:
    choice = request.tool_choice
    return {"type": "function", "function": {"name": choice.name}} if isinstance(choice, NamedTool) else choice


def _message(message: Message) -> dict[str, Any]:
    said: dict[str, Any] = {"role": message.role, "content": message.content}
    if message.reasoning is not None:
        said["reasoning_content"] = message.reasoning
    if message.tool_calls:
        said["tool_calls"] = [call.model_dump() for call in message.tool_calls]
    if message.tool_call_id is not None:
        said["tool_call_id"] = message.tool_call_id
    return said


def shorter_ones(messages: tuple[Message, ...]) -> Iterator[tuple[Message, ...]]:
    """The conversation without its oldest turn, the oldest two, four, eight and so on, at last the last turn alone.

    How long a text is in tokens only the engine knows, so this is tried out. Steps that double are few, and the prompt
    of a growing session begins at the same place for many turns, so that the engine finds it in its prefix cache.

    A turn is a user's message and all up to the next one: a call is never parted from its result. System messages at
    the start stay.
    """
    head = next((at for at, message in enumerate(messages) if message.role != "system"), len(messages))
    starts = [at for at in range(head + 1, len(messages)) if messages[at].role == "user"]
    turns = 1
    while turns < len(starts):
        yield (*messages[:head], *messages[starts[turns - 1] :])
        turns *= 2
    if starts:
        yield (*messages[:head], *messages[starts[-1] :])


class ChunkReader:
    """Turns the chunks of one reply into events, and counts and times them on the way."""

    def __init__(self) -> None:
        self._submitted = time.perf_counter()
        self._begin()

    def _begin(self) -> None:
        self._first = self._last = 0.0
        self._pieces = 0
        self._calls: dict[int, int] = {}
        self._usage: Usage | None = None
        self.finish_reason: FinishReason | None = None

    @property
    def has_begun(self) -> bool:
        """Whether the caller has seen some of the reply, so that it cannot be begun again."""
        return self._pieces > 0

    def restart(self) -> None:
        """Forgets a try that came to nothing."""
        self._begin()

    def read(self, chunk: Any) -> list[ChatEvent]:
        """The events of one chunk, an object as huggingface_hub makes it: what a chunk lacks is None there."""
        events: list[ChatEvent] = []
        if chunk.usage is not None:
            self._usage = _usage(chunk.usage)
        for choice in chunk.choices or ():
            if choice.delta is not None:
                events.extend(self._delta(choice.delta, choice.logprobs))
            if choice.finish_reason is not None:
                self.finish_reason = self._why(choice.finish_reason)
        if events:
            self._last = time.perf_counter()
            self._first = self._first or self._last
            self._pieces += 1
        return events

    def _delta(self, delta: Any, logprobs: Any) -> Iterable[ChatEvent]:
        reasoning = getattr(delta, "reasoning_content", None) or delta.reasoning
        if reasoning:
            yield ReasoningDelta(reasoning)
        if delta.content:
            yield ContentDelta(delta.content, _logprobs(logprobs))
        for call in delta.tool_calls or ():
            yield self._call(call)

    def _call(self, call: Any) -> ToolCallDelta:
        """Only a call's first piece has its id: some engines repeat it, some give none, some count from elsewhere."""
        theirs = call.index if isinstance(call.index, int) else len(self._calls)
        arguments = call.function.arguments or ""
        if not isinstance(arguments, str):
            raise EngineFailed("The engine sent a call whose arguments are not text.")
        if theirs in self._calls:
            return ToolCallDelta(self._calls[theirs], arguments=arguments)
        ours = self._calls[theirs] = len(self._calls)
        return ToolCallDelta(ours, call.id or f"call_{uuid.uuid4().hex[:24]}", call.function.name or "", arguments)

    def _why(self, reason: str) -> FinishReason:
        # vLLM says `stop` of a call that was demanded by name.
        return "tool_calls" if self._calls and reason == "stop" else _FINISH_REASONS.get(reason, "stop")

    def done(self, finish_reason: FinishReason, dropped_messages: int = 0) -> Done:
        """The last event. Of a reply that was cut short the engine gives no counts: then pieces count as tokens."""
        usage = self._usage or Usage(completion_tokens=self._pieces)
        seconds = self._last - self._first
        rate = (usage.completion_tokens - 1) / seconds if usage.completion_tokens > 1 and seconds > 0 else 0.0
        ttft_ms = (self._first - self._submitted) * 1e3 if self._first else 0.0
        # How long the engine kept it waiting is not known; it is in `ttft_ms`.
        return Done(finish_reason, usage, Timings(0.0, ttft_ms, rate), dropped_messages)


def _usage(usage: Any) -> Usage:
    details = getattr(usage, "prompt_tokens_details", None) or {}
    return Usage(usage.prompt_tokens or 0, details.get("cached_tokens") or 0, usage.completion_tokens or 0)


def _logprobs(logprobs: Any) -> tuple[TokenLogprob, ...]:
    if logprobs is None:
        return ()
    return tuple(
        TokenLogprob(*_token(each), top=tuple(_token(other) for other in each.top_logprobs or ()))
        for each in logprobs.content or ()
    )


def _token(item: Any) -> tuple[str, bytes, float]:
    data = getattr(item, "bytes", None)
    return item.token, item.token.encode() if data is None else bytes(data), item.logprob
