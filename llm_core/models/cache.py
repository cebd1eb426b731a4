"""What huggingface_hub's cache folder holds of models in GGUF format. Reads it and never writes."""

from __future__ import annotations

from dataclasses import dataclass
from pathlib import Path

from huggingface_hub import CacheNotFound, constants, scan_cache_dir

from llm_core.errors import ModelError
from llm_core.models.choice import choose, models_in
from llm_core.models.source import HubModel, ResolvedModel

MAIN_BRANCH = "main"


@dataclass(frozen=True, slots=True)
class CachedRevision:
    """The GGUF files of one commit of a repository that are on this machine.

    Attributes:
        repo: `OWNER/REPO`.
        commit: The commit's hash.
        names: Branches and tags that led to this commit when the Hub was last asked.
        files: Path in the repository to path on this machine.
    """

    repo: str
    commit: str
    names: frozenset[str]
    files: dict[str, Path]


def cached_revisions() -> list[CachedRevision]:
    """Everything in the cache that has a GGUF file, sorted by repository."""
    try:
        cache = scan_cache_dir(constants.HF_HUB_CACHE)
    except CacheNotFound:
        return []
    found = [
        CachedRevision(repo.repo_id, revision.commit_hash, revision.refs, files)
        for repo in cache.repos
        for revision in repo.revisions
        if repo.repo_type == "model"
        and (
            files := {
                file.file_path.relative_to(revision.snapshot_path).as_posix(): file.file_path
                for file in revision.files
                if file.file_name.endswith(".gguf")
            }
        )
    ]
    return sorted(found, key=lambda revision: (revision.repo, revision.commit))


def find_cached(source: HubModel) -> ResolvedModel | None:
    """What `source` means among the cached files; None where that is nothing, or not clear."""
    wanted = source.revision or MAIN_BRANCH
    for revision in cached_revisions():
        if revision.repo == source.repo and (revision.commit == wanted or wanted in revision.names):
            try:
                chosen = choose(source, revision.files)
            except ModelError:
                return None
            return ResolvedModel(revision.files[chosen.files[0]], source, revision.commit)
    return None


def cached_models() -> list[ResolvedModel]:
    """Every whole model in the cache, each with the shortest source that means it."""
    return [
        ResolvedModel(revision.files[model.files[0]], _shortest(revision, model.files[0]), revision.commit)
        for revision in cached_revisions()
        for model in models_in(revision.files)
        if revision.files.keys() >= set(model.files)
    ]


def _shortest(revision: CachedRevision, file: str) -> HubModel:
    if MAIN_BRANCH in revision.names:
        return HubModel(revision.repo, file)
    return HubModel(revision.repo, file, min(revision.names, default=revision.commit))
