"""llama.cpp's C API: with `sampler` and `quantizer`, all that touches it.

Three things live here, each a thin owner of one C object: `Model` (weights and vocabulary), `Context` (KV memory and
decode) and `Batch` (what one decode gets); a sequence's sampler chain is in `sampler`. They check nothing that their
callers have bounded already, and know nothing of requests.
"""

from __future__ import annotations

import ctypes
import logging
import os
import threading
from collections import deque
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from dataclasses import dataclass
from pathlib import Path
from typing import Any

# llama.cpp's threads wait for each other about a thousand times a token, and OpenMP lets them spin for milliseconds
# before they sleep. Where other programs want the cores too, they spin while the one they wait for does not run; where
# they sleep at once, waking costs more than the work. Some 40 microseconds are good in both cases (docs/decisions/006).
# Read when the library is loaded.
if "OMP_WAIT_POLICY" not in os.environ:
    os.environ.setdefault("GOMP_SPINCOUNT", "1000")

import llama_cpp as lib
import numpy as np
import numpy.typing as npt
from llama_cpp import llama_cpp as _binding

from llm_core.engine.model_file import check_file, why_not_loaded
from llm_core.errors import EngineClosed, ModelError, SettingsError
from llm_core.kv_type import BLOCK, BLOCK_BYTES, KvType

log = logging.getLogger(__name__)

Tokens = npt.NDArray[np.int32]
State = npt.NDArray[np.uint8]

_COMPLAINT_LEVELS = (3, 4)  # GGML_LOG_LEVEL_WARN and GGML_LOG_LEVEL_ERROR in ggml.h
_last_complaints: deque[str] = deque(maxlen=20)


@lib.llama_log_callback  # type: ignore[untyped-decorator]
def _on_log(level: int, text: bytes, _user_data: object) -> None:
    line = text.decode("utf-8", "replace").rstrip()
    if level in _COMPLAINT_LEVELS:
        _last_complaints.append(line)
    log.debug("llama.cpp: %s", line)


def start_backend() -> None:
    """Readies the library; harmless when it is ready."""
    lib.llama_log_set(_on_log, ctypes.c_void_p(0))
    lib.llama_backend_init()


# Asked hundreds of times in a decode whether it is to end, where no Python may run: libc's strlen of a text that is
# empty, or one byte long where it is to end.
_LIBC = ctypes.CDLL(None) if os.name == "posix" else ctypes.cdll.msvcrt
_is_flag_up = ctypes.cast(_LIBC.strlen, lib.ggml_abort_callback)
_INTERRUPTED = 2  # of llama_decode in llama.h: what was computed before stays


class DecodeFailed(Exception):
    """`llama_decode` returned an error: the context's memory can no longer be trusted."""


@dataclass(frozen=True, slots=True)
class NativeVocabulary:
    """A vocabulary for native code that reads it by itself. The addresses hold until the model is closed.

    Attributes:
        tokens: Each token's bytes, and whether they are a control token's name, which is never text.
        address: Of llama.cpp's `llama_vocab`.
        tokenize_address: Of its `llama_tokenize`.
    """

    tokens: tuple[tuple[bytes, bool], ...]
    address: int
    tokenize_address: int


