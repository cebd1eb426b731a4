"""What a reply took, in words: how it is getting on, and one quiet line once it is done."""

from __future__ import annotations

from llm_core.events import CacheMiss, Done, FinishReason, Usage

_ENDINGS: dict[FinishReason, str] = {
    "length": "stopped at the length limit",
    "timeout": "timed out",
    "cancelled": "stopped",
}
_READ_AGAIN: dict[CacheMiss | None, str] = {
    "trimmed": "older turns were left out",
    "evicted": "other conversations needed the room",
    "model_changed": "the model is another one",
}


def waiting_line(position: int) -> str:
    """While no token has come: `position` requests will be served first."""
    if position == 0:
        return "Reading your message"
    return f"Waiting: {_count(position, 'request')} ahead of yours"


def done_line(done: Done) -> str:
    """What the reply took, and what its reader should know about it."""
    usage, timings = done.usage, done.timings
    parts = []
    if timings.tokens_per_second > 0:
        parts.append(f"{timings.tokens_per_second:.0f} tokens/s")
    if timings.ttft_ms > 0:
        parts.append(f"first token after {seconds(timings.ttft_ms / 1e3)}")
    if why := read_again(usage):
        parts.append(why)
    elif usage.cached_tokens > 0:
        parts.append(f"{usage.cached_tokens:,} of {usage.prompt_tokens:,} prompt tokens from the cache")
    if done.dropped_messages > 0:
        parts.append(f"{_count(done.dropped_messages, 'earlier message')} left out")
    if done.finish_reason in _ENDINGS:
        parts.append(_ENDINGS[done.finish_reason])
    if done.not_kept:
        parts.append("not kept")
    return " · ".join(parts)


def read_again(usage: Usage) -> str:
    """How much of a prompt was read, and why it was more than what is new; "" where there is nothing to tell."""
    if usage.cache_miss not in _READ_AGAIN:
        return ""
    read = usage.prompt_tokens - usage.cached_tokens
    return f"read {read:,} of {usage.prompt_tokens:,} tokens: {_READ_AGAIN[usage.cache_miss]}"


def seconds(duration: float) -> str:
    """A duration in seconds as people write it: `0.04 s`, `0.4 s`, `3 s`."""
    if duration < 0.095:
        return f"{duration:.2f} s"
    return f"{duration:.1f} s" if duration < 9.95 else f"{duration:.0f} s"


def _count(number: int, noun: str) -> str:
    return f"{number:,} {noun}" if number == 1 else f"{number:,} {noun}s"
