"""What a model needs of memory, and whether that is there. An estimate, from a header or a table; nothing is loaded."""

from __future__ import annotations

from dataclasses import dataclass
from pathlib import Path
from typing import Literal

from llm_core.engine.facts import CALL_TOKENS, PART_TOKENS
from llm_core.engine.fast_form import copy_bytes
from llm_core.errors import ModelError
from llm_core.kv_type import KvType
from llm_core.models.header import ModelHeader
from llm_core.models.size import size_on_disk
from llm_core.settings import DEFAULT_CONTEXT_TOKENS
from llm_core.task import reads_in_parts
from llm_core.texts.told import size_text

Fit = Literal["fits", "tight", "too_large"]

TIGHT_FROM = 0.85  # of the bound: what remains is for the process itself, the host's KV memory and others
LEAST_CONTEXT = 256
DEFAULT_TEXT_TOKENS = 2048
"""The most tokens of a text whose vector is made, unless the operator says otherwise."""
_STEP = 256

# What llama.cpp allocates beside weights and KV memory, in numbers of four bytes, as it logs when a context is made
# ("compute buffer", "output buffer"): on a CPU, without flash attention, 128 tokens of a prompt at a time.
_NUMBER = 4
_AT_A_TIME = 128
_MASKS = 2  # one for all tokens, one for a sliding window's
_ROWS = 12  # of what a token is between layers; up to 11 were seen


@dataclass(frozen=True, slots=True)
class Need:
    """Bytes of memory: of the weights, of keys and values (and what recurrent layers keep), and of what is computed
    meanwhile."""

    weights: int
    kv: int
    compute: int

    @property
    def total(self) -> int:
        return self.weights + self.kv + self.compute


@dataclass(frozen=True, slots=True)
class Fitting:
    """What would fit where a wish does not.

    Attributes:
        context: The largest context with as many slots as were wished for; None where there is none.
        slots: The most slots with a context as was wished for; None where not even one fits.
    """

    context: int | None
    slots: int | None


