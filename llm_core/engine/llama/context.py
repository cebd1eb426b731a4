"""A llama.cpp context and the batches that it decodes: two thin owners of C objects, which know nothing of requests and
check nothing that their callers have bounded already.
"""

from __future__ import annotations

import ctypes
import os
import threading
from collections.abc import Iterator
from contextlib import contextmanager
from typing import Any

import numpy as np
import numpy.typing as npt

from llm_core.engine.llama.arrays import State, Tokens
from llm_core.engine.llama.library import last_complaints, lib
from llm_core.engine.llama.model import Model
from llm_core.errors import ModelError, SettingsError
from llm_core.kv_type import KvType
from llm_core.lora import AdapterSet

# Asked hundreds of times in a decode whether it is to end, where no Python may run: libc's strlen of a text that is
# empty, or one byte long where it is to end.
_LIBC = ctypes.CDLL(None) if os.name == "posix" else ctypes.cdll.msvcrt
_is_flag_up = ctypes.cast(_LIBC.strlen, lib.ggml_abort_callback)
_INTERRUPTED = 2  # of llama_decode in llama.h: what was computed before stays


class DecodeFailed(Exception):
    """`llama_decode` returned an error: the context's memory can no longer be trusted."""


class Batch:
    """The tokens of one decode, in memory that llama.cpp reads in place.

    llama.cpp computes sequences together only where their slots follow each other in ascending order
    (`split_equal(..., sequential)` in llama-batch.cpp), so callers add them so.
    """

    def __init__(self, capacity: int) -> None:
        self.capacity = capacity
        self.size = 0
        self._token = np.zeros(capacity, np.int32)
        self._position = np.zeros(capacity, np.int32)
        self._slot = np.zeros(capacity, np.int32)
        self._wants_logits = np.zeros(capacity, np.int8)
        self._ones = np.ones(capacity, np.int32)
        # llama_batch.seq_id is an array of pointers, here one to each element of `_slot`.
        addresses = self._slot.ctypes.data + np.arange(capacity, dtype=np.uintp) * self._slot.itemsize
        self._slot_pointers = addresses.astype(np.uintp)
        self.struct = lib.llama_batch(
            n_tokens=0,
            token=self._token.ctypes.data_as(ctypes.POINTER(ctypes.c_int32)),
            embd=None,
            pos=self._position.ctypes.data_as(ctypes.POINTER(ctypes.c_int32)),
            n_seq_id=self._ones.ctypes.data_as(ctypes.POINTER(ctypes.c_int32)),
            seq_id=self._slot_pointers.ctypes.data_as(ctypes.POINTER(ctypes.POINTER(ctypes.c_int32))),
            logits=self._wants_logits.ctypes.data_as(ctypes.POINTER(ctypes.c_int8)),
        )

    def clear(self) -> None:
        self.size = 0

    def add(self, slot: int, position: int, tokens: Tokens, *, wants_logits: bool, of_each: bool = False) -> int:
        """Appends consecutive tokens of one sequence; returns the index of the last one. Logits are asked for of that
        one, or of each."""
        start, end = self.size, self.size + len(tokens)
        self._token[start:end] = tokens
        self._position[start:end] = np.arange(position, position + len(tokens))
        self._slot[start:end] = slot
        self._wants_logits[start:end] = wants_logits and of_each
        self._wants_logits[end - 1] = wants_logits
        self.size = end
        return end - 1


def flash_attention_type(model: Model, kv_type: KvType) -> int:
    """Off on CPUs, where its kernel takes a small chunk of a long prompt token by token (docs/decisions/001), unless
    the values are quantized: nothing else reads them."""
    if kv_type != "f16":
        return int(lib.LLAMA_FLASH_ATTN_TYPE_ENABLED)
    kind: int = lib.LLAMA_FLASH_ATTN_TYPE_AUTO if model.on_gpu else lib.LLAMA_FLASH_ATTN_TYPE_DISABLED
    return kind


