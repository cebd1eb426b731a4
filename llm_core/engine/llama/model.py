"""A model's weights and vocabulary, in llama.cpp's C API. It checks nothing that its callers have bounded already."""

from __future__ import annotations

import ctypes
from collections.abc import Callable
from dataclasses import dataclass
from pathlib import Path
from typing import Any

from llm_core.engine.llama.library import binding, last_complaints, lib, start_backend, uses_gpu
from llm_core.engine.llama.model_file import check_adapter_file, check_file, why_no_adapter, why_not_loaded
from llm_core.errors import EngineClosed, ModelError
from llm_core.kv_type import BLOCK, BLOCK_BYTES, KvType
from llm_core.task import MEAN, Task, task_of


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
        fill_in: The tokens before a text, before what comes after it, and before what is to be filled in between; None
            where the vocabulary has none.
        on_gpu: Whether layers are computed on a GPU.
        adapters: The files of the LoRA adapters that were loaded, by name.
    """

    def __init__(self, pointer: Any, path: Path, *, on_gpu: bool) -> None:
        self._pointer = pointer
        self.on_gpu = on_gpu
        self._vocab = lib.llama_model_get_vocab(pointer)
        self._adapter_pointers: dict[str, Any] = {}
        self.adapters: dict[str, Path] = {}
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
        fill_in = (lib.llama_vocab_fim_pre, lib.llama_vocab_fim_suf, lib.llama_vocab_fim_mid)
        before, after, middle = (int(token_of(self._vocab)) for token_of in fill_in)
        self.fill_in = None if min(before, after, middle) < 0 else (before, after, middle)
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
            ModelError: The file is missing, no GGUF, cut short, of an unknown architecture, or of a kind not run here.
        """
        check_file(path)
        start_backend()
        params = lib.llama_model_default_params()
        params.n_gpu_layers = gpu_layers
        params.vocab_only = vocab_only
        callback = lib.llama_progress_callback(lambda done, _data: on_progress is None or on_progress(done) is None)
        params.progress_callback = callback
        last_complaints.clear()
        pointer = lib.llama_model_load_from_file(str(path).encode(), params)
        if not pointer:
            raise ModelError(why_not_loaded(path, list(last_complaints)))
        model = cls(pointer, path, on_gpu=uses_gpu(gpu_layers))
        if (reason := model._why_not_run()) is not None:
            model.close()
            raise ModelError(f"{path.name} {reason}. Choose another one.")
        return model

    def load_adapter(self, name: str, path: Path) -> None:
        """Loads a LoRA adapter, which `Context.use_adapters` knows by its name and which is freed with the model. A
        context has room in its graphs for the adapters that were loaded before it was made.

        Raises:
            ModelError: The file is missing, no adapter, or of another model.
        """
        check_adapter_file(path)
        last_complaints.clear()
        pointer = lib.llama_adapter_lora_init(self._pointer, str(path).encode())
        if not pointer:
            raise ModelError(why_no_adapter(path, self.path, list(last_complaints)))
        if lib.llama_adapter_get_alora_n_invocation_tokens(pointer):
            lib.llama_adapter_lora_free(pointer)
            raise ModelError(f"{path} is an activated LoRA, which applies from some token on; here they apply to all.")
        self._adapter_pointers[name], self.adapters[name] = pointer, path

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
        tokenize = ctypes.cast(binding._lib.llama_tokenize, ctypes.c_void_p).value
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
    def is_causal(self) -> bool:
        """Whether a token looks only at those before it."""
        return self.metadata.get(f"{self.architecture}.attention.causal", "true") != "false"

    @property
    def pooling(self) -> int:
        """How a text's vector is made of those of its tokens, in llama.cpp's numbers; the mean where an encoder's file
        does not say."""
        stated = int(self.metadata.get(f"{self.architecture}.pooling_type", "0"))
        return stated if stated or self.is_causal else MEAN

    @property
    def task(self) -> Task:
        """What it is for."""
        return task_of(self.pooling)

    @property
    def vector_width(self) -> int:
        """Numbers of a text's vector; of a model that ranks, what its head says of a pair."""
        if self.task == "rerank":
            return int(lib.llama_model_n_cls_out(self._pointer))
        return int(lib.llama_model_n_embd_out(self._pointer))

    def is_control(self, token: int) -> bool:
        """Whether a token is a mark, such as that of a text's end, and no text."""
        return bool(lib.llama_vocab_is_control(self._vocab, token))

    @property
    def around_pairs(self) -> tuple[list[int], list[int], list[int]]:
        """The tokens before, between and after two texts that are read as a pair, as llama-server has them."""
        vocab = self._open_vocab()
        sep = int(lib.llama_vocab_sep(vocab))
        eos = int(lib.llama_vocab_eos(vocab))
        end = eos if eos >= 0 else sep
        adds_eos, adds_sep = lib.llama_vocab_get_add_eos(vocab), lib.llama_vocab_get_add_sep(vocab)
        before = [int(lib.llama_vocab_bos(vocab))] if lib.llama_vocab_get_add_bos(vocab) else []
        between = ([end] if adds_eos else []) + ([sep] if adds_sep else [])
        # llama-server ends a pair with EOS alone; BERT's tokenizer has its separator there, which it was trained with.
        return before, between, [end] if adds_eos else [sep] if adds_sep else []

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

    def _why_not_run(self) -> str | None:
        if lib.llama_model_has_encoder(self._pointer):
            return "is an encoder-decoder model, which this engine does not run"
        if lib.llama_model_is_diffusion(self._pointer):
            return "is a diffusion model, which does not stream"
        return None