@dataclass(frozen=True, slots=True)
class Footprint:
    """What the memory that a model needs depends on.

    Attributes:
        weights: Bytes of its weights as they are computed with.
        kv_bytes_per_token: Of one token in all layers.
        heads: Heads of attention in a layer.
        embedding_length: Numbers by which a token is known between layers.
        vocab_size: Number of tokens in the vocabulary.
        state_bytes: Of one sequence in layers that are recurrent.
    """

    weights: int
    kv_bytes_per_token: int
    heads: int
    embedding_length: int
    vocab_size: int
    state_bytes: int = 0

    def need(self, *, context: int, slots: int) -> Need:
        """What it needs with `slots` replies at a time of up to `context` tokens each."""
        compute = context * self._of_context + slots * self._of_output + self._of_batch
        return Need(self.weights, (self.kv_bytes_per_token * context + self.state_bytes) * slots, compute)

    def what_would_fit(self, bound: int, *, context: int, slots: int) -> Fitting:
        """The largest context and the most slots within `bound` bytes, each with the other as it was wished for."""
        left = bound - self.weights - self._of_batch
        of_token = self.kv_bytes_per_token * slots + self._of_context
        of_slot = self._of_output + self.state_bytes
        tokens = min(context, (left - slots * of_slot) // of_token // _STEP * _STEP)
        of_slot += self.kv_bytes_per_token * context
        most = min(slots, (left - context * self._of_context) // of_slot)
        return Fitting(tokens if tokens >= LEAST_CONTEXT else None, most if most >= 1 else None)

    @property
    def _of_context(self) -> int:
        return _NUMBER * _AT_A_TIME * (self.heads + _MASKS)

    @property
    def _of_output(self) -> int:
        return _NUMBER * max(1, self.vocab_size)

    @property
    def _of_batch(self) -> int:
        return _NUMBER * _AT_A_TIME * _ROWS * self.embedding_length


def need_of_vectors(path: Path, header: ModelHeader, longest: int) -> Need:
    """What a model needs that makes vectors, or ranks.

    Args:
        longest: The most tokens of a text.
    """
    in_parts = reads_in_parts(header.pooling, is_causal=header.is_causal)
    batch = PART_TOKENS if in_parts else max(CALL_TOKENS, longest)
    kv = header.kv_bytes_per_token() * (longest + batch) if header.is_causal else 0
    # llama.cpp keeps room for the likelihoods of all tokens, though nobody asks for them, and with flash attention, as
    # here, none for how much each token looks at each other one.
    rows = header.vocab_size + _ROWS * header.embedding_length + _MASKS * batch
    return Need(size_on_disk(path), kv, _NUMBER * batch * rows)


def longest_that_fits(path: Path, header: ModelHeader, longest: int, bound: int) -> tuple[int, Need]:
    """The most tokens of a text with which such a model fits, and what it needs then.

    Args:
        longest: No more than this.
        bound: Bytes of memory.

    Raises:
        ModelError: Not even short texts fit.
    """
    need = need_of_vectors(path, header, longest)
    while need.total > bound:
        if longest <= LEAST_CONTEXT:
            said = f"{path.name} needs {size_text(need.total)} of memory, and {size_text(bound)} are there."
            raise ModelError(f"{said} Choose a smaller model.")
        longest = max(LEAST_CONTEXT, longest // 2)
        need = need_of_vectors(path, header, longest)
    return longest, need


def longest_text(header: ModelHeader, wanted: int | None) -> int:
    """Tokens of a text that such a model takes where memory is no question.

    Args:
        wanted: What the operator asked for; None: the default.
    """
    tokens = wanted or DEFAULT_TEXT_TOKENS
    return min(tokens, header.context_train or tokens)


def why_too_large(name: str, footprint: Footprint, bound: int, *, context: int, slots: int) -> str:
    """For who wants to load a model that does not fit: what it needs, and what would fit."""
    need = footprint.need(context=context, slots=slots)
    fitting = footprint.what_would_fit(bound, context=context, slots=slots)
    ways = [f"LLM_PARALLEL={fitting.slots}"] if fitting.slots else []
    ways += [f"LLM_CONTEXT_TOKENS={fitting.context}"] if fitting.context else []
    do = f"It fits with {' or '.join(ways)}." if ways else "Choose a smaller model; `model recommend` knows some."
    return (
        f"{name} needs {size_text(need.total)} of memory ({size_text(need.weights)} for its weights, "
        f"{size_text(need.kv)} for {slots} x {context} tokens), and {size_text(bound)} are there. {do}"
    )


def footprint_of(path: Path, header: ModelHeader, *, kv_type: KvType = "f16", prepares: bool = True) -> Footprint:
    """That of a model on this machine.

    Args:
        path: Its file; of a split model the first.
        header: Of that file.
        kv_type: Of keys and values.
        prepares: Whether a copy that this machine computes faster is made where one may be, as with `LLM_PREPARE=auto`.
            Whether it is faster is only known once it was timed; it is larger than the file.
    """
    on_disk = size_on_disk(path)
    copy = copy_bytes(header.file_type, header.parameters, is_split=header.parts > 1) if prepares else None
    return Footprint(
        weights=max(on_disk, copy or 0),
        kv_bytes_per_token=header.kv_bytes_per_token(kv_type),
        heads=header.heads,
        embedding_length=header.embedding_length,
        vocab_size=header.vocab_size,
        state_bytes=header.state_bytes,
    )


def context_of(header: ModelHeader, wanted: int | None) -> int:
    """Tokens of context that a model gets where memory is no question.

    Args:
        wanted: What the operator asked for; None: the default.
    """
    tokens = wanted or DEFAULT_CONTEXT_TOKENS
    return min(tokens, header.context_train or tokens)


def fit(need: Need, bound: int) -> Fit:
    """Whether a need can be met with `bound` bytes."""
    return fit_of(need.total, bound)


def fit_of(need: int, bound: int) -> Fit:
    """Whether so many bytes can be had of `bound`."""
    if need > bound:
        return "too_large"
    return "tight" if need > TIGHT_FROM * bound else "fits"
