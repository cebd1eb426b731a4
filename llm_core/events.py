"""What is answered: the events of a reply, in the order in which they come, and the reply that they add up to."""

from __future__ import annotations

from dataclasses import asdict, dataclass
from typing import Any, Literal

from llm_core.errors import LLMError
from llm_core.messages import FunctionCall, ToolCall

FinishReason = Literal["stop", "length", "tool_calls", "cancelled", "timeout"]

CacheMiss = Literal["new", "trimmed", "evicted", "model_changed"]


@dataclass(frozen=True, slots=True)
class Usage:
    """Counts of tokens.

    Attributes:
        prompt_tokens: Tokens of the whole prompt.
        cached_tokens: Those of them that were found in the prefix cache and not computed again.
        completion_tokens: Tokens that were generated, the end-of-turn token included.
        cache_miss: Why more of the prompt was computed than what was said just now. `new`: it was not known; `trimmed`:
            older turns were left out, so that it begins otherwise; `evicted`: it was known and had made room for
            others; `model_changed`: it is from before a restart with another model. None: no more was, or the engine
            does not say.
        draft_tokens: Tokens that were tried before it was known whether they come next.
        accepted_tokens: Those of them that came next.
    """

    prompt_tokens: int = 0
    cached_tokens: int = 0
    completion_tokens: int = 0
    cache_miss: CacheMiss | None = None
    draft_tokens: int = 0
    accepted_tokens: int = 0


@dataclass(frozen=True, slots=True)
class Timings:
    """Times of one request as the engine saw them.

    Attributes:
        queue_ms: From submission until a slot was free, in milliseconds.
        ttft_ms: From submission until the first token was sampled, in milliseconds; 0 where none was.
        tokens_per_second: Rate of the tokens after the first; 0 where there are fewer than two.
    """

    queue_ms: float = 0.0
    ttft_ms: float = 0.0
    tokens_per_second: float = 0.0


@dataclass(frozen=True, slots=True)
class TokenLogprob:
    """One token with its natural-log probability under the model, before any sampler changed it.

    Attributes:
        token: The token's text; bytes that are not UTF-8 on their own read as U+FFFD here (never in the reply).
        data: The token's bytes.
        logprob: Natural logarithm of its probability.
        top: The most likely tokens at this place, as (text, bytes, logprob), the likeliest first.
    """

    token: str
    data: bytes
    logprob: float
    top: tuple[tuple[str, bytes, float], ...] = ()


@dataclass(frozen=True, slots=True)
class Queued:
    """The request waits; `position` requests will be served before it. 0: it has a slot."""

    position: int
    type: Literal["queued"] = "queued"


@dataclass(frozen=True, slots=True)
class Loading:
    """The request's model is on its way; its place in the queue comes after that.

    Attributes:
        message: A sentence for people.
        progress: 0 to 1, of what the message speaks of.
    """

    message: str
    progress: float
    type: Literal["loading"] = "loading"


@dataclass(frozen=True, slots=True)
class ContentDelta:
    """The next piece of the reply's text."""

    text: str
    logprobs: tuple[TokenLogprob, ...] = ()
    type: Literal["content"] = "content"


@dataclass(frozen=True, slots=True)
class ReasoningDelta:
    """The next piece of the model's thinking."""

    text: str
    type: Literal["reasoning"] = "reasoning"


@dataclass(frozen=True, slots=True)
class ToolCallDelta:
    """The next piece of a call. The first one of an `index` has its id and name, the others go on with its arguments.

    Attributes:
        index: Which of the reply's calls, from 0.
        arguments: The next piece of the arguments' JSON.
    """

    index: int
    id: str | None = None
    name: str | None = None
    arguments: str = ""
    type: Literal["tool_call"] = "tool_call"


@dataclass(frozen=True, slots=True)
class ToolResult:
    """What a tool that runs here gave back. The reply goes on after it.

    Attributes:
        call_id: Of the call.
        content: What the model is told.
        failed: Whether it is an error's message.
    """

    call_id: str
    name: str
    content: str
    failed: bool = False
    type: Literal["tool_result"] = "tool_result"


@dataclass(frozen=True, slots=True)
class Done:
    """The last event of every reply that did not fail.

    Attributes:
        model: The name of the model that made it; empty where nobody said.
        dropped_messages: How many of the oldest messages were left out of the prompt to make it fit.
        not_kept: Why the session has not got this reply, in a sentence; empty where it has, and outside of sessions.
    """

    finish_reason: FinishReason
    usage: Usage
    timings: Timings
    dropped_messages: int = 0
    not_kept: str = ""
    model: str = ""
    type: Literal["done"] = "done"


ChatEvent = Queued | Loading | ContentDelta | ReasoningDelta | ToolCallDelta | ToolResult | Done


def reloaded() -> LLMError:
    """The error where an event is no `ChatEvent`, but of a class that has the same name: this module was loaded again,
    and the engine has the one before."""
    return LLMError(
        "Modules of llm_core were loaded again (importlib.reload, %autoreload) under a running engine, which goes "
        "on with the ones before. Restart Python."
    )


