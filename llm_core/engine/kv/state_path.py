"""Where on disk a session's KV state is, for who has no engine at hand too."""

from __future__ import annotations

import hashlib
import logging
from pathlib import Path

log = logging.getLogger(__name__)

STATE_SUFFIX = ".kv"


def state_folder(data_dir: Path) -> Path:
    return data_dir / "kv"


def state_path(folder: Path, owner: str, session: str) -> Path:
    """The one file of a session; what it is named after cannot be read from it."""
    key = f"{owner}\0{session}".encode("utf-8", "surrogatepass")
    return folder / (hashlib.sha256(key).hexdigest() + STATE_SUFFIX)


def remove_state(data_dir: Path, owner: str, session: str) -> None:
    """Removes a session's file, where there is one."""
    try:
        state_path(state_folder(data_dir), owner, session).unlink(missing_ok=True)
    except OSError as error:  # the session is gone all the same
        log.warning("the state of a deleted session could not be removed: %s", error)
