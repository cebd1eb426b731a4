"""The two kinds of arrays that travel through the engine."""

from __future__ import annotations

import numpy as np
import numpy.typing as npt

Tokens = npt.NDArray[np.int32]
"""Token ids, shape (n,)."""
State = npt.NDArray[np.uint8]
"""What llama.cpp keeps of a sequence, shape (bytes,)."""
