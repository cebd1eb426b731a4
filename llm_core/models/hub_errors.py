"""What can go wrong with the Hub, in sentences that say what to do."""

from __future__ import annotations

import errno

import httpx2
from huggingface_hub import constants
from huggingface_hub.errors import (
    EntryNotFoundError,
    GatedRepoError,
    HfHubHTTPError,
    LocalEntryNotFoundError,
    OfflineModeIsEnabled,
    RepositoryNotFoundError,
    RevisionNotFoundError,
)

from llm_core.models.cache import MAIN_BRANCH
from llm_core.models.source import HubModel

# All that a download raises: what the Hub answers, what the network and the disk do, and hf_xet's plain RuntimeErrors.
FAILURES = (httpx2.HTTPError, EntryNotFoundError, OSError, RuntimeError, ValueError)

_STATUS_SENTENCES = {
    401: "The Hub wants a token that it knows for {what}. Set HF_TOKEN to one of your account, or unset a wrong one.",
    403: "The Hub does not let the account of HF_TOKEN read {what}. Use a token that may.",
    429: "The Hub is asked too often from this address. Wait a few minutes; with HF_TOKEN set, more is allowed.",
}


def is_unreachable(error: Exception) -> bool:
    """Whether no answer came from the Hub, or one that says that it is down."""
    if isinstance(error, HfHubHTTPError):
        return error.response.status_code >= 500
    return isinstance(error, httpx2.TransportError | OfflineModeIsEnabled | LocalEntryNotFoundError)


def download_sentence(error: Exception, source: HubModel) -> str:
    """Why `source` could not be fetched."""
    match error:
        case LocalEntryNotFoundError(__cause__=HfHubHTTPError() as answer):
            return download_sentence(answer, source)
        case _ if is_unreachable(error):
            return (
                f"{_not_reached(error)}, and {source} is not in the cache on this machine. Check the network, or set "
                "LLM_MODEL to a file or to bundled."
            )
        case EntryNotFoundError():
            return f"{source.repo} has no file {source.file} at {source.revision or MAIN_BRANCH}."
        case HfHubHTTPError():
            return _answer_sentence(error, source.repo, source.revision)
        case _ if getattr(error, "errno", None) == errno.ENOSPC or "No space left" in str(error):
            return f"The disk of {constants.HF_HUB_CACHE} is full. Free some space, or set HF_HOME to a larger disk."
        case _:
            return f"{source} could not be downloaded: {_reason(error)}."


def listing_sentence(error: Exception, repo: str | None = None, revision: str | None = None) -> str:
    """Why the Hub could not be searched, or `repo` not be listed."""
    if is_unreachable(error):
        return (
            f"{_not_reached(error)}. Check the network. Models that are on this machine can still be used: "
            "python -m llm_core model list"
        )
    if isinstance(error, HfHubHTTPError):
        return _answer_sentence(error, repo, revision)
    return f"{repo or 'The Hub'} could not be listed: {_reason(error)}."


def _answer_sentence(error: HfHubHTTPError, repo: str | None, revision: str | None) -> str:
    """What the Hub said of a repository, or of a search."""
    match error:
        case GatedRepoError():
            return (
                f"{repo} is gated: accept its licence at {constants.ENDPOINT}/{repo} and set HF_TOKEN to a token of "
                "the account that did."
            )
        case RevisionNotFoundError():
            return f"{repo} has no branch, tag or commit {revision or MAIN_BRANCH}."
        case RepositoryNotFoundError() if repo:
            return f"There is no repository {repo} on the Hub, or it is private and HF_TOKEN does not open it."
    status = error.response.status_code
    sentence = _STATUS_SENTENCES.get(status, "The Hub answered {status} when asked for {what}.")
    return sentence.format(what=repo or "a search", status=status)


def _not_reached(error: Exception) -> str:
    return f"The Hub cannot be reached at {constants.ENDPOINT} ({_reason(error)})"


def _reason(error: Exception) -> str:
    """The root of an error in one line."""
    root: BaseException = error
    while root.__cause__ is not None:
        root = root.__cause__
    lines = str(root).strip().splitlines()
    return lines[0].rstrip(".") if lines else type(root).__name__
