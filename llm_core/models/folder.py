"""Models in a folder of the operator's, `LLM_MODELS_DIR`. Reads names and first bytes, and never writes."""

from __future__ import annotations

import logging
import os
from collections.abc import Iterator
from pathlib import Path

from llm_core.errors import ModelError
from llm_core.gguf import check_gguf
from llm_core.models.choice import models_in
from llm_core.models.source import FileModel, ResolvedModel

log = logging.getLogger(__name__)

MAX_DEPTH = 6
MAX_NAMES = 20_000  # looked at; a home folder that was named by mistake has more
MAX_MODELS = 1000


def models_below(folder: Path) -> list[ResolvedModel]:
    """Every whole model in a folder and the folders in it, by name; of a split one the first part.

    Names that begin with a dot are passed over, as are folders more than `MAX_DEPTH` below. What cannot be read or is
    no model is left out, and the log says so.
    """
    folder = folder.expanduser().absolute()
    files = frozenset(file.relative_to(folder).as_posix() for file in _gguf_files(folder))
    models = models_in(files)
    if len(models) > MAX_MODELS:
        log.warning("%s has %d models; the first %d are used", folder, len(models), MAX_MODELS)
    return [
        ResolvedModel(folder / model.files[0], FileModel(folder / model.files[0]))
        for model in models[:MAX_MODELS]
        if _is_whole(folder, model.files, files)
    ]


def _gguf_files(folder: Path) -> Iterator[Path]:
    looked_at = 0
    seen: set[tuple[int, int]] = set()  # a link may lead back to a folder above it
    below = [(folder, 0)]
    while below:
        place, depth = below.pop()
        try:
            facts = place.stat()
            entries = sorted(os.scandir(place), key=lambda entry: entry.name)
        except OSError as error:
            log.warning("models in %s are left out: %s", place, error.strerror)
            continue
        if (facts.st_dev, facts.st_ino) in seen:
            continue
        seen.add((facts.st_dev, facts.st_ino))
        for entry in entries:
            looked_at += 1
            if looked_at > MAX_NAMES:
                log.warning("%s has more than %d files; models among the others are left out", folder, MAX_NAMES)
                return
            if entry.name.startswith("."):
                continue
            if _is_folder(entry):
                if depth < MAX_DEPTH:
                    below.append((place / entry.name, depth + 1))
            elif entry.name.endswith(".gguf"):
                yield place / entry.name


def _is_folder(entry: os.DirEntry[str]) -> bool:
    try:
        return entry.is_dir()
    except OSError:
        return False


def _is_whole(folder: Path, parts: tuple[str, ...], files: frozenset[str]) -> bool:
    if missing := next((part for part in parts if part not in files), None):
        log.warning("%s is left out: %s is missing", folder / parts[0], missing)
        return False
    try:
        for part in parts:
            if not (folder / part).is_file():  # opening a pipe would wait for somebody to write into it
                raise ModelError(f"{folder / part} is not a file.")
            check_gguf(folder / part)
    except ModelError as error:
        log.warning("a model is left out: %s", error.message)
        return False
    return True
