"""What is done where a program that tests need is not on the machine."""

from __future__ import annotations

from typing import NoReturn

import pytest

from scripts.system_packages import in_ci


def skip_unless_ci(what: str, why: str) -> NoReturn:
    """Skips what needs it, and says why; in CI, where nobody would see that, it fails.

    Args:
        what: The tests that need it, as in "CI must run ...".
        why: What is missing, a sentence.
    """
    if in_ci():
        pytest.fail(f"CI must run {what}, but {why}")
    pytest.skip(why)
