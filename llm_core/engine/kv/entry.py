"""Computed prefixes that are in no slot: in host memory, on disk, or on the way from there."""

from __future__ import annotations

from dataclasses import dataclass
from pathlib import Path

from llm_core.engine.kv.checkpoint import Checkpoint, size_of
from llm_core.engine.llama.arrays import State, Tokens
from llm_core.lora import AdapterSet


@dataclass(eq=False)
class HostEntry:
    """The KV state of an idle conversation in host memory. Its fields are those of a slot."""

    known: Tokens
    owner: str
    session: str
    shared_tokens: int
    shortest: int
    checkpoints: tuple[Checkpoint, ...]
    state: State
    last_used: int
    is_on_disk: bool
    adapters: AdapterSet = ()

    @property
    def size(self) -> int:
        return self.state.nbytes + self.known.nbytes + size_of(self.checkpoints)


@dataclass(eq=False)
class DiskEntry:
    """One on disk. Its checkpoints have lengths only, and nothing of it is another owner's: `shared_tokens` is 0."""

    known: Tokens
    owner: str
    session: str
    shortest: int
    checkpoints: tuple[Checkpoint, ...]
    path: Path
    adapters: AdapterSet = ()
    shared_tokens: int = 0


@dataclass(eq=False)
class Fetch:
    """The one look at the disk that a sequence has; it waits until this is over.

    Attributes:
        found: What was there; None where it could not be read.
    """

    is_over: bool = False
    found: HostEntry | None = None
