"""Whether a file can be a model at all: looked at before llama.cpp is, which takes long and says little."""

from __future__ import annotations

from pathlib import Path

from llm_core.errors import ModelError

_MAGIC = b"GGUF"


def check_gguf(path: Path) -> None:
    """Looks at how a file begins.

    Raises:
        ModelError: It cannot be read, or is no GGUF file.
    """
    try:
        with path.open("rb") as file:
            magic = file.read(len(_MAGIC))
    except OSError as error:
        raise ModelError(f"{path} cannot be read: {error.strerror}.") from error
    if not magic:
        raise ModelError(f"{path} is not a GGUF file: it is empty. Download it again.")
    if magic != _MAGIC:
        raise ModelError(f"{path} is not a GGUF file: it begins with {magic!r}. Download the model in GGUF format.")
