"""What is answered: the events of a reply, in the order in which they come, and the reply that they add up to."""

from __future__ import annotations

from dataclasses import asdict, dataclass
from typing import Any, Literal

FinishReason = Literal["stop", "length", "cancelled", "timeout"]


@dataclass(frozen=True, slots=True)
class Usage:
    """Counts of tokens.

    Attributes:
        prompt_tokens: Tokens of the whole prompt.
        cached_tokens: Those of them that were found in the prefix cache and not computed again.
        completion_tokens: Tokens that were generated, the end-of-turn token included.
    """

    prompt_tokens: int = 0
    cached_tokens: int = 0
    completion_tokens: int = 0


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
class Done:
    """The last event of every reply that did not fail.

    Attributes:
        dropped_messages: How many of the oldest messages were left out of the prompt to make it fit.
    """

    finish_reason: FinishReason
    usage: Usage
    timings: Timings
    dropped_messages: int = 0
    type: Literal["done"] = "done"


ChatEvent = Queued | ContentDelta | ReasoningDelta | Done


@dataclass(frozen=True, slots=True)
class ChatReply:
    """A whole reply: the sum of its events.

    Attributes:
        content: The text.
        reasoning: The thinking, or None where the model did none.
    """

    content: str
    reasoning: str | None
    finish_reason: FinishReason
    usage: Usage
    timings: Timings
    dropped_messages: int = 0
    logprobs: tuple[TokenLogprob, ...] = ()

    def to_dict(self) -> dict[str, Any]:
        """The JSON shape of a whole reply over HTTP; reasoning and dropped_messages only where there are any."""
        answer: dict[str, Any] = {"content": self.content}
        if self.reasoning is not None:
            answer["reasoning"] = self.reasoning
        answer |= {
            "finish_reason": self.finish_reason,
            "usage": asdict(self.usage),
            "timings": asdict(self.timings),
        }
        if self.dropped_messages:
            answer["dropped_messages"] = self.dropped_messages
        return answer


def event_to_dict(event: ChatEvent) -> dict[str, Any]:
    """The JSON shape of an event, over HTTP and in the session store. Logprobs are not part of it."""
    match event:
        case Queued(position=position):
            return {"queue_position": position}
        case ContentDelta(text=text):
            return {"content": text}
        case ReasoningDelta(text=text):
            return {"reasoning": text}
        case Done():
            data: dict[str, Any] = {"done": True, "finish_reason": event.finish_reason}
            data |= {"usage": asdict(event.usage), "timings": asdict(event.timings)}
            return data | ({"dropped_messages": event.dropped_messages} if event.dropped_messages else {})


def event_from_dict(data: dict[str, Any]) -> ChatEvent:
    """The event that `event_to_dict` made `data` of."""
    match data:
        case {"queue_position": int(position)}:
            return Queued(position)
        case {"content": str(text)}:
            return ContentDelta(text)
        case {"reasoning": str(text)}:
            return ReasoningDelta(text)
        case {"done": True, "finish_reason": finish_reason, "usage": usage, "timings": timings}:
            return Done(finish_reason, Usage(**usage), Timings(**timings), data.get("dropped_messages", 0))
    raise ValueError(f"not an event: {data!r}")


class ReplyBuilder:
    """Adds events up to a `ChatReply`; the only way that a whole reply is made, so it cannot differ from the stream."""

    def __init__(self) -> None:
        self._content: list[str] = []
        self._reasoning: list[str] = []
        self._logprobs: list[TokenLogprob] = []
        self._done: Done | None = None

    def add(self, event: ChatEvent) -> None:
        match event:
            case ContentDelta():
                self._content.append(event.text)
                self._logprobs.extend(event.logprobs)
            case ReasoningDelta():
                self._reasoning.append(event.text)
            case Done():
                self._done = event
            case Queued():
                pass

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
        )
