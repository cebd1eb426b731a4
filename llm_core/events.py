"""What is answered: the events of a reply, in the order in which they come, and the reply that they add up to."""

from __future__ import annotations

from collections.abc import Collection
from dataclasses import asdict, dataclass, fields
from typing import Any, Literal

from llm_core.errors import LLMError
from llm_core.messages import ToolCall

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
        reasoning_tokens: Those of `completion_tokens` up to the end of the thinking, with the marks around it.
    """

    prompt_tokens: int = 0
    cached_tokens: int = 0
    completion_tokens: int = 0
    cache_miss: CacheMiss | None = None
    draft_tokens: int = 0
    accepted_tokens: int = 0
    reasoning_tokens: int = 0

    @classmethod
    def total(cls, usages: Collection[Usage]) -> Usage:
        """The usage of several replies together, with the first reason why a cache had no more."""
        names = [each.name for each in fields(cls) if each.name != "cache_miss"]
        counts = {name: sum(getattr(usage, name) for usage in usages) for name in names}
        return cls(**counts, cache_miss=next((each.cache_miss for each in usages if each.cache_miss), None))


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
class ToolStarted:
    """A call is made now, of a tool that this server runs.

    Attributes:
        call_id: Of the call.
        server: The name of the MCP server whose tool it is; empty where it is of this program.
    """

    call_id: str
    name: str
    server: str = ""
    type: Literal["tool_started"] = "tool_started"


@dataclass(frozen=True, slots=True)
class ToolApproval:
    """A call waits for somebody to agree. The reply ends without its result; `approvals` of the next turn goes on.

    Attributes:
        call_id: Of the call.
        arguments: JSON, as the model wrote it.
        server: The name of the MCP server whose tool it is.
    """

    call_id: str
    name: str
    arguments: str
    server: str = ""
    type: Literal["tool_approval"] = "tool_approval"


ERROR = "Error: "  # how what a tool gave back begins where it tells of a failure


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

    @classmethod
    def of_message(cls, call_id: str, name: str, content: str) -> ToolResult:
        """Of what is kept of one: a message, whose text says whether it failed."""
        return cls(call_id, name, content, failed=content.startswith(ERROR))


@dataclass(frozen=True, slots=True)
class Done:
    """The last event of every reply that did not fail.

    Attributes:
        model: The name of the model that made it; empty where nobody said.
        dropped_messages: How many of the oldest messages were left out of the prompt to make it fit.
        not_kept: Why the session has not got this reply, in a sentence; empty where it has, and outside of sessions.
        awaiting_approval: The ids of the calls that this server makes once somebody agrees to them.
    """

    finish_reason: FinishReason
    usage: Usage
    timings: Timings
    dropped_messages: int = 0
    not_kept: str = ""
    model: str = ""
    awaiting_approval: tuple[str, ...] = ()
    type: Literal["done"] = "done"


ChatEvent = (
    Queued | Loading | ContentDelta | ReasoningDelta | ToolCallDelta | ToolStarted | ToolApproval | ToolResult | Done
)


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
        awaiting_approval: The ids of those calls that the server makes once somebody agrees to them.
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
    awaiting_approval: tuple[str, ...] = ()

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
        case ToolStarted():
            return {"tool_started": {"tool_call_id": event.call_id, "name": event.name, "server": event.server}}
        case ToolApproval():
            asked = {"tool_call_id": event.call_id, "name": event.name, "arguments": event.arguments}
            return {"tool_approval": asked | {"server": event.server}}
        case ToolResult():
            result = {"tool_call_id": event.call_id, "name": event.name, "content": event.content}
            return {"tool_result": result | ({"failed": True} if event.failed else {})}
        case Done():
            data: dict[str, Any] = {"done": True, "finish_reason": event.finish_reason}
            data |= {"usage": asdict(event.usage), "timings": asdict(event.timings)}
            return data | _remarks(event)


def _remarks(ended: Done | ChatReply) -> dict[str, Any]:
    remarks = {
        "dropped_messages": ended.dropped_messages,
        "not_kept": ended.not_kept,
        "model": ended.model,
        "awaiting_approval": list(ended.awaiting_approval),
    }
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
        case {"tool_started": started}:
            return ToolStarted(started["tool_call_id"], started["name"], started["server"])
        case {"tool_approval": asked}:
            return ToolApproval(asked["tool_call_id"], asked["name"], asked["arguments"], asked["server"])
        case {"tool_result": result}:
            return ToolResult(
                result["tool_call_id"], result["name"], result["content"], failed=result.get("failed", False)
            )
        case {"done": True, "finish_reason": finish_reason, "usage": usage, "timings": timings}:
            remarks = {name: data[name] for name in ("dropped_messages", "not_kept", "model") if name in data}
            awaiting = tuple(data.get("awaiting_approval", ()))
            return Done(finish_reason, Usage(**usage), Timings(**timings), **remarks, awaiting_approval=awaiting)
    raise ValueError(f"not an event: {data!r}")
