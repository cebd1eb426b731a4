"""Which models get a copy in Q8_0, and how large it is. Known without llama.cpp; llama/prepared.py makes them."""

from __future__ import annotations

import platform

FORM = "Q8_0"
BYTES_PER_WEIGHT = 34 / 32  # Q8_0: blocks of 32 numbers of 8 bits and one of 16 (block_q8_0 in ggml-common.h)
# `general.file_type`, as in `models.quantization`: forms of 4 to 8 bits without a fast kernel. Who chose fewer bits
# wanted less memory.
_SLOW_ON_ARM = {"3": "Q4_1", "8": "Q5_0", "9": "Q5_1"}
_SLOW_ON_X86 = _SLOW_ON_ARM | {"16": "Q5_K_S", "17": "Q5_K_M", "18": "Q6_K"}
SLOW = _SLOW_ON_X86 if platform.machine().lower() in ("x86_64", "amd64") else _SLOW_ON_ARM

LARGEST_COPY = 2 * 1024**3  # larger ones take minutes to make and to time, and rarely win


def copy_bytes(file_type: str | None, parameters: int, *, is_split: bool) -> int | None:
    """Size of the copy that a model gets when it is first loaded; None where it gets none."""
    size = int(parameters * BYTES_PER_WEIGHT)
    return None if is_split or file_type not in SLOW or size > LARGEST_COPY else size
