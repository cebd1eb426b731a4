"""Models from the Hugging Face Hub: find out which file is meant at which commit, and have it in the Hub's own cache.

What is cached is used as it is where the Hub cannot be reached, or where the commit and the file are named and nothing
can have changed.
"""

from __future__ import annotations

import logging
import shutil
from dataclasses import dataclass
from pathlib import Path

from huggingface_hub import HfApi, constants, get_hf_file_metadata, hf_hub_download, hf_hub_url

from llm_core.errors import ModelError
from llm_core.models.cache import MAIN_BRANCH, find_cached
from llm_core.models.choice import GgufSet, choose
from llm_core.models.damage import hash_of, is_damaged, remove
from llm_core.models.hub_errors import FAILURES, download_sentence, is_unreachable
from llm_core.models.progress import DownloadProgress, OnProgress
from llm_core.models.resume import Blob
from llm_core.models.source import HubModel, ResolvedModel
from llm_core.texts.told import size_text

log = logging.getLogger(__name__)

HUB_TIMEOUT_SECONDS = 10.0
ASK_SECONDS = 3.0  # for what can be done without


def fetch(source: HubModel, *, on_progress: OnProgress, bar: bool, mends: bool = False) -> ResolvedModel:
    """Downloads what is not here yet, and looks whether it has come as it is on the Hub.

    Args:
        source: What is wanted.
        on_progress: Called with 0 to 1 and a sentence while bytes come. What it raises ends the download.
        bar: Whether to draw a progress bar on stderr.
        mends: Whether what is here is read through too, and downloaded again where it is damaged.

    Raises:
        ModelError: It is not there, not allowed, not clear, or does not fit on the disk, or the Hub cannot be reached.
    """
    if not mends and source.is_pinned and source.file and not source.is_glob and (cached := find_cached(source)):
        return cached
    try:
        return _download(source, on_progress, bar, mends)
    except FAILURES as error:
        if is_unreachable(error) and (cached := find_cached(source)):
            log.warning("the Hub cannot be reached; %s is taken from the cache, at %s", source, cached.revision)
            return cached
        raise ModelError(download_sentence(error, source)) from error


def is_replaced(resolved: ResolvedModel) -> bool:
    """Whether the Hub has another file now where this one came from. No, where it cannot be asked."""
    source, pin = resolved.source, resolved.pin
    if not isinstance(source, HubModel) or source.is_pinned or pin is None or pin.file is None:
        return False
    url = hf_hub_url(source.repo, pin.file, revision=source.revision or MAIN_BRANCH)
    try:
        there = get_hf_file_metadata(url, timeout=ASK_SECONDS).etag
    except FAILURES:
        return False
    return there != hash_of(resolved.path) is not None


@dataclass(frozen=True, slots=True)
class _Part:
    """A file of the model that is meant.

    Attributes:
        size: Its bytes; 0 where it is here.
        blob: Where they come to be; None where it is here, or the library has to fetch it.
        damaged: Where it is here with other bytes than it should have.
    """

    file: str
    size: int
    blob: Blob | None
    damaged: Path | None


def _download(source: HubModel, on_progress: OnProgress, bar: bool, mends: bool) -> ResolvedModel:
    revision = source.revision or MAIN_BRANCH
    listing = HfApi().model_info(source.repo, revision=revision, timeout=HUB_TIMEOUT_SECONDS)
    chosen = choose(source, (sibling.rfilename for sibling in listing.siblings or ()))
    parts = [_look_at(source, file, revision, mends) for file in chosen.files]
    missing = sum(part.size for part in parts)
    if missing:
        _check_space(chosen, missing - sum(part.blob.done for part in parts if part.blob))
    paths: list[Path] = []
    with DownloadProgress(Path(chosen.name).name, missing, on_progress, bar=bar and missing > 0) as progress:
        bars = progress.bar_class()
        if missing:
            progress.report()
        for part in parts:
            # Asking by the branch's name makes the cache remember where the branch led, which is needed without a
            # network. The parts after the first are asked for by its commit: the branch may move meanwhile.
            at = revision if not paths else _commit_of(paths[0], chosen)
            if part.damaged:
                remove(part.damaged)
            if part.blob:
                part.blob.fetch(bars, progress.report_waiting)
            paths.append(Path(hf_hub_download(source.repo, part.file, revision=at, tqdm_class=bars)))
            if part.size and is_damaged(paths[-1]):
                remove(paths[-1])
                raise ModelError(f"{part.file} of {source.repo} arrived damaged, and was removed. Fetch it once more.")
    stated = listing.card_data.get("license") if listing.card_data else None
    return ResolvedModel(
        paths[0], source, _commit_of(paths[0], chosen), license=stated if isinstance(stated, str) else None
    )


def _look_at(source: HubModel, file: str, revision: str, mends: bool) -> _Part:
    plan = hf_hub_download(source.repo, file, revision=revision, dry_run=True)
    here = Path(plan.local_path)
    if mends and plan.is_cached and is_damaged(here):
        log.warning("%s of %s is damaged, and is fetched again", file, source.repo)
        return _Part(file, plan.file_size or 0, Blob.of(source.repo, file, revision), here)
    if plan.will_download:
        return _Part(file, plan.file_size or 0, Blob.of(source.repo, file, revision), None)
    return _Part(file, 0, None, None)


def _commit_of(first: Path, chosen: GgufSet) -> str:
    """The cache keeps a file at `snapshots/COMMIT/` and its path in the repository."""
    return first.parents[chosen.files[0].count("/")].name


def _check_space(chosen: GgufSet, wanted: int) -> None:
    cache = Path(constants.HF_HUB_CACHE).expanduser().absolute()
    disk = next(folder for folder in (cache, *cache.parents) if folder.exists())
    free = shutil.disk_usage(disk).free
    if wanted > free:
        raise ModelError(
            f"{chosen.name} needs {size_text(wanted)} and the disk of {cache} has {size_text(free)} left. "
            "Free some space, or set HF_HOME to a folder on a larger disk."
        )
