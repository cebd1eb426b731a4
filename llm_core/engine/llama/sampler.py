"""One sequence's sampler chain, in llama.cpp's C API."""

from __future__ import annotations

import ctypes
import random
from typing import Any

from llm_core.engine.llama.arrays import Tokens
from llm_core.engine.llama.context import Context
from llm_core.engine.llama.library import binding, lib
from llm_core.engine.llama.model import Model
from llm_core.request import SamplingParams

# Calls through `lib` give up the GIL and must win it back, which can take a switch interval (5 ms) while other Python
# threads are busy. Sampling takes a tenth of a millisecond, so it keeps the GIL; only `llama_decode` lets go of it.
_sample = ctypes.PyDLL(binding._lib._name).llama_sampler_sample
_sample.argtypes = [ctypes.c_void_p, ctypes.c_void_p, ctypes.c_int32]
_sample.restype = ctypes.c_int32


class Sampler:
    """One sequence's sampler chain, in the order of llama.cpp's own tools: bias, penalties, filters, temperature."""

    def __init__(self, model: Model, params: SamplingParams, recent: Tokens) -> None:
        """`recent`: the prompt's last tokens, which the penalties count as already said."""
        self._chain = None
        if params.temperature == 0 and not params.logit_bias and not _has_penalties(params):
            return  # the likeliest token needs no chain, which would first make a candidate of each in the vocabulary
        self._chain = lib.llama_sampler_chain_init(lib.llama_sampler_chain_default_params())
        for stage in _stages(model, params):
            lib.llama_sampler_chain_add(self._chain, stage)
        if _has_penalties(params):
            for token in recent[-params.repeat_last_n :].tolist():
                lib.llama_sampler_accept(self._chain, token)
        self._address = ctypes.cast(self._chain, ctypes.c_void_p)

    def sample(self, context: Context, index: int) -> int:
        """Chooses the next token from the logits of one batch index, and remembers it."""
        if self._chain is None:
            return int(context.logits(index).argmax())
        return int(_sample(self._address, context._pointer, index))

    def accept(self, token: int) -> None:
        """Remembers a token that was not sampled."""
        if self._chain is not None:
            lib.llama_sampler_accept(self._chain, token)

    def close(self) -> None:
        if self._chain is not None:
            lib.llama_sampler_free(self._chain)
            self._chain = None


def _has_penalties(params: SamplingParams) -> bool:
    off = (params.repeat_penalty, params.presence_penalty, params.frequency_penalty) == (1.0, 0.0, 0.0)
    return not off and params.repeat_last_n > 0


def _stages(model: Model, params: SamplingParams) -> list[Any]:
    stages: list[Any] = []
    if params.logit_bias:
        biases = (lib.llama_logit_bias * len(params.logit_bias))(
            *(lib.llama_logit_bias(token=token, bias=bias) for token, bias in params.logit_bias.items())
        )
        stages.append(lib.llama_sampler_init_logit_bias(model.vocab_size, len(biases), biases))
    if _has_penalties(params):
        stages.append(
            lib.llama_sampler_init_penalties(
                model.vocab_size,
                params.repeat_last_n,
                params.repeat_penalty,
                params.frequency_penalty,
                params.presence_penalty,
            )
        )
    if params.temperature == 0:
        return [*stages, lib.llama_sampler_init_greedy()]
    if params.top_k > 0:
        stages.append(lib.llama_sampler_init_top_k(params.top_k))
    if params.typical_p < 1:
        # A token with probability 0, as a constraint makes them, would turn the entropy into NaN.
        stages.append(lib.llama_sampler_init_min_p(1e-10, 1))
        stages.append(lib.llama_sampler_init_typical(params.typical_p, 1))
    if params.top_p < 1:
        stages.append(lib.llama_sampler_init_top_p(params.top_p, 1))
    if params.min_p > 0:
        stages.append(lib.llama_sampler_init_min_p(params.min_p, 1))
    stages.append(lib.llama_sampler_init_temp(params.temperature))
    seed = params.seed if params.seed is not None else random.getrandbits(31)
    return [*stages, lib.llama_sampler_init_dist(seed)]
