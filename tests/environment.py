"""What programs that tests start get of the environment."""

from __future__ import annotations

import os

_SET_FOR_TESTS = frozenset({"LLM_DATA_DIR", "LLM_DRAFT", "LLM_PREPARE", "LLM_SELF_CHECK"})


def environment_without(*prefixes: str) -> dict[str, str]:
    """Without the variables that begin so, but for those that `conftest` sets for all tests."""
    return {
        name: value for name, value in os.environ.items() if name in _SET_FOR_TESTS or not name.startswith(prefixes)
    }
