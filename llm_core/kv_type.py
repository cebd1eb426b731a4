"""How keys and values are kept in the KV memory: how many bits a number has."""

from __future__ import annotations

from typing import Literal

KvType = Literal["f16", "q8_0", "q5_1", "q5_0", "q4_1", "q4_0"]

BLOCK = 32
"""Numbers that are quantized together."""
BLOCK_BYTES: dict[KvType, int] = {"f16": 64, "q8_0": 34, "q5_1": 24, "q5_0": 22, "q4_1": 20, "q4_0": 18}
"""Bytes of a block, by ggml's layouts (ggml-common.h)."""
