"""What a model is, from its file's header alone: without llama.cpp, and in a tenth of a second."""

from __future__ import annotations

import re
from collections.abc import Mapping
from dataclasses import dataclass
from pathlib import Path

from llm_core.errors import ModelError
from llm_core.gguf import GgufHeader, read_header
from llm_core.kv_type import BLOCK, BLOCK_BYTES, KvType
from llm_core.models.choice import parts_of
from llm_core.task import MEAN, Task, task_of

_TOOLS = re.compile(r"\btools\b")
_MAX_LAYERS = 4096
_MAX_NUMBER = 1 << 31


@dataclass(frozen=True, slots=True)
class ModelHeader:
    """The facts of one model; 0 and empty where the file does not say. Texts are whatever its maker wrote.

    Attributes:
        metadata: What is said of the model in general, as text: keys that begin with `general.`.
        architecture: llama.cpp's name of the network, such as `llama`.
        parameters: Number of weights.
        context_train: Tokens of context that it was trained for.
        chat_template: The Jinja source, or None.
        vocab_size: Number of tokens in the vocabulary.
        embedding_length: Numbers by which a token is known between layers.
        heads: Heads of attention in a layer.
        heads_kv: Of each layer that keeps keys and values, how many heads do; 0 where it is recurrent.
        key_length, value_length: Numbers in a head's key and in its value.
        state_bytes: Of one sequence in layers that are recurrent; it does not grow with the sequence.
        window: How many tokens back some layers look (sliding window); 0 where all look at all.
        parts: Number of files.
        kind: What the file is: `model`, or a companion of one, such as `adapter` or `mmproj`.
        pooling: How tokens' vectors become that of a text, in llama.cpp's numbers; 0 where the model writes.
        is_causal: Whether a token looks only at those before it.
    """

    metadata: Mapping[str, str]
    architecture: str
    parameters: int
    context_train: int
    chat_template: str | None
    vocab_size: int
    embedding_length: int
    heads: int
    heads_kv: tuple[int, ...]
    key_length: int
    value_length: int
    state_bytes: int
    window: int
    parts: int
    kind: str
    pooling: int
    is_causal: bool

    @property
    def file_type(self) -> str | None:
        """The number of its quantization, as in `models.quantization`."""
        return self.metadata.get("general.file_type")

    @property
    def size_label(self) -> str:
        """Its size in its maker's words, such as `4B`."""
        return self.metadata.get("general.size_label", "")

    @property
    def description(self) -> str:
        """Nothing; llama.cpp has its own words for a model once it is loaded."""
        return ""

    @property
    def task(self) -> Task:
        """What it is for."""
        return task_of(self.pooling)

    def why_no_model(self) -> str | None:
        """What speaks against loading it, in a sentence; None where nothing does, as far as a header tells."""
        return None if self.kind == "model" else f"It is no model but a companion of one: {self.kind[:40]}."

    @property
    def can_switch_thinking(self) -> bool:
        """Whether the template can switch thinking on and off."""
        return "enable_thinking" in (self.chat_template or "")

    @property
    def has_tools(self) -> bool:
        """Whether the template tells the model of tools."""
        return _TOOLS.search(self.chat_template or "") is not None

    @property
    def has_system(self) -> bool:
        """Whether the template knows system messages."""
        return "system" in (self.chat_template or "")

    def kv_bytes_per_token(self, kv_type: KvType = "f16") -> int:
        """Size of one token's keys and values in all layers, in bytes. Layers that only look back a window count as the
        others, as the engine keeps all of theirs too."""
        numbers = sum(self.heads_kv) * (self.key_length + self.value_length)
        return numbers * BLOCK_BYTES[kv_type] // BLOCK


def read_model_header(path: Path) -> ModelHeader:
    """Reads the header of a model's file, and of a split one those of all its parts.

    Raises:
        ModelError: A file cannot be read, is no GGUF file, or says what no model can be.
    """
    first, *others = [read_header(path.with_name(part)) for part in parts_of(path.name)]
    values = _Values(path, first)
    embedding, heads = values.number("embedding_length"), values.number("attention.head_count")
    width = embedding // (heads or 1)
    key = values.number("attention.key_length", width)
    template = first.values.get("tokenizer.chat_template")
    is_causal = first.values.get(f"{values.architecture}.attention.causal", True) is not False
    pooling = values.number("pooling_type")
    return ModelHeader(
        metadata={key: str(value) for key, value in first.values.items() if key.startswith("general.")},
        architecture=values.architecture,
        parameters=first.parameters + sum(part.parameters for part in others),
        context_train=values.number("context_length"),
        chat_template=template if isinstance(template, str) and template else None,
        vocab_size=first.lengths.get("tokenizer.ggml.tokens", 0),
        embedding_length=embedding,
        heads=heads,
        heads_kv=values.heads_kv(heads),
        key_length=key,
        value_length=values.number("attention.value_length", width),
        state_bytes=values.state_bytes(heads, embedding),
        window=values.number("attention.sliding_window"),
        parts=1 + len(others),
        kind=str(first.values.get("general.type", "model")),
        pooling=pooling if pooling or is_causal else MEAN,
        is_causal=is_causal,
    )


class _Values:
    """The entries of a header that are about its architecture."""

    def __init__(self, path: Path, header: GgufHeader) -> None:
        self._path, self._values = path, header.values
        architecture = header.values.get("general.architecture")
        self.architecture = architecture if isinstance(architecture, str) else "unknown"

    def number(self, key: str, default: int = 0, limit: int = _MAX_NUMBER) -> int:
        """A count; of several, one a layer, the largest."""
        return max(self._numbers(key, default, limit), default=0)

    def heads_kv(self, heads: int) -> tuple[int, ...]:
        """One number for each layer that keeps keys and values of its own."""
        layers = self.number("block_count", limit=_MAX_LAYERS)
        # Of Gemma 3n and its successors: the last layers use the keys and values of earlier ones.
        layers = max(0, layers - self.number("attention.shared_kv_layers"))
        stated = self._numbers("attention.head_count_kv", heads, _MAX_NUMBER)
        of_layers = stated[:layers] if len(stated) > 1 else stated * layers
        if (every := self.number("full_attention_interval")) > 1:  # the layers between are recurrent
            return of_layers[every - 1 :: every]
        return of_layers

    def state_bytes(self, heads: int, embedding: int) -> int:
        """As llama.cpp allocates it, in numbers of 32 bits: of Mamba's kind, or of short convolutions."""
        layers = self.number("block_count", limit=_MAX_LAYERS) - sum(map(bool, self.heads_kv(heads)))
        inner, states = self.number("ssm.inner_size"), self.number("ssm.state_size")
        seen = max(0, self.number("ssm.conv_kernel") - 1)
        convolved = seen * (inner + 2 * self.number("ssm.group_count") * states)
        short = max(0, self.number("shortconv.l_cache") - 1) * embedding
        return 4 * max(0, layers) * (convolved + inner * states + short)

    def _numbers(self, key: str, default: int, limit: int) -> tuple[int, ...]:
        found = self._values.get(f"{self.architecture}.{key}", default)
        numbers = found if isinstance(found, tuple) else (found,)
        if any(not isinstance(number, int) or not 0 <= number <= limit for number in numbers):
            raise ModelError(f"{self._path} has a header that cannot be read: {key} is {str(found)[:40]}.")
        return tuple(int(number) for number in numbers)
