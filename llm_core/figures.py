"""What a reply took, as texts: how it is getting on, and one quiet line once it is done."""

from __future__ import annotations

from llm_core.events import Done, Usage
from llm_core.texts.told import Text, english, english_line, told

_ENDINGS = ("length", "timeout", "cancelled")
_READ_AGAIN = ("trimmed", "evicted", "model_changed")


def waiting(position: int) -> Text:
    """While no token has come: `position` requests will be served first."""
    return told("reply.ahead", count=position) if position else told("reply.reading")


def waiting_line(position: int) -> str:
    return english(waiting(position))


def done_figures(done: Done) -> list[Text]:
    """What the reply took, and what its reader should know about it."""
    usage, timings = done.usage, done.timings
    parts: list[Text] = []
    if timings.tokens_per_second > 0:
        parts.append(told("reply.speed", count=round(timings.tokens_per_second)))
    if timings.ttft_ms > 0:
        parts.append(told("reply.first_token", time=timings.ttft_ms / 1e3))
    if why := _read_again(usage):
        parts.append(why)
    elif usage.cached_tokens > 0:
        parts.append(told("reply.cached", cached=usage.cached_tokens, prompt=usage.prompt_tokens))
    if done.dropped_messages > 0:
        parts.append(told("reply.left_out", count=done.dropped_messages))
    if done.finish_reason in _ENDINGS:
        parts.append(told(f"reply.ended_{done.finish_reason}"))
    if done.not_kept:
        parts.append(told("reply.not_kept"))
    return parts


def done_line(done: Done) -> str:
    return english_line(done_figures(done))


def read_again(usage: Usage) -> str:
    """How much of a prompt was read, and why it was more than what is new; "" where there is nothing to tell."""
    why = _read_again(usage)
    return english(why) if why else ""


def _read_again(usage: Usage) -> Text | None:
    if usage.cache_miss not in _READ_AGAIN:
        return None
    read = usage.prompt_tokens - usage.cached_tokens
    return told(f"reply.read_{usage.cache_miss}", read=read, prompt=usage.prompt_tokens)
