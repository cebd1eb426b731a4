"""Finding models on the Hub: repositories with GGUF files, and what one of them has."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass
from typing import Any, Literal

from huggingface_hub import HfApi, constants, get_session, hf_raise_for_status
from huggingface_hub.utils import build_hf_headers  # type: ignore[attr-defined]  # public, but exported without a mark

from llm_core.errors import HubError, InvalidRequest
from llm_core.models.cache import MAIN_BRANCH
from llm_core.models.choice import models_in
from llm_core.models.hub_errors import FAILURES, listing_sentence
from llm_core.models.quantization import quantization_in
from llm_core.models.source import HubModel

SEARCH_SECONDS = 10.0
MAX_QUERY_CHARS = 200
MAX_FOUND = 100

Order = Literal["downloads", "likes", "trending", "updated"]
# The Hub's own names. It sorts downwards.
_ORDERS: dict[Order, str] = {
    "downloads": "downloads",
    "likes": "likes",
    "trending": "trendingScore",
    "updated": "lastModified",
}
_LICENSE_TAG = "license:"


@dataclass(frozen=True, slots=True)
class FoundRepo:
    """A repository of the Hub with models in GGUF format. Its texts are its owner's.

    Attributes:
        repo: `OWNER/REPO`.
        downloads: Of the last 30 days.
        likes: How many accounts like it.
        license: Such as `apache-2.0`; None where it says nothing.
        gated: Whether its licence has to be accepted on its page first.
    """

    repo: str
    downloads: int
    likes: int
    license: str | None
    gated: bool


@dataclass(frozen=True, slots=True)
class FoundModel:
    """A model of one repository, of one file or several parts.

    Attributes:
        source: What `LLM_MODEL` and `model pull` call it.
        file: Its path in the repository, without the numbers of a part.
        size_bytes: Of all its files; None where the Hub does not say.
        quantization: As its name tells, such as `Q4_K_M`; None where it tells nothing.
    """

    source: HubModel
    file: str
    size_bytes: int | None
    quantization: str | None


def search_hub(query: str = "", *, order: Order = "downloads", limit: int = 20) -> list[FoundRepo]:
    """Repositories with models in GGUF format.

    Args:
        query: Words that a repository's name should have; empty for any.
        order: What comes first: the most of these.
        limit: How many, from 1 to 100.

    Raises:
        InvalidRequest: The query is too long, or the limit out of range.
        HubError: The Hub cannot be reached or does not answer; the message says so.
    """
    if len(query) > MAX_QUERY_CHARS:
        raise InvalidRequest(f"A search has at most {MAX_QUERY_CHARS} characters.", param="query")
    if not 1 <= limit <= MAX_FOUND:
        raise InvalidRequest(f"limit must be from 1 to {MAX_FOUND}.", param="limit")
    wanted: dict[str, str | int | list[str]] = {
        "filter": "gguf",
        "search": query.strip(),
        "sort": _ORDERS[order],
        "limit": limit,
        "expand": ["downloads", "likes", "gated", "tags"],
    }
    try:
        # Not HfApi.list_models: it waits without end, and asks five times more.
        answer = get_session().get(
            f"{constants.ENDPOINT}/api/models", params=wanted, headers=build_hf_headers(), timeout=SEARCH_SECONDS
        )
        hf_raise_for_status(answer)
        return [_found(row) for row in _rows(answer.json())[:limit]]
    except FAILURES as error:
        raise HubError(listing_sentence(error)) from error


def models_of(repo: str, revision: str | None = None) -> list[FoundModel]:
    """The whole models of a repository, the smallest first.

    Args:
        repo: `OWNER/REPO`, as `parse_source` has checked it.
        revision: Branch, tag or commit; None is the main branch.

    Raises:
        HubError: There is no such repository or revision, or the Hub cannot be reached; the message says which.
    """
    try:
        listing = HfApi().model_info(
            repo, revision=revision or MAIN_BRANCH, files_metadata=True, timeout=SEARCH_SECONDS
        )
    except FAILURES as error:
        raise HubError(listing_sentence(error, repo, revision)) from error
    sizes = {sibling.rfilename: sibling.size for sibling in listing.siblings or ()}
    found = [
        FoundModel(
            source=HubModel(repo, model.files[0], revision),
            file=model.name,
            size_bytes=_sum([sizes[file] for file in model.files]),
            quantization=quantization_in(model.name),
        )
        for model in models_in(sizes)
        if sizes.keys() >= set(model.files)
    ]
    return sorted(found, key=lambda model: (model.size_bytes or 0, model.file))


def _sum(sizes: list[int | None]) -> int | None:
    known = [size for size in sizes if size is not None]
    return sum(known) if len(known) == len(sizes) else None


def _rows(answer: object) -> list[Mapping[str, Any]]:
    if not isinstance(answer, list):
        raise ValueError("it sent no list")
    return [row for row in answer if isinstance(row, dict) and "id" in row]


def _found(row: Mapping[str, Any]) -> FoundRepo:
    tags = [tag for tag in row.get("tags") or () if isinstance(tag, str)]
    return FoundRepo(
        repo=str(row["id"]),
        downloads=int(row.get("downloads") or 0),
        likes=int(row.get("likes") or 0),
        license=next((tag.removeprefix(_LICENSE_TAG) for tag in tags if tag.startswith(_LICENSE_TAG)), None),
        gated=bool(row.get("gated")),
    )
