"""What the Hub knows of a Space, read in one go, and what the Hub's refusals mean."""

from __future__ import annotations

import hashlib
from collections.abc import Iterator, Mapping
from contextlib import contextmanager
from dataclasses import dataclass

import httpx2
from huggingface_hub import HfApi
from huggingface_hub.errors import HfHubHTTPError, LocalTokenNotFoundError, RepositoryNotFoundError

from llm_core.errors import SpaceError
from llm_core.space import volumes
from llm_core.terminal import printable

SPACE = "space"
HUB_SECONDS = 30.0
SERVER_FAULT = 500

_MEANINGS = {
    401: "The Hub does not know this token. Log in anew with `hf auth login`, or correct HF_TOKEN.",
    402: "The Hub wants to be paid for this: a subscription for cpu-basic, credits for other hardware.",
    403: "The token may not do this. Use one with write access to {repo}.",
    409: "{repo} exists and this token may not see it, or something else is being done to it right now.",
    412: "{repo} was changed by somebody else meanwhile. Look at it, then deploy again.",
    429: "The Hub is asked too often from this address. Wait a few minutes.",
}


@dataclass(frozen=True, slots=True)
class RemoteSpace:
    """A Space as it is.

    Attributes:
        commit: The commit that its main branch is at.
        files: Path to what identifies the content: git's id of a blob, or the SHA-256 of a large file.
        variables: Name to value.
        secrets: Names.
        hardware: The machine that it was last asked to run on; None where it has none yet.
        volumes: What is mounted, as `volumes.shown` writes it.
    """

    commit: str
    files: Mapping[str, str]
    variables: Mapping[str, str]
    secrets: frozenset[str]
    hardware: str | None
    volumes: tuple[str, ...]


def sign_in(api: HfApi) -> str:
    """The name that the token belongs to.

    Raises:
        SpaceError: There is no token, or not a good one.
    """
    with explained("ask who you are", repo="your Spaces"):
        try:
            return str(api.whoami()["name"])
        except LocalTokenNotFoundError:
            raise SpaceError("You are not logged in to the Hub. Run `hf auth login`, or set HF_TOKEN.") from None


def read(api: HfApi, repo: str) -> RemoteSpace | None:
    """A Space as it is; None where there is none, or none that the token may see.

    Raises:
        SpaceError: The Hub cannot be asked, or does not let this token change the Space.
    """
    with explained(f"read {repo}", repo):
        try:
            info = api.space_info(repo, files_metadata=True, timeout=HUB_SECONDS)
        except RepositoryNotFoundError:
            return None
        # Only those who may write are told these, so that a token that may not is found out before anything is done.
        variables = api.get_space_variables(repo)
        secrets = api.get_space_secrets(repo)
        runtime = api.get_space_runtime(repo)
    siblings = info.siblings or []
    return RemoteSpace(
        commit=str(info.sha),
        files={file.rfilename: file.lfs.sha256 if file.lfs else str(file.blob_id) for file in siblings},
        variables={name: variable.value for name, variable in variables.items()},
        secrets=frozenset(secrets),
        hardware=runtime.requested_hardware or runtime.hardware,
        volumes=tuple(sorted(map(volumes.shown, runtime.volumes or []))),
    )


def is_same(content: bytes, identity: str | None) -> bool:
    """Whether a file of a Space has this content."""
    # Git's own way of naming a blob, and git-lfs's.
    blob = hashlib.sha1(b"blob %d\0" % len(content) + content, usedforsecurity=False).hexdigest()
    return identity in (blob, hashlib.sha256(content).hexdigest())


@contextmanager
def explained(doing: str, repo: str) -> Iterator[None]:
    """Turns what huggingface_hub raises into a sentence that says what could not be done, and why.

    Raises:
        SpaceError: In place of whatever came.
    """
    try:
        yield
    except HfHubHTTPError as error:
        raise SpaceError(_refusal(error, doing, repo)) from error
    except httpx2.HTTPError as error:
        raise SpaceError(f"Could not {doing}: the Hub cannot be reached ({error or type(error).__name__}).") from error
    except (OSError, ValueError) as error:  # a README's front matter that the Hub refuses is a ValueError
        raise SpaceError(f"Could not {doing}: {printable(str(error)).strip()}") from error


def status_of(error: SpaceError) -> int | None:
    """The status that the Hub refused with; None where no answer came."""
    cause = error.__cause__
    return cause.response.status_code if isinstance(cause, HfHubHTTPError) else None


def _refusal(error: HfHubHTTPError, doing: str, repo: str) -> str:
    status = error.response.status_code
    said = printable(error.server_message or "").strip().rstrip(".")
    meaning = _MEANINGS.get(status, "")
    if status >= SERVER_FAULT:
        meaning = "The Hub has a fault of its own. Try again later."
    parts = [f"Could not {doing}: the Hub answered {status}{f' ({said})' if said else ''}.", meaning.format(repo=repo)]
    return " ".join(filter(None, parts))
