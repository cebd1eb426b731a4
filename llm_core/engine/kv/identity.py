"""What has to be the same for llama.cpp to go on from a state that was saved by another process."""

from __future__ import annotations

import hashlib
import json
from pathlib import Path

import llama_cpp

from llm_core.engine.llama.model import Model
from llm_core.kv_type import KvType

_SAMPLES = 64
_SAMPLE_BYTES = 1 << 16


def identity(model: Model, *, slots: int, kv_type: KvType) -> str:
    """As text, to be compared. The number of slots is in a state too: it has a part for each stream of the context.
    Which of the adapters a state was computed with is said beside it, by their names.

    Raises:
        OSError: The model's file, or an adapter's, cannot be read any more.
    """
    same = {
        "model": digest_of(model.path),
        "llama-cpp-python": llama_cpp.__version__,
        "on_gpu": model.on_gpu,
        "slots": slots,
        "kv_type": kv_type,
    }
    adapters = {name: digest_of(path) for name, path in model.adapters.items()}
    return json.dumps(same | ({"adapters": adapters} if adapters else {}))


def digest_of(path: Path) -> str:
    """SHA-256 of a file's size and of 64 pieces of it, 4 MiB in all: two models differ everywhere, and a file of many
    gigabytes is not read for this."""
    size = path.stat().st_size
    digest = hashlib.sha256(str(size).encode())
    with path.open("rb") as file:
        for number in range(_SAMPLES):
            file.seek(max(0, size - _SAMPLE_BYTES) * number // (_SAMPLES - 1))
            digest.update(file.read(_SAMPLE_BYTES))
    return digest.hexdigest()
