"""Small model files with random weights, for architectures of which no small real one can be had.

They write nonsense, and the same nonsense each time: what is tested with them is memory.
"""

from __future__ import annotations

import struct
from collections.abc import Iterator, Mapping
from pathlib import Path

import numpy as np
import numpy.typing as npt

from tests.models.gguf_file import ARRAY, TEXT, Value, entry, text

Tensors = Mapping[str, npt.NDArray[np.float32]]

_SIZES = {0: 1, 1: 1, 2: 2, 3: 2, 4: 4, 5: 4, 6: 4, 7: 1, 10: 8, 11: 8, 12: 8}
_ALIGNMENT = 32
WIDTH, FEED, LAYERS = 64, 128, 4


def lfm2(model_path: Path, target: Path, heads: int = 2) -> Path:
    """A hybrid: two layers of short convolutions, whose state is recurrent, and two of attention."""
    rng = np.random.default_rng(7)
    header: dict[str, Value] = {
        "context_length": 4096,
        "embedding_length": WIDTH,
        "block_count": LAYERS,
        "feed_forward_length": FEED,
        "vocab_size": 49152,
        "attention.head_count": heads,
        "attention.head_count_kv": [0, heads, 0, heads],
        "attention.layer_norm_rms_epsilon": 1e-5,
        "rope.freq_base": 10000.0,
        "shortconv.l_cache": 3,
    }
    tensors = _ends(rng, "token_embd_norm")
    for layer in range(LAYERS):
        tensors |= _block(rng, layer, attn_norm=(WIDTH,), ffn_norm=(WIDTH,), ffn_gate=(FEED, WIDTH))
        tensors |= _block(rng, layer, ffn_up=(FEED, WIDTH), ffn_down=(WIDTH, FEED))
        square = (WIDTH, WIDTH)
        if layer % 2:
            tensors |= _block(rng, layer, attn_q=square, attn_k=square, attn_v=square, attn_output=square)
            tensors |= _block(rng, layer, attn_q_norm=(WIDTH // heads,), attn_k_norm=(WIDTH // heads,))
        else:
            shapes = {"conv": (WIDTH, 3), "in_proj": (3 * WIDTH, WIDTH), "out_proj": square}
            tensors |= _block(rng, layer, **{f"shortconv.{name}": shape for name, shape in shapes.items()})
    return _write(model_path, target, "lfm2", header, tensors)


def mamba(model_path: Path, target: Path) -> Path:
    """A recurrent one: no attention at all."""
    rng = np.random.default_rng(8)
    inner, states, rank = 2 * WIDTH, 16, 4
    header: dict[str, Value] = {
        "context_length": 4096,
        "embedding_length": WIDTH,
        "feed_forward_length": 0,
        "attention.head_count": 0,
        "block_count": LAYERS,
        "vocab_size": 49152,
        "attention.layer_norm_rms_epsilon": 1e-5,
        "ssm.conv_kernel": 4,
        "ssm.inner_size": inner,
        "ssm.state_size": states,
        "ssm.time_step_rank": rank,
    }
    tensors = _ends(rng, "output_norm")
    for layer in range(LAYERS):
        tensors |= _block(rng, layer, attn_norm=(WIDTH,), ssm_in=(2 * inner, WIDTH), ssm_conv1d=(inner, 4))
        tensors |= _block(rng, layer, ssm_x=(rank + 2 * states, inner), ssm_dt=(inner, rank), ssm_out=(WIDTH, inner))
        tensors[f"blk.{layer}.ssm_conv1d.bias"] = _random(rng, inner)
        tensors[f"blk.{layer}.ssm_dt.bias"] = _random(rng, inner)
        tensors[f"blk.{layer}.ssm_a"] = -np.abs(_random(rng, inner, states))
        tensors[f"blk.{layer}.ssm_d"] = _random(rng, inner)
    return _write(model_path, target, "mamba", header, tensors)


def lora(
    target: Path, *, architecture: str = "llama", width: int = 576, layers: int = 30, seed: int = 9, **entries: Value
) -> Path:
    """A LoRA adapter that changes what the bundled model says a good deal, in every layer. `entries` are of its header,
    with two underscores for a dot."""
    rng, rank = np.random.default_rng(seed), 4
    tensors: dict[str, npt.NDArray[np.float32]] = {}
    for layer in range(layers):
        tensors[f"blk.{layer}.attn_output.weight.lora_a"] = _random(rng, rank, width)
        tensors[f"blk.{layer}.attn_output.weight.lora_b"] = rng.normal(0, 0.5, (width, rank)).astype(np.float32)
    header: dict[str, Value] = {
        "general__type": "adapter",
        "general__architecture": architecture,
        "adapter__type": "lora",
        "adapter__lora__alpha": float(rank),
    }
    named = {key.replace("__", "."): value for key, value in (header | entries).items()}
    return write_file(target, [entry(key, value) for key, value in named.items()], tensors)


def _ends(rng: np.random.Generator, norm: str) -> dict[str, npt.NDArray[np.float32]]:
    # An output of its own, and small embeddings: the next token depends on the layers, and so on their memory.
    embeddings, output = _random(rng, 49152, WIDTH), 8 * _random(rng, 49152, WIDTH)
    return {"token_embd.weight": embeddings, "output.weight": output, f"{norm}.weight": np.ones(WIDTH, np.float32)}


def _block(rng: np.random.Generator, layer: int, **shapes: tuple[int, ...]) -> dict[str, npt.NDArray[np.float32]]:
    return {
        f"blk.{layer}.{name}.weight": np.ones(shape, np.float32) if name.endswith("norm") else _random(rng, *shape)
        for name, shape in shapes.items()
    }


def _random(rng: np.random.Generator, *shape: int) -> npt.NDArray[np.float32]:
    return rng.normal(0, shape[-1] ** -0.5, shape).astype(np.float32)


def _write(model_path: Path, target: Path, architecture: str, header: Mapping[str, Value], tensors: Tensors) -> Path:
    """Writes a file with the tokenizer of the model at `model_path`. See the GGUF specification for the layout."""
    entries = [entry("general.architecture", architecture)]
    entries += [entry(f"{architecture}.{key}", value) for key, value in header.items()]
    entries += [raw for key, raw in _raw_entries(model_path.read_bytes()) if key.startswith("tokenizer.")]
    return write_file(target, entries, tensors)


def write_file(target: Path, entries: list[bytes], tensors: Tensors) -> Path:
    infos, data = b"", bytearray()
    for name, tensor in tensors.items():
        shape = tensor.shape[::-1]
        infos += text(name) + struct.pack(f"<I{len(shape)}QIQ", len(shape), *shape, 0, len(data))
        data += tensor.tobytes() + bytes(-tensor.nbytes % _ALIGNMENT)
    head = struct.pack("<4sIQQ", b"GGUF", 3, len(tensors), len(entries)) + b"".join(entries) + infos
    target.write_bytes(head + bytes(-len(head) % _ALIGNMENT) + data)
    return target


def _raw_entries(data: bytes) -> Iterator[tuple[str, bytes]]:
    """The entries of a file's header as they stand in it, with their keys."""
    (count,) = struct.unpack_from("<Q", data, 16)
    at = 24
    for _ in range(count):
        start = at
        (length,) = struct.unpack_from("<Q", data, at)
        key = data[at + 8 : at + 8 + length].decode()
        (kind,) = struct.unpack_from("<I", data, at + 8 + length)
        at = _end_of(data, at + 12 + length, kind)
        yield key, data[start:at]


def _end_of(data: bytes, at: int, kind: int) -> int:
    """Where a value ends that begins at `at`."""
    if kind == TEXT:
        return int(at + 8 + struct.unpack_from("<Q", data, at)[0])
    if kind != ARRAY:
        return at + _SIZES[kind]
    inner, count = struct.unpack_from("<IQ", data, at)
    at += 12
    if inner != TEXT:
        return int(at + count * _SIZES[inner])
    for _ in range(count):
        at = _end_of(data, at, TEXT)
    return at


def with_number(model_path: Path, target: Path, key: bytes, value: int) -> Path:
    """A copy of the model with one more number in its header.

    See the GGUF specification for the layout. A second, padding entry makes the header grow by a multiple of 32 bytes,
    so that the tensor data behind it stays aligned.
    """
    string, number = 8, 4  # GGUF's type codes for a text and for a 32-bit unsigned integer
    entry = struct.pack("<Q", len(key)) + key + struct.pack("<II", number, value)
    padding = struct.pack("<Q", 4) + b"test" + struct.pack("<I", string)
    fill = -(len(entry) + len(padding) + 8) % 32
    padding += struct.pack("<Q", fill) + b" " * fill
    data = model_path.read_bytes()
    magic, version, tensors, entries = struct.unpack_from("<4sIQQ", data)
    header = struct.pack("<4sIQQ", magic, version, tensors, entries + 2)
    target.write_bytes(header + entry + padding + data[len(header) :])
    return target