class Model:
    """The weights and the vocabulary of one GGUF file. Reading and tokenising are safe from any thread.

    Attributes:
        metadata: Every key of the file's header, as text.
        vocab_size: Number of tokens in the vocabulary.
        context_train: Tokens of context that the model was trained for; 0 where the file does not say.
        parameters: Number of weights; 0 after a vocabulary-only load.
        chat_template: The Jinja source in the file, or None.
        control_texts: Texts of all control tokens, such as `<|im_start|>`.
        end_tokens: The tokens that end the model's turn.
        on_gpu: Whether layers are computed on a GPU.
    """

    def __init__(self, pointer: Any, path: Path, *, on_gpu: bool) -> None:
        self._pointer = pointer
        self.on_gpu = on_gpu
        self._vocab = lib.llama_model_get_vocab(pointer)
        self._pieces: dict[tuple[int, bool], bytes] = {}
        self.path = path
        self.metadata = self._read_metadata()
        self.architecture = self.metadata.get("general.architecture", "unknown")
        self.vocab_size: int = lib.llama_vocab_n_tokens(self._vocab)
        self.context_train = int(self.metadata.get(f"{self.architecture}.context_length", "0"))
        self.parameters: int = lib.llama_model_n_params(pointer)
        self.description = self._text(lib.llama_model_desc, pointer)
        self.chat_template = self.metadata.get("tokenizer.chat_template")
        self.add_bos: bool = lib.llama_vocab_get_add_bos(self._vocab)
        self.bos_text = self._special_text(lib.llama_vocab_bos(self._vocab))
        self.eos_text = self._special_text(lib.llama_vocab_eos(self._vocab))
        every = range(self.vocab_size)
        self.end_tokens = frozenset(t for t in every if lib.llama_vocab_is_eog(self._vocab, t))
        control = (t for t in every if lib.llama_vocab_is_control(self._vocab, t))
        self.control_texts = tuple(sorted({text for t in control if (text := self._special_text(t))}))

    @classmethod
    def load(
        cls,
        path: Path,
        *,
        gpu_layers: int = -1,
        vocab_only: bool = False,
        on_progress: Callable[[float], None] | None = None,
    ) -> Model:
        """Loads a GGUF file.

        Args:
            path: The file.
            gpu_layers: Layers put on a GPU, -1 for all; without effect in a build that has no GPU backend.
            vocab_only: Reads the header and the vocabulary but not the weights.
            on_progress: Called with 0 to 1 while the weights are read, on this thread.

        Raises:
            ModelError: The file is missing, no GGUF, cut short, of an unknown architecture, or no text generator.
        """
        check_file(path)
        start_backend()
        params = lib.llama_model_default_params()
        params.n_gpu_layers = gpu_layers
        params.vocab_only = vocab_only
        callback = lib.llama_progress_callback(lambda done, _data: on_progress is None or on_progress(done) is None)
        params.progress_callback = callback
        _last_complaints.clear()
        pointer = lib.llama_model_load_from_file(str(path).encode(), params)
        if not pointer:
            raise ModelError(why_not_loaded(path, list(_last_complaints)))
        model = cls(pointer, path, on_gpu=gpu_layers != 0 and bool(lib.llama_supports_gpu_offload()))
        if (reason := model._why_not_a_generator()) is not None:
            model.close()
            raise ModelError(f"{path.name} {reason}. Choose a chat model instead.")
        return model

    def tokenize(self, text: str, *, add_special: bool, parse_special: bool) -> list[int]:
        """Token ids of `text`. `parse_special` lets `<|im_start|>` and the like become control tokens."""
        vocab = self._open_vocab()
        data = text.encode("utf-8")
        room = len(data) + 4  # a token is at least one byte, and BOS and EOS may be added
        while True:
            buffer = (ctypes.c_int32 * room)()
            count = lib.llama_tokenize(vocab, data, len(data), buffer, room, add_special, parse_special)
            if count >= 0:
                return list(buffer[:count])
            room = -count

    def token_bytes(self, token: int, *, special: bool = False) -> bytes:
        """The bytes that a token adds to the text; nothing for a control token unless `special`."""
        piece = self._pieces.get((token, special))
        if piece is None:
            piece = self._pieces[token, special] = self._piece(token, special)
        return piece

    def native_vocabulary(self) -> NativeVocabulary:
        """The whole vocabulary; takes half a second for 150,000 tokens."""
        vocab = self._open_vocab()
        names = (self._piece(token, True) for token in range(self.vocab_size))
        tokens = tuple((name, bool(name) and not self._piece(token, False)) for token, name in enumerate(names))
        tokenize = ctypes.cast(_binding._lib.llama_tokenize, ctypes.c_void_p).value
        assert tokenize is not None
        return NativeVocabulary(tokens, vocab, tokenize)

    @property
    def head_sizes(self) -> tuple[int, int]:
        """Numbers in a head's key and in its value."""
        width = lib.llama_model_n_embd(self._pointer) // (lib.llama_model_n_head(self._pointer) or 1)
        key = int(self.metadata.get(f"{self.architecture}.attention.key_length", width))
        return key, int(self.metadata.get(f"{self.architecture}.attention.value_length", width))

    def kv_bytes_per_token(self, kv_type: KvType = "f16") -> int:
        """Size of one token's keys and values in all layers, in bytes. An estimate: layers whose memory does not grow
        (recurrent) are counted as if it did."""
        heads_kv = lib.llama_model_n_head_kv(self._pointer) or lib.llama_model_n_head(self._pointer) or 1
        numbers = int(lib.llama_model_n_layer(self._pointer)) * heads_kv * sum(self.head_sizes)
        return numbers * BLOCK_BYTES[kv_type] // BLOCK

    @property
    def can_trim(self) -> bool:
        """Whether the end of a sequence can be cut off its memory and the rest kept: not of a recurrent state."""
        return not (lib.llama_model_is_recurrent(self._pointer) or lib.llama_model_is_hybrid(self._pointer))

    @property
    def window(self) -> int:
        """How many tokens back some layers look (sliding window); 0 where all look at all."""
        return int(lib.llama_model_n_swa(self._pointer))

    def close(self) -> None:
        """Frees the weights. No other call may be running; later ones raise `EngineClosed`."""
        if self._pointer is not None:
            lib.llama_model_free(self._pointer)
            self._pointer = self._vocab = None

    def _open_vocab(self) -> Any:
        if self._vocab is None:
            raise EngineClosed("The engine has been shut down.")
        return self._vocab

    def _piece(self, token: int, special: bool) -> bytes:
        room = 64
        while True:
            buffer = ctypes.create_string_buffer(room)
            count = lib.llama_token_to_piece(self._open_vocab(), token, buffer, room, 0, special)
            if count >= 0:
                return buffer.raw[:count]
            room = -count

    def _special_text(self, token: int) -> str:
        return self._piece(token, True).decode("utf-8", "replace") if token >= 0 else ""

    def _read_metadata(self) -> dict[str, str]:
        count = lib.llama_model_meta_count(self._pointer)
        return {
            self._text(lib.llama_model_meta_key_by_index, self._pointer, i): self._text(
                lib.llama_model_meta_val_str_by_index, self._pointer, i
            )
            for i in range(count)
        }

    @staticmethod
    def _text(function: Any, *arguments: Any) -> str:
        """Calls one of the functions that fill a buffer as snprintf does, growing the buffer to what it asks for."""
        room = 256
        while True:
            buffer = ctypes.create_string_buffer(room)
            length = function(*arguments, buffer, room)
            if length < room:
                return buffer.value.decode("utf-8", "replace")
            room = length + 1

    def _why_not_a_generator(self) -> str | None:
        if lib.llama_model_has_encoder(self._pointer):
            return "is an encoder-decoder model, which this engine does not run"
        if lib.llama_model_is_diffusion(self._pointer):
            return "is a diffusion model, which does not stream"
        causal = self.metadata.get(f"{self.architecture}.attention.causal", "true")
        pooled = self.metadata.get(f"{self.architecture}.pooling_type", "0")
        if causal == "false" or pooled != "0" or not lib.llama_model_has_decoder(self._pointer):
            return "is an embedding model: it turns text into vectors and cannot write"
        return None


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
        _last_complaints.clear()
        self._pointer = lib.llama_init_from_model(model._pointer, params)
        if not self._pointer and "quantized V cache" in "\n".join(_last_complaints):
            raise SettingsError(
                f"LLM_KV_TYPE={kv_type} needs flash attention, which {model.path.name} cannot have here. Allowed: f16."
            )
        if not self._pointer:
            raise ModelError(
                f"There is not enough memory for {slots} slots of {context_tokens} tokens. "
                "Lower LLM_PARALLEL or LLM_CONTEXT_TOKENS."
            )
        self._memory = lib.llama_get_memory(self._pointer)
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
