"""What is wrong with a model's file, in sentences."""

from __future__ import annotations

from collections.abc import Sequence
from pathlib import Path

from llm_core.errors import ModelError
from llm_core.gguf import check_gguf, read_header


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


def check_adapter_file(path: Path) -> None:
    """Looks at an adapter's file before llama.cpp does, which ends the process where a value is of another type.

    Raises:
        ModelError: It is none, or holds no adapter.
    """
    if not path.is_file():
        raise ModelError(f"There is no file {path}. Check where the adapters of the model are.")
    values = read_header(path).values
    if values.get("general.type") != "adapter" or values.get("adapter.type") != "lora":
        raise ModelError(f"{path} is no LoRA adapter in GGUF format. llama.cpp's convert_lora_to_gguf.py makes them.")
    if not isinstance(values.get("general.architecture"), str):
        raise ModelError(f"{path} is an adapter that does not say for which architecture it was made.")
    if not isinstance(values.get("adapter.lora.alpha", 0.0), float):
        raise ModelError(f"{path} is an adapter whose adapter.lora.alpha is no number with a fraction.")


def why_no_adapter(path: Path, model: Path, complaints: Sequence[str]) -> str:
    """What llama.cpp wrote to its log while it refused an adapter, as a sentence."""
    reason = complaints[-1].rpartition("failed to apply lora adapter: ")[2] if complaints else "it gave no reason"
    return f"{path} is no adapter of {model.name}: {reason}. Name one that was made for this model."


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
