"""Clients whose default is OpenAI's responses, with those in place of chat completions."""

from __future__ import annotations

from pathlib import Path

import pytest

from .conftest import Report
from .test_real_clients import CASES, FOLDER, PROGRAMS

BOTH = [each for each in PROGRAMS if "RESPONSES" in each.read_text()]


@pytest.mark.slow
@pytest.mark.parametrize("case", CASES)
@pytest.mark.parametrize("program", BOTH, ids=[str(each.relative_to(FOLDER)) for each in BOTH])
def test_a_client_does_the_same_by_its_default(program: Path, case: str, url: str, report_of: Report) -> None:
    failed = report_of(program, "responses")[case]

    assert failed is None, failed
