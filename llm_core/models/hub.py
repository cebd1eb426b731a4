"""Models from the Hugging Face Hub: find out which file is meant at which commit, and have it in the Hub's own cache.

What is cached is used as it is where the Hub cannot be reached, or where the commit and the file are named and nothing
can have changed.
"""

from __future__ import annotations

import errno
import logging
import shutil
from dataclasses import dataclass
from pathlib import Path

import httpx2
from huggingface_hub import HfApi, constants, get_hf_file_metadata, hf_hub_download, hf_hub_url
from huggingface_hub.errors import (
    EntryNotFoundError,
    GatedRepoError,
    HfHubHTTPError,
    LocalEntryNotFoundError,
    OfflineModeIsEnabled,
    RepositoryNotFoundError,
    RevisionNotFoundError,
)

from llm_core.errors import ModelError
from llm_core.models.cache import MAIN_BRANCH, find_cached
from llm_core.models.choice import GgufSet, choose
from llm_core.models.damage import hash_of, is_damaged, remove
from llm_core.models.progress import DownloadProgress, OnProgress, size_text
from llm_core.models.source import HubModel, ResolvedModel

log = logging.getLogger(__name__)

HUB_TIMEOUT_SECONDS = 10.0
ASK_SECONDS = 3.0  # for what can be done without

# All that a download raises: what the Hub answers, what the network and the disk do, and hf_xet's plain RuntimeErrors.
_FAILURES = (httpx2.HTTPError, EntryNotFoundError, OSError, RuntimeError, ValueError)

_STATUS_SENTENCES = {
    401: "The Hub wants a token that it knows for {repo}. Set HF_TOKEN to one of your account, or unset a wrong one.",
    403: "The Hub does not let the account of HF_TOKEN read {repo}. Use a token that may.",
    429: "The Hub is asked too often from this address. Wait a few minutes; with HF_TOKEN set, more is allowed.",
}


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
    except _FAILURES as error:
        if _is_unreachable(error) and (cached := find_cached(source)):
            log.warning("the Hub cannot be reached; %s is taken from the cache, at %s", source, cached.revision)
            return cached
        raise ModelError(_sentence(error, source)) from error


def is_replaced(resolved: ResolvedModel) -> bool:
    """Whether the Hub has another file now where this one came from. No, where it cannot be asked."""
    source, pin = resolved.source, resolved.pin
    if not isinstance(source, HubModel) or source.is_pinned or pin is None or pin.file is None:
        return False
    url = hf_hub_url(source.repo, pin.file, revision=source.revision or MAIN_BRANCH)
    try:
        there = get_hf_file_metadata(url, timeout=ASK_SECONDS).etag
    except _FAILURES:
        return False
    return there != hash_of(resolved.path) is not None


@dataclass(frozen=True, slots=True)
class _Part:
    """A file of the model that is meant.

    Attributes:
        size: Bytes that have to come; 0 where it is here.
        is_damaged: Whether it is here with other bytes than it should have.
    """

    file: str
    size: int
    is_damaged: bool


def _download(source: HubModel, on_progress: OnProgress, bar: bool, mends: bool) -> ResolvedModel:
    revision = source.revision or MAIN_BRANCH
    listing = HfApi().model_info(source.repo, revision=revision, timeout=HUB_TIMEOUT_SECONDS)
    chosen = choose(source, (sibling.rfilename for sibling in listing.siblings or ()))
    parts = [_look_at(source, file, revision, mends) for file in chosen.files]
    missing = sum(part.size for part in parts)
    if missing:
        _check_space(chosen, missing)
    paths: list[Path] = []
    with DownloadProgress(Path(chosen.name).name, missing, on_progress, bar=bar and missing > 0) as progress:
        bars = progress.bar_class()
        if missing:
            progress.report()
        for part in parts:
            # Asking by the branch's name makes the cache remember where the branch led, which is needed without a
            # network. The parts after the first are asked for by its commit: the branch may move meanwhile.
            at = revision if not paths else _commit_of(paths[0], chosen)
            path = hf_hub_download(source.repo, part.file, revision=at, tqdm_class=bars, force_download=part.is_damaged)
            paths.append(Path(path))
            if part.size and is_damaged(paths[-1]):
                remove(paths[-1])
                raise ModelError(f"{part.file} of {source.repo} arrived damaged, and was removed. Fetch it once more.")
    stated = listing.card_data.get("license") if listing.card_data else None
    return ResolvedModel(
        paths[0], source, _commit_of(paths[0], chosen), license=stated if isinstance(stated, str) else None
    )


def _look_at(source: HubModel, file: str, revision: str, mends: bool) -> _Part:
    plan = hf_hub_download(source.repo, file, revision=revision, dry_run=True)
    damaged = mends and plan.is_cached and is_damaged(Path(plan.local_path))
    if damaged:
        log.warning("%s of %s is damaged, and is fetched again", file, source.repo)
    return _Part(file, (plan.file_size or 0) if plan.will_download or damaged else 0, damaged)


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


def _is_unreachable(error: Exception) -> bool:
    """Whether no answer came from the Hub, or one that says that it is down."""
    if isinstance(error, HfHubHTTPError):
        return error.response.status_code >= 500
    return isinstance(error, httpx2.TransportError | OfflineModeIsEnabled | LocalEntryNotFoundError)


def _sentence(error: Exception, source: HubModel) -> str:
    repo, revision = source.repo, source.revision or MAIN_BRANCH
    match error:
        case LocalEntryNotFoundError(__cause__=HfHubHTTPError() as answer):
            return _sentence(answer, source)
        case _ if _is_unreachable(error):
            return (
                f"The Hub cannot be reached at {constants.ENDPOINT} ({_reason(error)}), and {source} is not in the "
                "cache on this machine. Check the network, or set LLM_MODEL to a file or to bundled."
            )
        case GatedRepoError():
            return (
                f"{repo} is gated: accept its licence at {constants.ENDPOINT}/{repo} and set HF_TOKEN to a token of "
                "the account that did."
            )
        case RevisionNotFoundError():
            return f"{repo} has no branch, tag or commit {revision}."
        case RepositoryNotFoundError():
            return f"There is no repository {repo} on the Hub, or it is private and HF_TOKEN does not open it."
        case EntryNotFoundError():
            return f"{repo} has no file {source.file} at {revision}."
        case HfHubHTTPError(response=response):
            sentence = _STATUS_SENTENCES.get(response.status_code, "The Hub answered {status} when asked for {repo}.")
            return sentence.format(repo=repo, status=response.status_code)
        case _ if getattr(error, "errno", None) == errno.ENOSPC or "No space left" in str(error):
            return f"The disk of {constants.HF_HUB_CACHE} is full. Free some space, or set HF_HOME to a larger disk."
        case _:
            return f"{source} could not be downloaded: {_reason(error)}."


def _reason(error: Exception) -> str:
    """The root of an error in one line."""
    root: BaseException = error
    while root.__cause__ is not None:
        root = root.__cause__
    lines = str(root).strip().splitlines()
    return lines[0].rstrip(".") if lines else type(root).__name__
