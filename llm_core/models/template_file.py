"""A chat template of the operator's own, in place of the one in a model's file."""

from __future__ import annotations

from pathlib import Path

from llm_core.errors import ModelError

MAX_BYTES = 1_000_000


def read_template(path: Path | None) -> str | None:
    """The Jinja source in a file; None where the operator names none.

    Raises:
        ModelError: It cannot be read, is empty, or is no template at all.
    """
    if path is None:
        return None
    try:
        with path.expanduser().open("rb") as file:
            source = file.read(MAX_BYTES + 1)
        if len(source) > MAX_BYTES:
            raise ModelError(f"The chat template {path} is longer than {MAX_BYTES:,} bytes. Name another file.")
        text = source.decode("utf-8")
    except OSError as error:
        raise ModelError(f"The chat template {path} cannot be read: {error.strerror}. Name another file.") from None
    except UnicodeDecodeError as error:
        raise ModelError(f"The chat template {path} is not UTF-8: byte {error.start} cannot be read.") from None
    if not text.strip():
        raise ModelError(f"The chat template {path} is empty. Name another file.")
    return text
