"""Packages that only a part of the callers need: what to do where one is not installed."""

from __future__ import annotations

from collections.abc import Iterator
from contextlib import contextmanager

from llm_core.errors import SettingsError


@contextmanager
def needs(extra: str, what: str) -> Iterator[None]:
    """Around imports of packages of an extra of pyproject.toml.

    Args:
        extra: Its name.
        what: What cannot be done without, as the subject of a sentence.

    Raises:
        SettingsError: One of them is not installed; says how to.
    """
    try:
        yield
    except ModuleNotFoundError as error:
        missing = (error.name or "").split(".")[0]
        if missing == "llm_core":
            raise
        raise SettingsError(
            f"{what} needs the Python package {missing}, which is not installed here. Install llm-core with its extra "
            f"{extra}, in a clone with: pip install '.[{extra}]'"
        ) from None
