"""The ways in which a model's numbers are shortened: their names, in a file's header and in its name."""

from __future__ import annotations

import re

# `general.file_type` of a GGUF header: enum llama_ftype in llama.cpp's include/llama.h.
_FILE_TYPES = {
    0: "F32",
    1: "F16",
    2: "Q4_0",
    3: "Q4_1",
    7: "Q8_0",
    8: "Q5_0",
    9: "Q5_1",
    10: "Q2_K",
    11: "Q3_K_S",
    12: "Q3_K_M",
    13: "Q3_K_L",
    14: "Q4_K_S",
    15: "Q4_K_M",
    16: "Q5_K_S",
    17: "Q5_K_M",
    18: "Q6_K",
    19: "IQ2_XXS",
    20: "IQ2_XS",
    21: "Q2_K_S",
    22: "IQ3_XS",
    23: "IQ3_XXS",
    24: "IQ1_S",
    25: "IQ4_NL",
    26: "IQ3_S",
    27: "IQ3_M",
    28: "IQ2_S",
    29: "IQ2_M",
    30: "IQ4_XS",
    31: "IQ1_M",
    32: "BF16",
    36: "TQ1_0",
    37: "TQ2_0",
    38: "MXFP4_MOE",
    39: "NVFP4",
    40: "Q1_0",
    41: "Q2_0",
}

# What to take where nobody says: the usual compromise of size and quality first, then its neighbours, and a full
# precision, several times larger and slower on a CPU, only where there is nothing else.
PREFERRED = ("Q4_K_M", "Q4_K_S", "Q4_0", "Q4_1", "MXFP4", "Q5_K_M", "Q5_K_S", "Q6_K", "Q8_0", "BF16", "F16", "F32")

_IN_NAME = re.compile(
    r"(?:\A|[-._/])((?:IQ|TQ|Q)\d(?:_[A-Z0-9]+)*|MXFP4(?:_MOE)?|NVFP4|BF16|F16|F32)(?=[-._/]|\Z)", re.IGNORECASE
)


def quantization_of(file_type: str | None) -> str | None:
    """The name of a `general.file_type`; None where there is none that is known."""
    return _FILE_TYPES.get(int(file_type)) if file_type is not None and file_type.isdecimal() else None


def quantization_in(name: str) -> str | None:
    """The quantization that a file's name speaks of, the last one where there are several."""
    found = _IN_NAME.findall(name.removesuffix(".gguf"))
    return found[-1].upper() if found else None


def without_quantization(stem: str) -> str:
    """A file's stem without the quantization at its end: `Qwen3-4B-Q4_K_M` is `Qwen3-4B`."""
    found = list(_IN_NAME.finditer(stem))
    if not found or found[-1].end() != len(stem):
        return stem
    return stem[: found[-1].start()] or stem
