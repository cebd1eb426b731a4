"""What is wrong with a model's file, in sentences."""

from __future__ import annotations

from collections.abc import Sequence
from pathlib import Path

from llm_core.errors import ModelError
from llm_core.gguf import check_gguf


def check_file(path: Path) -> None:
    """Looks at a file before llama.cpp does.

    Raises:
        ModelError: It is none, or holds no model.
    """
    if not path.exists():
        raise ModelError(f"There is no file {path}. Check LLM_MODEL.")
    if not path.is_file():
        raise ModelError(f"{path} is not a file. LLM_MODEL must name a .gguf file.")
    check_gguf(path)


def why_not_loaded(path: Path, complaints: Sequence[str]) -> str:
    """What llama.cpp wrote to its log while it failed, as a sentence."""
    logged = "\n".join(complaints)
    if any(phrase in logged for phrase in ("not within the file bounds", "failed to read", "unexpectedly reached end")):
        return f"{path} is cut short or damaged. Download it again; `model pull` does that for a model of the Hub."
    if "unknown model architecture" in logged:
        name = logged.split("unknown model architecture: ", 1)[1].split("\n", 1)[0].strip("' ")
        return (
            f"{path} has the architecture {name!r}, which this build of llama.cpp does not know. A newer release may."
        )
    reason = complaints[-1] if complaints else "llama.cpp gave no reason"
    return f"{path} could not be loaded: {reason}"