@dataclass(frozen=True, slots=True)
class ChatReply:
    """A whole reply: the sum of its events.

    Attributes:
        content: The text.
        reasoning: The thinking, or None where the model did none.
        tool_calls: What the model called and nobody has answered yet, in order.
        not_kept: Why the session has not got it, in a sentence; empty where it has, and outside of sessions.
        model: The name of the model that made it; empty where nobody said.
    """

    content: str
    reasoning: str | None
    finish_reason: FinishReason
    usage: Usage
    timings: Timings
    dropped_messages: int = 0
    logprobs: tuple[TokenLogprob, ...] = ()
    tool_calls: tuple[ToolCall, ...] = ()
    not_kept: str = ""
    model: str = ""

    def to_dict(self) -> dict[str, Any]:
        """The JSON shape of a whole reply over HTTP; what a reply need not have is there only where it has it."""
        answer: dict[str, Any] = {"content": self.content}
        if self.reasoning is not None:
            answer["reasoning"] = self.reasoning
        if self.tool_calls:
            answer["tool_calls"] = [call.model_dump() for call in self.tool_calls]
        answer |= {
            "finish_reason": self.finish_reason,
            "usage": asdict(self.usage),
            "timings": asdict(self.timings),
        }
        return answer | _remarks(self)


def event_to_dict(event: ChatEvent) -> dict[str, Any]:
    """The JSON shape of an event, over HTTP and in the session store. Logprobs are not part of it."""
    match event:
        case Queued(position=position):
            return {"queue_position": position}
        case Loading():
            return {"loading": {"message": event.message, "progress": round(event.progress, 3)}}
        case ContentDelta(text=text):
            return {"content": text}
        case ReasoningDelta(text=text):
            return {"reasoning": text}
        case ToolCallDelta():
            return {"tool_calls": [_call_piece(event)]}
        case ToolResult():
            result = {"tool_call_id": event.call_id, "name": event.name, "content": event.content}
            return {"tool_result": result | ({"failed": True} if event.failed else {})}
        case Done():
            data: dict[str, Any] = {"done": True, "finish_reason": event.finish_reason}
            data |= {"usage": asdict(event.usage), "timings": asdict(event.timings)}
            return data | _remarks(event)


def _remarks(ended: Done | ChatReply) -> dict[str, Any]:
    remarks = {"dropped_messages": ended.dropped_messages, "not_kept": ended.not_kept, "model": ended.model}
    return {name: value for name, value in remarks.items() if value}


def _call_piece(delta: ToolCallDelta) -> dict[str, Any]:
    """OpenAI's shape of a piece of a call."""
    if delta.id is None:
        return {"index": delta.index, "function": {"arguments": delta.arguments}}
    function = {"name": delta.name, "arguments": delta.arguments}
    return {"index": delta.index, "id": delta.id, "type": "function", "function": function}


def event_from_dict(data: dict[str, Any]) -> ChatEvent:
    """The event that `event_to_dict` made `data` of."""
    match data:
        case {"queue_position": int(position)}:
            return Queued(position)
        case {"loading": {"message": str(message), "progress": progress}}:
            return Loading(message, progress)
        case {"content": str(text)}:
            return ContentDelta(text)
        case {"reasoning": str(text)}:
            return ReasoningDelta(text)
        case {"tool_calls": [{"index": int(index), "id": str(call_id), "function": function}]}:
            return ToolCallDelta(index, call_id, function["name"], function["arguments"])
        case {"tool_calls": [{"index": int(index), "function": function}]}:
            return ToolCallDelta(index, arguments=function["arguments"])
        case {"tool_result": result}:
            return ToolResult(
                result["tool_call_id"], result["name"], result["content"], failed=result.get("failed", False)
            )
        case {"done": True, "finish_reason": finish_reason, "usage": usage, "timings": timings}:
            remarks = {name: data[name] for name in ("dropped_messages", "not_kept", "model") if name in data}
            return Done(finish_reason, Usage(**usage), Timings(**timings), **remarks)
    raise ValueError(f"not an event: {data!r}")


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
    before them: the reply is what the model said last.
    """

    def __init__(self) -> None:
        self._begin()
        self._done: Done | None = None

    def _begin(self) -> None:
        self._content: list[str] = []
        self._reasoning: list[str] = []
        self._logprobs: list[TokenLogprob] = []
        self._calls = CallBuilder()
        self._answered = False

    def add(self, event: ChatEvent) -> None:
        if self._answered and not isinstance(event, (ToolResult, Done)):
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
                self._answered = True
            case Done():
                self._done = event
            case Queued() | Loading():
                pass
            case _:
                raise reloaded()

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
            tool_calls=() if self._answered else self._calls.calls(),
            not_kept=self._done.not_kept,
            model=self._done.model,
        )
