"""Files that a setting names, written in YAML."""

from __future__ import annotations

from pathlib import Path
from typing import Any

import yaml

from llm_core.errors import SettingsError

MAX_FILE_BYTES = 1_000_000


def read_yaml(path: Path, place: str, what: str) -> tuple[Any, yaml.Node | None]:
    """What a file says, and its tree, which has the lines.

    Args:
        path: The file.
        place: The setting and its value, for an error.
        what: Of which the file is a list.

    Raises:
        SettingsError: It cannot be read, or is no YAML.
    """
    try:
        if path.stat().st_size > MAX_FILE_BYTES:
            raise SettingsError(f"{place} cannot be used: it is larger than a list of {what}.")
        text = path.read_text(encoding="utf-8")
        return yaml.safe_load(text), yaml.compose(text, Loader=yaml.SafeLoader)
    except (OSError, UnicodeDecodeError, yaml.YAMLError) as error:
        raise SettingsError(f"{place} cannot be read: {error}.") from None
