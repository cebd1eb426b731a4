"""The two kinds of arrays that travel through the engine, and how far two of them are the same."""

from __future__ import annotations

import numpy as np
import numpy.typing as npt

Tokens = npt.NDArray[np.int32]
"""Token ids, shape (n,)."""
State = npt.NDArray[np.uint8]
"""What llama.cpp keeps of a sequence, shape (bytes,)."""


def common_prefix(left: Tokens, right: Tokens) -> int:
    """Number of equal tokens at the start of both."""
    size = min(len(left), len(right))
    different = np.flatnonzero(left[:size] != right[:size])
    return int(different[0]) if len(different) else size
