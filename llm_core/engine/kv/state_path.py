"""Where on disk a session's KV state is, for who has no engine at hand too."""

from __future__ import annotations

import hashlib
import logging
from pathlib import Path

log = logging.getLogger(__name__)

STATE_SUFFIX = ".kv"


def state_folder(data_dir: Path, model: str) -> Path:
    """A model's own folder: an engine has one to itself.

    Args:
        model: What it was asked for by, as in `LLM_MODEL`.
    """
    return data_dir / "kv" / hashlib.sha256(model.encode("utf-8", "surrogatepass")).hexdigest()[:16]


def state_path(folder: Path, owner: str, session: str) -> Path:
    """The one file of a session; what it is named after cannot be read from it."""
    key = f"{owner}\0{session}".encode("utf-8", "surrogatepass")
    return folder / (hashlib.sha256(key).hexdigest() + STATE_SUFFIX)


def remove_states_of(data_dir: Path, owner: str, session: str) -> None:
    """Removes a session's files, of whatever models there are some."""
    try:
        for folder in (data_dir / "kv").glob("*/"):
            state_path(folder, owner, session).unlink(missing_ok=True)
    except OSError as error:  # the session is gone all the same
        log.warning("the state of a deleted session could not be removed: %s", error)
