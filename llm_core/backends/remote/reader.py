"""The chunks of an engine's reply as our events. Engines differ in how they count calls and where thinking stands."""

from __future__ import annotations

import json
import time
import uuid
from collections.abc import Iterable, Iterator
from dataclasses import dataclass, replace
from typing import Any, get_args

from llm_core.backends.remote.calls import demanded
from llm_core.backends.remote.errors import Uncalled
from llm_core.backends.remote.stream import Chunk
from llm_core.chat.begun import is_in_thought
from llm_core.chat.formats import DEFAULT_REASONING
from llm_core.chat.parser import ReplyParser
from llm_core.chat.tool_formats import JSON, ToolFormat
from llm_core.completion_request import AnyRequest
from llm_core.events import (
    CacheMiss,
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
from llm_core.request import ChatRequest
from llm_core.tool_spec import NamedTool

# Engines' words for what is not simply a stop.
_FINISH_REASONS: dict[str, FinishReason] = {
    "length": "length",
    "tool_calls": "tool_calls",
    "function_call": "tool_calls",
    "abort": "cancelled",
}


@dataclass(slots=True)
class _Call:
    """A call as far as it has come.

    Attributes:
        index: Ours; None for one too many, which is left out.
        id: The engine's; None where it gives none.
    """

    index: int | None
    id: str | None
    name: str
    arguments: str = ""

    def is_another(self, id: str | None, name: str) -> bool:
        """Whether a piece with this id and name begins another call. Some engines repeat both in each piece, some give
        all calls one index."""
        if id and self.id:
            return id != self.id
        return bool(name) and (name != self.name or _is_complete(self.arguments))


class ChunkReader:
    """Turns the chunks of one reply into events, and counts and times them on the way.

    Text is held back while a call is demanded: an engine that ignores that is asked again in another way.
    """

    def __init__(self, request: AnyRequest) -> None:
        self._demanded = self._callable = frozenset[str]()
        self._several = False
        self._goes_on, self._in_thought = True, False  # all of a raw prompt's completion is text
        if isinstance(request, ChatRequest):
            self._demanded = frozenset(tool.name for tool in demanded(request))
            self._callable = frozenset(tool.name for tool in request.callable_tools)
            self._several = request.parallel_tool_calls and not isinstance(request.tool_choice, NamedTool)
            self._goes_on = request.begun is not None
            self._in_thought = request.begun is not None and is_in_thought(request.begun)
        self._submitted = time.perf_counter()
        self._first = self._last = 0.0
        self._pieces = self._thought_pieces = 0
        self.restart()

    def restart(self, calls: ToolFormat | None = None) -> None:
        """Forgets a try that came to nothing.

        Args:
            calls: How calls stand in the text; None where they have a field of their own.
        """
        self._as_json = calls is JSON
        self._calls_in_text = calls is not None
        self._parser = ReplyParser(
            DEFAULT_REASONING,
            self._in_thought,
            calls,
            self._demanded or self._callable,
            goes_on=self._goes_on,
        )
        self._marks_thinking = False  # in a field of its own, so that no marks of it stand in the text
        self._held: list[ContentDelta] = []
        self._calls: dict[int | None, _Call] = {}
        self._called = 0
        self._usage: Usage | None = None
        self.finish_reason: FinishReason | None = None

    @property
    def has_begun(self) -> bool:
        """Whether the caller has seen some of the reply, so that it cannot be begun again."""
        return self._pieces > 0

    @property
    def demands_call(self) -> bool:
        return bool(self._demanded)

    # ── what comes ───────────────────────────────────────────────────────────────────────────────────────────────────

    def read(self, chunk: Chunk) -> list[ChatEvent]:
        """The events of one chunk.

        Raises:
            Uncalled: A call was demanded, and something else is called.
        """
        events: list[ChatEvent] = []
        if chunk.get("usage"):
            self._usage = _usage(chunk["usage"])
        for choice in chunk.get("choices") or ():
            if choice.get("text") is not None:  # of a raw prompt's
                events += self._delta({"content": choice["text"]}, choice.get("logprobs"))
            elif choice.get("delta") is not None:
                events += self._delta(choice["delta"], choice.get("logprobs"))
            if choice.get("finish_reason") is not None:
                self.finish_reason = _FINISH_REASONS.get(choice["finish_reason"], "stop")
        return self._counted(events)

    def finish(self) -> list[ChatEvent]:
        """The stream has ended: what was held back comes out.

        Raises:
            Uncalled: A call was demanded, and none came.
        """
        events = list(self._content(self._parser.finish(is_cut=self.finish_reason != "stop")))
        if self._demanded and not self._called and (self._held or self.finish_reason == "stop"):
            raise Uncalled
        if self._called and self.finish_reason == "stop":  # vLLM says so of a call that was demanded by name
            self.finish_reason = "tool_calls"
        return self._counted(events)

    def _counted(self, events: list[ChatEvent]) -> list[ChatEvent]:
        if events:
            self._last = time.perf_counter()
            self._first = self._first or self._last
            self._pieces += 1
            self._thought_pieces += any(isinstance(event, ReasoningDelta) for event in events)
        return events

    def _delta(self, delta: dict[str, Any], logprobs: Any) -> Iterator[ChatEvent]:
        reasoning = delta.get("reasoning_content") or delta.get("reasoning")
        if reasoning:
            self._marks_thinking = True
            yield from [] if self._as_json else [ReasoningDelta(text_of(reasoning))]
        text, tokens = delta.get("content"), _logprobs(logprobs)
        if text and self._marks_thinking and not self._calls_in_text:
            yield from self._content([ContentDelta(text_of(text), tokens)])
        elif text:
            yield from self._content(self._parser.feed(text_of(text), tokens))
        for piece in delta.get("tool_calls") or ():
            yield from self._call(piece)

    def _content(self, deltas: Iterable[ContentDelta | ReasoningDelta | ToolCallDelta]) -> Iterator[ChatEvent]:
        for delta in deltas:
            if isinstance(delta, ToolCallDelta):
                if delta.index and not self._several:
                    continue
                self._called = delta.index + 1
            elif self._demanded and not self._called and isinstance(delta, ContentDelta):
                if delta.text.strip():
                    self._held.append(delta)
                continue
            yield delta

    def _call(self, piece: dict[str, Any]) -> Iterator[ChatEvent]:
        """Only a call's first piece has its id and name. Some engines give no ids, some no index."""
        function = piece.get("function") or {}
        place, id, name = piece.get("index"), piece.get("id"), text_of(function.get("name") or "")
        arguments = function.get("arguments")
        if not isinstance(arguments, str):  # an object, or nothing yet
            arguments = "" if arguments is None else json.dumps(arguments, ensure_ascii=False)
        call = self._calls.get(place)
        if call is None or call.is_another(id, name):
            call = self._calls[place] = _Call(self._new_index(name), id, name)
            if call.index is not None:
                yield from self._held
                self._held.clear()
                yield ToolCallDelta(call.index, id or f"call_{uuid.uuid4().hex[:24]}", name, arguments)
        elif call.index is not None:
            yield ToolCallDelta(call.index, arguments=arguments)
        call.arguments += arguments

    def _new_index(self, name: str) -> int | None:
        if self._called and not self._several:
            return None
        if self._demanded and not self._called and name not in self._demanded:
            raise Uncalled
        self._called += 1
        return self._called - 1

    # ── its end ──────────────────────────────────────────────────────────────────────────────────────────────────────

    def done(self, finish_reason: FinishReason, dropped_messages: int = 0) -> Done:
        """The last event. Of a reply that was cut short the engine gives no counts: then pieces count as tokens,
        and so do those of its thinking where it does not count that."""
        usage = self._usage or Usage(completion_tokens=self._pieces)
        if not usage.reasoning_tokens:  # the engine does not say, or counts none
            thought = min(self._thought_pieces, usage.completion_tokens)
            usage = replace(usage, reasoning_tokens=thought)
        if usage.cache_miss == "new" and dropped_messages:  # the engine was told the rest only
            usage = replace(usage, cache_miss="trimmed")
        seconds = self._last - self._first
        rate = (usage.completion_tokens - 1) / seconds if usage.completion_tokens > 1 and seconds > 0 else 0.0
        ttft_ms = (self._first - self._submitted) * 1e3 if self._first else 0.0
        # How long the engine kept it waiting is not known; it is in `ttft_ms`.
        return Done(finish_reason, usage, Timings(0.0, ttft_ms, rate), dropped_messages)


def text_of(value: Any) -> str:
    """
    Raises:
        TypeError: The engine wrote something else.
    """
    if not isinstance(value, str):
        raise TypeError(f"a text is {type(value).__name__}")
    return value


def _is_complete(arguments: str) -> bool:
    try:
        json.loads(arguments)
    except ValueError:
        return False
    return True


def _usage(usage: dict[str, Any]) -> Usage:
    details = usage.get("prompt_tokens_details") or {}
    why = usage.get("cache_miss")  # this app's own
    made = usage.get("completion_tokens_details") or {}
    accepted = made.get("accepted_prediction_tokens") or 0
    return Usage(
        usage.get("prompt_tokens") or 0,
        details.get("cached_tokens") or 0,
        usage.get("completion_tokens") or 0,
        why if why in get_args(CacheMiss) else None,
        accepted + (made.get("rejected_prediction_tokens") or 0),
        accepted,
        made.get("reasoning_tokens") or 0,
    )


def _logprobs(logprobs: Any) -> tuple[TokenLogprob, ...]:
    if logprobs and logprobs.get("tokens"):
        return tuple(_of_the_old_form(logprobs))
    return tuple(
        TokenLogprob(*_token(each), top=tuple(_token(other) for other in each.get("top_logprobs") or ()))
        for each in (logprobs or {}).get("content") or ()
    )


def _of_the_old_form(logprobs: dict[str, Any]) -> Iterator[TokenLogprob]:
    """Those of a raw prompt's completion: lists side by side, and no bytes."""
    tokens = logprobs["tokens"]
    tops = logprobs.get("top_logprobs") or [None] * len(tokens)
    for token, logprob, top in zip(tokens, logprobs["token_logprobs"], tops, strict=True):
        others = tuple((text, text.encode(), other) for text, other in (top or {}).items())
        yield TokenLogprob(token, token.encode(), logprob, others)


def _token(item: dict[str, Any]) -> tuple[str, bytes, float]:
    token, data = item["token"], item.get("bytes")
    return token, token.encode() if data is None else bytes(data), item["logprob"]
