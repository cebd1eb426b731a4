"""all-MiniLM-L6-v2 as a model file, made from the original weights, and the original computed in a few lines of numpy.

The package holds a zip with safetensors and a tokenizer; what becomes of their names is what llama.cpp's
`convert_hf_to_gguf.py` does. The tokenizer of the reference is Hugging Face's own library.
"""

from __future__ import annotations

import json
import math
import struct
import zipfile
from collections.abc import Iterator, Mapping, Sequence
from functools import cache
from importlib.util import find_spec
from pathlib import Path
from typing import Any

import numpy as np
import numpy.typing as npt
import pytest
from tokenizers import Tokenizer

from tests.engine.random_model import write_file
from tests.models.gguf_file import Value, entry

Floats = npt.NDArray[np.float32]

WIDTH, HEADS, LAYERS, LONGEST = 384, 12, 6, 512
_MEAN, _RANK = 1, 4  # llama.cpp's numbers of kinds of pooling
_EPSILON = 1e-12
_NORMAL, _CONTROL = 1, 3  # of tokens
_SPECIAL = ("[PAD]", "[UNK]", "[CLS]", "[SEP]", "[MASK]")
_NAMES = {
    "embeddings.word_embeddings": "token_embd",
    "embeddings.position_embeddings": "position_embd",
    "embeddings.token_type_embeddings": "token_types",
    "embeddings.LayerNorm": "token_embd_norm",
}
_LAYER_NAMES = {
    "attention.self.query": "attn_q",
    "attention.self.key": "attn_k",
    "attention.self.value": "attn_v",
    "attention.output.dense": "attn_output",
    "attention.output.LayerNorm": "attn_output_norm",
    "intermediate.dense": "ffn_up",
    "output.dense": "ffn_down",
    "output.LayerNorm": "layer_output_norm",
}


def embedding_model(target: Path) -> Path:
    """The model, which turns a text into the mean of what its tokens are."""
    return _write(target, _MEAN, weights())


def cross_encoder(target: Path) -> Path:
    """The same with a head that scores pairs: its numbers are random, so that scores mean nothing and differ."""
    return _write(target, _RANK, weights() | head())


@cache
def weights() -> dict[str, Floats]:
    """The original's, by the names of model files."""
    with _package() as package:
        data = package.read("model.safetensors")
    (length,) = struct.unpack_from("<Q", data)
    found = {}
    for name, facts in json.loads(data[8 : 8 + length]).items():
        if name.startswith(("__", "pooler.")) or facts["dtype"] != "F32":
            continue
        start, end = facts["data_offsets"]
        tensor = np.frombuffer(data[8 + length + start : 8 + length + end], np.float32)
        found[_renamed(name)] = tensor.reshape(facts["shape"])
    return found


@cache
def head() -> dict[str, Floats]:
    """The numbers of the head that scores pairs."""
    rng = np.random.default_rng(3)

    def draw(*shape: int) -> Floats:
        return rng.normal(0, 0.1, shape).astype(np.float32)

    return {
        "cls.weight": draw(WIDTH, WIDTH),
        "cls.bias": draw(WIDTH),
        "cls.output.weight": draw(1, WIDTH),
        "cls.output.bias": draw(1),
    }


@cache
def tokenizer() -> Tokenizer:
    """Hugging Face's, which neither pads nor cuts."""
    with _package() as package:
        tokenizer = Tokenizer.from_str(package.read("tokenizer.json").decode())
    tokenizer.no_padding()
    tokenizer.no_truncation()
    return tokenizer


def token_ids(text: str) -> list[int]:
    return list(tokenizer().encode(text).ids)


def vector(tokens: Sequence[int]) -> Floats:
    """The vector of a text, of length 1; shape (384,)."""
    return _vector(tuple(tokens))


@cache
def _vector(tokens: tuple[int, ...]) -> Floats:
    mean = _hidden(tokens).mean(axis=0)
    return np.asarray(mean / np.linalg.norm(mean), np.float32)


def score(tokens: Sequence[int]) -> float:
    """What the head says of a pair, before it is brought between 0 and 1."""
    parts = head()
    inner = np.tanh(parts["cls.weight"] @ _hidden(tokens)[0] + parts["cls.bias"])
    return float((parts["cls.output.weight"] @ inner + parts["cls.output.bias"])[0])