class Context:
    """One llama.cpp context: the KV memory of all slots, and decode. One thread may touch it.

    Args:
        model: The loaded model.
        slots: Number of sequences; each has a KV stream of its own (see docs/decisions).
        context_tokens: Cells of each slot.
        batch_tokens: The largest batch.
        threads: CPU threads.
        kv_type: Of keys and values.
        outputs: The most tokens whose logits are asked for in one decode.

    Attributes:
        adapters: What is computed with beside the model.

    Raises:
        ModelError: There is not enough memory.
        SettingsError: Values of that type need flash attention, which the model cannot have.
    """

    def __init__(
        self,
        model: Model,
        *,
        slots: int,
        context_tokens: int,
        batch_tokens: int,
        threads: int,
        kv_type: KvType = "f16",
        outputs: int = 1,
    ) -> None:
        params = lib.llama_context_default_params()
        params.n_ctx = context_tokens * slots
        params.n_seq_max = slots
        params.n_batch = batch_tokens
        # An interrupted call loses the part that it was at. Larger parts gain nothing on a CPU.
        params.n_ubatch = min(batch_tokens, 512 if model.on_gpu else 128)
        params.n_outputs_max = max(slots, outputs)
        params.n_threads = params.n_threads_batch = threads
        params.kv_unified = False
        params.swa_full = True  # all of a sliding window's cells, so that a sequence can be cut anywhere
        params.type_k = params.type_v = getattr(lib, f"GGML_TYPE_{kv_type.upper()}")
        params.flash_attn_type = flash_attention_type(model, kv_type)
        params.no_perf = True
        self._model = model
        self.can_trim = model.can_trim
        last_complaints.clear()
        self._pointer = lib.llama_init_from_model(model._pointer, params)
        if not self._pointer and "quantized V cache" in "\n".join(last_complaints):
            raise SettingsError(
                f"LLM_KV_TYPE={kv_type} needs flash attention, which {model.path.name} cannot have here. Allowed: f16."
            )
        if not self._pointer:
            raise ModelError(
                f"There is not enough memory for {slots} slots of {context_tokens} tokens. "
                "Lower LLM_PARALLEL or LLM_CONTEXT_TOKENS."
            )
        self._memory = lib.llama_get_memory(self._pointer)
        self.adapters: AdapterSet = ()
        self._flag = ctypes.create_string_buffer(2)
        self._flag_lock = threading.Lock()
        self._may_interrupt = False
        lib.llama_set_abort_callback(self._pointer, _is_flag_up, ctypes.addressof(self._flag))
        # Without flash attention: see docs/decisions/001.
        self.pads_to_longest = params.flash_attn_type == lib.LLAMA_FLASH_ATTN_TYPE_DISABLED
        self.copy_sources: set[int] = set()  # slots with a copy under way: see `copy`

    @contextmanager
    def interruptible(self) -> Iterator[None]:
        """While it lasts, `interrupt` ends a decode."""
        with self._flag_lock:
            self._may_interrupt = True
        try:
            yield
        finally:
            with self._flag_lock:
                self._may_interrupt = False
                self._flag[0] = b"\0"

    def interrupt(self) -> None:
        """From any thread: ends the decode under way, and those that follow, where that is allowed now."""
        with self._flag_lock:
            if self._may_interrupt:
                self._flag[0] = b"\1"

    def use_adapters(self, adapters: AdapterSet) -> None:
        """Computes with these adapters of the model from now on, and with no others. Where they are others than before,
        the next decode takes longer, since llama.cpp lays out its memory for them.

        Raises:
            DecodeFailed: The context must be rebuilt.
        """
        if adapters == self.adapters:
            return
        count = len(adapters)
        pointers = (lib.llama_adapter_lora_p_ctypes * count)(*(self._model._adapter_pointers[n] for n, _ in adapters))
        scales = (ctypes.c_float * count)(*(scale for _, scale in adapters))
        if status := lib.llama_set_adapters_lora(self._pointer, pointers, count, scales):
            raise DecodeFailed(f"llama_set_adapters_lora returned {status} for {count} adapters")
        self.adapters = adapters

    def decode(self, batch: Batch) -> bool:
        """Computes the batch. The GIL is free meanwhile.

        Returns:
            False: it was interrupted; `length` tells how much was computed, and there are no logits.

        Raises:
            DecodeFailed: The context must be rebuilt.
        """
        batch.struct.n_tokens = batch.size
        status = lib.llama_decode(self._pointer, batch.struct)
        lib.llama_synchronize(self._pointer)  # on a GPU the wait is here, where the GIL is free, not in the sampler
        self.copy_sources.clear()
        if status not in (0, _INTERRUPTED):
            raise DecodeFailed(f"llama_decode returned {status} for a batch of {batch.size} tokens")
        return bool(status == 0)

    def logits(self, index: int) -> npt.NDArray[np.float32]:
        """Logits of one batch index, shape (vocab_size,), float32. Valid until the next decode."""
        pointer = lib.llama_get_logits_ith(self._pointer, index)
        return np.ctypeslib.as_array(pointer, (self._model.vocab_size,))

    def trim(self, slot: int, length: int, checkpoint: State | None = None) -> bool:
        """Drops the tokens from position `length` on. False where the model's memory cannot be cut there: the slot can
        only be emptied then.

        Args:
            checkpoint: Of that length; without one a recurrent state cannot be cut.
        """
        if checkpoint is not None and not lib.llama_state_seq_set_data_ext(
            self._pointer, _bytes_of(checkpoint), len(checkpoint), slot, lib.LLAMA_STATE_SEQ_FLAGS_PARTIAL_ONLY
        ):
            return False
        if not lib.llama_memory_seq_rm(self._memory, slot, length, -1):
            return False
        return self.shortest(slot) <= length or not self.can_trim

    def shortest(self, slot: int) -> int:
        """The least number of tokens to which the slot can be cut: 0, unless its sliding window has lost its start, as
        it does where a state is saved, or its state is recurrent."""
        if not self.can_trim:
            return self.length(slot)
        first = int(lib.llama_memory_seq_pos_min(self._memory, slot))
        return first + self._model.window if first > 0 else 0

    def copy(self, source: int, target: int) -> None:
        """Makes `target` hold what `source` holds.

        llama.cpp moves the data at the next decode: until then `source` must not be restored into.
        """
        lib.llama_memory_seq_cp(self._memory, source, target, -1, -1)
        self.copy_sources.add(source)

    def save(self, slot: int) -> tuple[State, int]:
        """A copy of the slot's state in host memory, shape (bytes,), and `shortest` of a slot that it is put into:
        llama.cpp leaves out the cells that have left a sliding window."""
        length = self.length(slot)
        return self._state(slot, lib.LLAMA_STATE_SEQ_FLAGS_NONE), length if 0 < self._model.window < length else 0

    def size(self, slot: int) -> int:
        """Bytes that `save` would take."""
        return int(lib.llama_state_seq_get_size(self._pointer, slot))

    def checkpoint(self, slot: int) -> State:
        """A copy of the part of the slot's state that cannot be cut, shape (bytes,)."""
        return self._state(slot, lib.LLAMA_STATE_SEQ_FLAGS_PARTIAL_ONLY)

    def _state(self, slot: int, flags: int) -> State:
        size = lib.llama_state_seq_get_size_ext(self._pointer, slot, flags)
        state = np.empty(size, np.uint8)
        written = lib.llama_state_seq_get_data_ext(self._pointer, _bytes_of(state), size, slot, flags)
        return state[:written]

    def restore(self, slot: int, state: State) -> bool:
        """Puts a saved state into a slot. False where llama.cpp refuses it; the slot is empty then."""
        if lib.llama_state_seq_set_data(self._pointer, _bytes_of(state), len(state), slot):
            return True
        self.trim(slot, 0)
        return False

    def length(self, slot: int) -> int:
        """Tokens that the slot holds, by llama.cpp's own account."""
        return int(lib.llama_memory_seq_pos_max(self._memory, slot)) + 1

    def close(self) -> None:
        if self._pointer is not None:
            lib.llama_free(self._pointer)
            self._pointer = None


def _bytes_of(state: State) -> Any:
    return state.ctypes.data_as(ctypes.POINTER(ctypes.c_uint8))
