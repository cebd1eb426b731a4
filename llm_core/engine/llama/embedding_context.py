"""A llama.cpp context that makes vectors of texts, or scores, in place of tokens. One thread may touch it."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass

import numpy as np
import numpy.typing as npt

from llm_core.engine.facts import CALL_TOKENS, PART_TOKENS
from llm_core.engine.llama.arrays import Tokens
from llm_core.engine.llama.context import Batch, DecodeFailed
from llm_core.engine.llama.library import lib
from llm_core.engine.llama.model import Model
from llm_core.errors import ModelError
from llm_core.task import reads_in_parts

Vector = npt.NDArray[np.float32]
"""What a model makes of a text: its vector, shape (width,), or what its head says of a pair, shape (labels,)."""

MOST_TEXTS = 64
"""In one call. llama.cpp's own limit is 256; its graphs are laid out for as many as may come."""


@dataclass(frozen=True, slots=True)
class Part:
    """Tokens of a text that are computed in one call: all, or the next ones.

    Attributes:
        place: Which of the texts that are under way, from 0 to `MOST_TEXTS` - 1.
        position: How many of its tokens were computed before.
    """

    place: int
    position: int
    tokens: Tokens


class EmbeddingContext:
    """
    Args:
        model: One that embeds or ranks.
        longest: The most tokens of a text.
        threads: CPU threads.

    Attributes:
        capacity: Tokens of one call.
        reads_in_parts: A text may be computed a part at a time, as each token looks back only. Else it is computed
            whole, as each looks at all.

    Raises:
        ModelError: There is not enough memory.
    """

    def __init__(self, model: Model, *, longest: int, threads: int) -> None:
        self._model = model
        self.reads_in_parts = reads_in_parts(model.pooling, is_causal=model.is_causal)
        self.capacity = PART_TOKENS if self.reads_in_parts else max(CALL_TOKENS, longest)
        params = lib.llama_context_default_params()
        params.embeddings = True
        params.pooling_type = model.pooling
        # Of all texts together: those that are whole leave, and one at most is not.
        params.n_ctx = longest + self.capacity if self.reads_in_parts else self.capacity
        params.n_batch = params.n_ubatch = self.capacity
        params.n_seq_max = MOST_TEXTS
        params.n_threads = params.n_threads_batch = threads
        params.kv_unified = True  # so that texts of all lengths are computed together
        params.no_perf = True
        self._pointer = lib.llama_init_from_model(model._pointer, params)
        if not self._pointer:
            raise ModelError(f"There is not enough memory for texts of {longest} tokens. Lower LLM_CONTEXT_TOKENS.")
        self._memory = lib.llama_get_memory(self._pointer)
        self._batch = Batch(self.capacity)

    def compute(self, parts: Sequence[Part]) -> None:
        """Computes parts of texts, together no more than `capacity`. The GIL is free meanwhile.

        Raises:
            DecodeFailed: The context must be made anew.
        """
        batch = self._batch
        batch.clear()
        for part in parts:
            batch.add(part.place, part.position, part.tokens, wants_logits=True, of_each=True)
        batch.struct.n_tokens = batch.size
        status = lib.llama_decode(self._pointer, batch.struct)
        lib.llama_synchronize(self._pointer)
        if status:
            raise DecodeFailed(f"llama_decode returned {status} for {len(parts)} texts of {batch.size} tokens")

    def vector(self, place: int) -> Vector:
        """What became of a text whose last token was in the last call."""
        pointer = lib.llama_get_embeddings_seq(self._pointer, place)
        return np.ctypeslib.as_array(pointer, (self._model.vector_width,)).copy()

    def forget(self, place: int) -> None:
        """Makes room for another text."""
        if self._memory:
            lib.llama_memory_seq_rm(self._memory, place, -1, -1)

    def close(self) -> None:
        if self._pointer is not None:
            lib.llama_free(self._pointer)
            self._pointer = None