def _hidden(tokens: Sequence[int]) -> Floats:
    """What the last layer makes of each token; shape (n, 384)."""
    every, ids = weights(), np.asarray(tokens)
    x = every["token_embd.weight"][ids] + every["position_embd.weight"][: len(ids)] + every["token_types.weight"][0]
    x = _normed(x, "token_embd_norm")
    for layer in range(LAYERS):
        q, k, v = (_split(_linear(x, f"blk.{layer}.attn_{part}")) for part in "qkv")
        scores = q @ k.transpose(0, 2, 1) / math.sqrt(WIDTH / HEADS)
        shares = np.exp(scores - scores.max(axis=-1, keepdims=True))
        attended = (shares / shares.sum(axis=-1, keepdims=True)) @ v
        joined = attended.transpose(1, 0, 2).reshape(len(ids), WIDTH)
        x = _normed(x + _linear(joined, f"blk.{layer}.attn_output"), f"blk.{layer}.attn_output_norm")
        inner = _gelu(_linear(x, f"blk.{layer}.ffn_up"))
        x = _normed(x + _linear(inner, f"blk.{layer}.ffn_down"), f"blk.{layer}.layer_output_norm")
    return x


def _linear(x: Floats, name: str) -> Floats:
    return np.asarray(x @ weights()[f"{name}.weight"].T + weights()[f"{name}.bias"])


def _normed(x: Floats, name: str) -> Floats:
    centred = x - x.mean(axis=-1, keepdims=True)
    deviation = np.sqrt((centred**2).mean(axis=-1, keepdims=True) + _EPSILON)
    return np.asarray(centred / deviation * weights()[f"{name}.weight"] + weights()[f"{name}.bias"])


def _split(x: Floats) -> Floats:
    return x.reshape(len(x), HEADS, WIDTH // HEADS).transpose(1, 0, 2)


def _gelu(x: Floats) -> Floats:
    return np.asarray(x * 0.5 * (1 + _erf(x / math.sqrt(2))), np.float32)


def _erf(x: Floats) -> Floats:
    """To seven digits (Abramowitz and Stegun, 7.1.26); numpy has none."""
    t = 1 / (1 + 0.3275911 * np.abs(x))
    series = ((((1.061405429 * t - 1.453152027) * t + 1.421413741) * t - 0.284496736) * t + 0.254829592) * t
    return np.asarray(np.sign(x) * (1 - series * np.exp(-x * x)))


def _package() -> zipfile.ZipFile:
    spec = find_spec("all_minilm_l6_v2")
    return zipfile.ZipFile(Path(str(spec and spec.origin)).with_name("model.zip"))


def _renamed(name: str) -> str:
    stem, _, kind = name.rpartition(".")
    if stem in _NAMES:
        return f"{_NAMES[stem]}.{kind}"
    _, _, layer, rest = stem.split(".", 3)
    return f"blk.{layer}.{_LAYER_NAMES[rest]}.{kind}"


def _phantom(token: str) -> str:
    """llama.cpp marks the beginnings of words, where the original marks what is none."""
    if token in _SPECIAL:
        return token
    return token[2:] if token.startswith("##") else f"\u2581{token}"


def _header(pooling: int) -> Iterator[tuple[str, Value]]:
    vocab = tokenizer().get_vocab()
    tokens = [_phantom(token) for token in sorted(vocab, key=vocab.__getitem__)]
    numbers: dict[str, Any] = {
        "context_length": LONGEST,
        "embedding_length": WIDTH,
        "feed_forward_length": 4 * WIDTH,
        "block_count": LAYERS,
        "attention.head_count": HEADS,
        "attention.layer_norm_epsilon": _EPSILON,
        "attention.causal": False,
        "pooling_type": pooling,
    }
    yield "general.architecture", "bert"
    yield "general.license", "apache-2.0"
    yield from ((f"bert.{key}", value) for key, value in numbers.items())
    yield "tokenizer.ggml.model", "bert"
    yield "tokenizer.ggml.pre", "default"
    yield "tokenizer.ggml.tokens", tokens
    yield "tokenizer.ggml.token_type", [_CONTROL if token in _SPECIAL else _NORMAL for token in tokens]
    yield "tokenizer.ggml.token_type_count", 2


def _write(target: Path, pooling: int, tensors: Mapping[str, Floats]) -> Path:
    return write_file(target, [entry(key, value) for key, value in _header(pooling)], tensors)


@pytest.fixture(scope="module")
def minilm_path(tmp_path_factory: pytest.TempPathFactory) -> Iterator[Path]:
    """The file of the model that embeds."""
    path = embedding_model(tmp_path_factory.mktemp("minilm") / "minilm.gguf")
    yield path
    path.unlink()


@pytest.fixture(scope="module")
def ranker_path(tmp_path_factory: pytest.TempPathFactory) -> Iterator[Path]:
    """The file of the model that ranks."""
    path = cross_encoder(tmp_path_factory.mktemp("ranker") / "ranker.gguf")
    yield path
    path.unlink()
