"""A slot: one `seq_id` of the context, and what its KV memory holds."""

from __future__ import annotations

from dataclasses import dataclass

import numpy as np

from llm_core.engine.kv.checkpoint import Checkpoint
from llm_core.engine.llama.arrays import Tokens
from llm_core.lora import AdapterSet


@dataclass(eq=False)
class Slot:
    """What is in one slot. After its sequence has finished the content stays, as a prefix for later prompts.

    Attributes:
        index: The `seq_id`.
        tokens: Token ids, shape (capacity,); the first `length` of them are computed and in the KV memory.
        owner: Who may reuse the content beyond `shared_tokens`.
        adapters: What the content was computed with beside the model: nothing else may reuse any of it.
        shared_tokens: How many of the first tokens any owner may reuse.
        shortest: The least number of tokens to which the content can be cut, where the model's can be cut at all.
        checkpoints: To where it can be cut beside that, in the order of their lengths.
        session: Whose turn it is, where it is a session's.
        is_on_disk: The content is, or will be; it is of no use to write it again.
        last_used: When it was last worked on, in engine steps.
        is_free: No sequence runs in it.
    """

    index: int
    capacity: int
    length: int = 0
    owner: str = ""
    adapters: AdapterSet = ()
    shared_tokens: int = 0
    shortest: int = 0
    checkpoints: tuple[Checkpoint, ...] = ()
    session: str = ""
    is_on_disk: bool = False
    last_used: int = 0
    is_free: bool = True

    def __post_init__(self) -> None:
        self.tokens: Tokens = np.empty(self.capacity, np.int32)

    @property
    def known(self) -> Tokens:
        return self.tokens[: self.length]

    def hold(self, prefix: Tokens) -> None:
        """Records that the KV memory now holds exactly these tokens."""
        self.length = len(prefix)
        self.tokens[: self.length] = prefix

    def extend(self, tokens: Tokens) -> None:
        """Records that these tokens were computed after what was there."""
        self.tokens[self.length : self.length + len(tokens)] = tokens
        self.length += len(tokens)
