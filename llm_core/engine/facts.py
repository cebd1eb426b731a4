"""What goes into an engine and what can be seen of it: plain facts, without llama.cpp."""

from __future__ import annotations

from dataclasses import dataclass
from pathlib import Path
from typing import Literal

from llm_core.kv_type import KvType

Drafts = Literal["off", "sure", "auto"]

CALL_TOKENS = 512
"""The most tokens of texts in one call where each text is computed whole, or more where one may be longer."""
PART_TOKENS = 128
"""The same where a text may be computed in parts."""


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
        drafts: Which tokens of a reply get no step of their own: `off`: none; `sure`: those that a form leaves no
            choice about; `auto`: also those that were said before, which are tried again where that pays.
        kv_type: Of keys and values.
        kv_folder: Where sessions' idle prefixes are kept on disk; None: nowhere.
        disk_bytes: The most that they take there.
        self_check: Looks whether slots, cache and queue agree whenever there is nothing left to do.
    """

    slots: int
    context_tokens: int
    queue_limit: int
    host_bytes: int
    threads: int
    step_seconds: float
    drafts: Drafts = "sure"
    kv_type: KvType = "f16"
    kv_folder: Path | None = None
    disk_bytes: int = 0
    self_check: bool = False


@dataclass(frozen=True, slots=True)
class EngineStats:
    """A look at the engine: what it holds now, and totals since it started. What is not known is 0."""

    slots: int = 0
    running: int = 0
    waiting: int = 0
    kv_cells: int = 0
    kv_cells_used: int = 0
    host_entries: int = 0
    host_bytes: int = 0
    prefilled_tokens: int = 0
    generated_tokens: int = 0
    steps: int = 0
    rebuilds: int = 0
