"""Which of a repository's GGUF files is meant. Pure: names go in, names come out.

A large model may be split over several files (`...-00001-of-00003.gguf`); such a set is one choice.
"""

from __future__ import annotations

import re
from collections.abc import Iterable
from dataclasses import dataclass
from fnmatch import fnmatchcase

from llm_core.errors import ModelError
from llm_core.models.quantization import PREFERRED, quantization_in
from llm_core.models.source import HubModel

_SPLIT = re.compile(r"-(\d{5})-of-(\d{5})(?=\.gguf\Z)")
# Files in GGUF format that are no language model: the eyes and ears of one, and statistics used to quantize it.
_COMPANIONS = ("mmproj", "imatrix")
_LISTED_AT_MOST = 20


@dataclass(frozen=True, slots=True)
class GgufSet:
    """One model of a repository: a file, or all parts of a split one in order.

    Attributes:
        name: The file's path in the repository, without the numbers of a part.
        files: The paths, the one to open first.
    """

    name: str
    files: tuple[str, ...]


def parts_of(file: str) -> tuple[str, ...]:
    """All parts of the set that `file` is a part of; just `file` where it is whole."""
    split = _SPLIT.search(file)
    if split is None:
        return (file,)
    return tuple(f"{file[: split.start()]}-{i:05}-of-{split[2]}.gguf" for i in range(1, int(split[2]) + 1))


def plain_name(file: str) -> str:
    """A file's name without the numbers of a part."""
    return _SPLIT.sub("", file)


def choose(source: HubModel, files: Iterable[str]) -> GgufSet:
    """Picks what `source` means out of a repository's files.

    The named file; the one match of a pattern; without either the only model, or the one in the most useful
    quantization.

    Raises:
        ModelError: None or several are meant, or a split model misses a part. The message lists what there is.
    """
    there = frozenset(files)
    models = models_in(there)
    if not models:
        raise ModelError(f"{source.repo} has no .gguf file. Choose a repository with models in GGUF format.")
    chosen = _meant(source, models)
    if missing := next((file for file in chosen.files if file not in there), None):
        raise ModelError(f"{source.repo} has only a part of {chosen.name}: {missing} is missing.")
    return chosen


def models_in(files: Iterable[str]) -> list[GgufSet]:
    """The models among a repository's files, by name. A split one may miss parts."""
    sets = {}
    for file in files:
        name = plain_name(file)
        if file.endswith(".gguf") and not any(word in name.rpartition("/")[2].lower() for word in _COMPANIONS):
            sets[name, len(parts_of(file))] = GgufSet(name, parts_of(file))
    return sorted(sets.values(), key=lambda model: model.name)


def _meant(source: HubModel, models: list[GgufSet]) -> GgufSet:
    if source.file is None:
        return _preferred(source, models)
    if not source.is_glob:
        if named := next((model for model in models if source.file in model.files), None):
            return named
        raise ModelError(f"{source.repo} has no file {source.file}. {_listing(models)}")
    matches = [m for m in models if any(fnmatchcase(name, source.file) for name in (m.name, *m.files))]
    if not matches:
        raise ModelError(f"No model in {source.repo} matches {source.file}. {_listing(models)}")
    return _only(source, matches, f"{source.file} matches {len(matches)} models in {source.repo}.")


def _preferred(source: HubModel, models: list[GgufSet]) -> GgufSet:
    if len(models) == 1:
        return models[0]
    for quantization in PREFERRED:
        if matches := [model for model in models if quantization_in(model.name) == quantization]:
            return _only(source, matches, f"{source.repo} has {len(matches)} models in {quantization}.")
    return _only(source, models, f"{source.repo} has {len(models)} models.")


def _only(source: HubModel, models: list[GgufSet], otherwise: str) -> GgufSet:
    if len(models) == 1:
        return models[0]
    raise ModelError(f"{otherwise} Name one, as in hf:{source.repo}:FILE. {_listing(models)}")


def _listing(models: list[GgufSet]) -> str:
    names = [model.files[0] for model in models[:_LISTED_AT_MOST]]
    more = f" and {len(models) - _LISTED_AT_MOST} more" if len(models) > _LISTED_AT_MOST else ""
    return f"There is: {', '.join(names)}{more}."
