"""What goes into an engine and what can be seen of it: plain facts, without llama.cpp."""

from __future__ import annotations

from dataclasses import dataclass


@dataclass(frozen=True, slots=True)
class EngineOptions:
    """How the engine is built.

    Attributes:
        slots: Sequences decoded together.
        context_tokens: Tokens that one request may use, prompt and reply.
        queue_limit: Requests that may wait while all slots are busy.
        host_bytes: Host memory for idle prefixes.
        threads: CPU threads.
        step_seconds: Target time of a step while prompts arrive.
    """

    slots: int
    context_tokens: int
    queue_limit: int
    host_bytes: int
    threads: int
    step_seconds: float


@dataclass(frozen=True, slots=True)
class EngineStats:
    """A look at the engine: what it holds now, and totals since it started."""

    slots: int
    running: int
    waiting: int
    kv_cells: int
    kv_cells_used: int
    host_entries: int
    host_bytes: int
    prefilled_tokens: int
    generated_tokens: int
    steps: int
    rebuilds: int
