"""The least that generating takes: `llama_decode` and a greedy sampler in a loop, over the low-level API.

The engine's one stream is held against this: what is missing is what batching, scheduling and handing out text cost.
"""

from __future__ import annotations

import asyncio
import ctypes
import time
from concurrent.futures import ThreadPoolExecutor
from pathlib import Path
from typing import Any

import llm_core.engine.llama.library  # noqa: F401 - first: it sets how the library's threads wait

import llama_cpp as lib  # isort: skip

BATCH_TOKENS = 512


class BareLoop:
    """One context with one sequence, on a thread that ends with it.

    Args:
        model: A GGUF file.
        context_tokens: Size of the context.
        threads: CPU threads.
    """

    def __init__(self, model: Path, *, context_tokens: int, threads: int) -> None:
        self._thread = ThreadPoolExecutor(1, thread_name_prefix="bare")
        lib.llama_backend_init()
        self._model = lib.llama_model_load_from_file(str(model).encode(), lib.llama_model_default_params())
        params = lib.llama_context_default_params()
        params.n_ctx = context_tokens
        params.n_batch = params.n_ubatch = BATCH_TOKENS
        params.n_threads = params.n_threads_batch = threads
        params.flash_attn_type = lib.LLAMA_FLASH_ATTN_TYPE_DISABLED  # as the engine on a CPU
        params.no_perf = True
        self._context = lib.llama_init_from_model(self._model, params)
        self._batch = lib.llama_batch_init(BATCH_TOKENS, 0, 1)
        self._sampler = lib.llama_sampler_chain_init(lib.llama_sampler_chain_default_params())
        lib.llama_sampler_chain_add(self._sampler, lib.llama_sampler_init_greedy())

    def __enter__(self) -> BareLoop:
        return self

    def __exit__(self, *_error: object) -> None:
        self._thread.shutdown()
        lib.llama_sampler_free(self._sampler)
        lib.llama_batch_free(self._batch)
        lib.llama_free(self._context)
        lib.llama_model_free(self._model)

    async def decode_rate(self, prompt: list[int], tokens: int) -> float:
        """Generates `tokens` tokens, whatever they are, and returns how many came per second after the first one."""
        return await asyncio.get_running_loop().run_in_executor(self._thread, self._generate, prompt, tokens)

    def _generate(self, prompt: list[int], tokens: int) -> float:
        lib.llama_memory_seq_rm(lib.llama_get_memory(self._context), 0, 0, -1)
        for start in range(0, len(prompt), BATCH_TOKENS):
            self._decode(prompt[start : start + BATCH_TOKENS], start)
        token = lib.llama_sampler_sample(self._sampler, self._context, -1)
        started = time.perf_counter()
        for position in range(len(prompt), len(prompt) + tokens - 1):
            self._decode([token], position)
            token = lib.llama_sampler_sample(self._sampler, self._context, -1)
        return (tokens - 1) / (time.perf_counter() - started)

    def _decode(self, tokens: list[int], position: int) -> None:
        batch: Any = self._batch
        for index, token in enumerate(tokens):
            batch.token[index] = token
            batch.pos[index] = position + index
            batch.n_seq_id[index] = 1
            batch.seq_id[index][0] = 0
            batch.logits[index] = index == len(tokens) - 1
        batch.n_tokens = len(tokens)
        status = lib.llama_decode(self._context, batch)
        if status != 0:
            raise RuntimeError(f"llama_decode returned {status}")


def silence() -> None:
    """Keeps llama.cpp's log off the terminal."""
    lib.llama_log_set(_ignore, ctypes.c_void_p(0))


@lib.llama_log_callback  # type: ignore[untyped-decorator]
def _ignore(_level: int, _text: bytes, _user_data: object) -> None:
    """llama.cpp keeps only the pointer: this must live as long as the process."""
