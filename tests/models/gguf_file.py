"""Writes small files in GGUF format, right ones and wrong ones. See the GGUF specification for the layout."""

from __future__ import annotations

import struct
from collections.abc import Mapping, Sequence

UINT32, INT32, FLOAT32, BOOL, TEXT, ARRAY = 4, 5, 6, 7, 8, 9  # GGUF's type codes
Value = int | float | bool | str | Sequence[int] | Sequence[str]


def text(of: str) -> bytes:
    return struct.pack("<Q", len(of.encode())) + of.encode()


def entry(key: str, value: Value) -> bytes:
    match value:
        case bool():
            return text(key) + struct.pack("<I?", BOOL, value)
        case str():
            return text(key) + struct.pack("<I", TEXT) + text(value)
        case float():
            return text(key) + struct.pack("<If", FLOAT32, value)
        case int():
            return text(key) + struct.pack("<II", UINT32, value)
        case [str(), *_]:
            texts = b"".join(text(str(of)) for of in value)
            return text(key) + struct.pack("<IIQ", ARRAY, TEXT, len(value)) + texts
        case _:
            return text(key) + struct.pack(f"<IIQ{len(value)}i", ARRAY, INT32, len(value), *value)


def gguf_file(
    entries: Mapping[str, Value],
    tensors: Sequence[tuple[int, ...]] = (),
    *,
    version: int = 3,
    counts: tuple[int, int] | None = None,
) -> bytes:
    """A file's header. `counts` are what it claims to have of tensors and entries, where that is a lie."""
    head = struct.pack("<4sIQQ", b"GGUF", version, *(counts or (len(tensors), len(entries))))
    body = b"".join(entry(key, value) for key, value in entries.items())
    infos = b"".join(
        text(f"t{i}") + struct.pack(f"<I{len(shape)}QIQ", len(shape), *shape, 0, 0) for i, shape in enumerate(tensors)
    )
    return head + body + infos


def model_file(
    architecture: str = "llama", *, tensors: Sequence[tuple[int, ...]] = ((1000, 1000),), **facts: Value
) -> bytes:
    """A model's header with plain numbers, of which `facts` replace some. Keys with two underscores, which stand for a
    dot, are not of the architecture: `general__name`."""
    numbers: dict[str, Value] = {
        "context_length": 4096,
        "embedding_length": 512,
        "block_count": 4,
        "attention.head_count": 8,
        "attention.head_count_kv": 2,
    }
    general = {key.replace("__", "."): value for key, value in facts.items() if "__" in key}
    numbers |= {key: value for key, value in facts.items() if "__" not in key}
    named = {f"{architecture}.{key}": value for key, value in numbers.items()}
    return gguf_file({"general.architecture": architecture, **named, **general}, tensors)
