"""llama.cpp's library: how it is loaded, and what it writes to its log."""

from __future__ import annotations

import ctypes
import logging
import os
import sys
from collections import deque

# llama.cpp's threads wait for each other about a thousand times a token, and OpenMP lets them spin for milliseconds
# before they sleep. Where other programs want the cores too, they spin while the one they wait for does not run; where
# they sleep at once, waking costs more than the work. Some 40 microseconds are good in both cases (docs/decisions/006).
# Read when the library is loaded.
#
# Each engine has threads of its own, and libgomp spins a tenth of that where a process has more of them than there are
# cores, be they idle: a second model would halve the speed of the first. With the policy `active` it spins no less.
if "OMP_WAIT_POLICY" not in os.environ and "GOMP_SPINCOUNT" not in os.environ:
    os.environ["GOMP_SPINCOUNT"] = "1000"
    if sys.platform == "linux":  # other systems' OpenMP is not libgomp, and would spin for ever
        os.environ["OMP_WAIT_POLICY"] = "active"

import llama_cpp as lib
from llama_cpp import llama_cpp as binding

__all__ = ["binding", "last_complaints", "lib", "start_backend"]

log = logging.getLogger(__name__)

_COMPLAINT_LEVELS = (3, 4)  # GGML_LOG_LEVEL_WARN and GGML_LOG_LEVEL_ERROR in ggml.h
last_complaints: deque[str] = deque(maxlen=20)
"""Warnings and errors that llama.cpp wrote last."""


@lib.llama_log_callback  # type: ignore[untyped-decorator]
def _on_log(level: int, text: bytes, _user_data: object) -> None:
    line = text.decode("utf-8", "replace").rstrip()
    if level in _COMPLAINT_LEVELS:
        last_complaints.append(line)
    log.debug("llama.cpp: %s", line)


def start_backend() -> None:
    """Readies the library; harmless when it is ready."""
    lib.llama_log_set(_on_log, ctypes.c_void_p(0))
    lib.llama_backend_init()


def uses_gpu(gpu_layers: int) -> bool:
    """Whether a model of which so many layers are asked for on a GPU has some there."""
    return gpu_layers != 0 and bool(lib.llama_supports_gpu_offload())
