"""The suites of chat, sessions and tools once more, as they stand, with their engine behind another copy's `/v1`."""

from __future__ import annotations

import re
import subprocess
import sys

import pytest

from tests.backends.conftest import ROOT
from tests.conftest import ELSEWHERE

SUITES = {
    "chat": ["tests/test_client.py", "tests/http/native/test_chat.py", "tests/http/openai_chat/test_routes.py"],
    "sessions": ["tests/sessions", "tests/gradio_api/test_endpoints.py"],
    "tools": [
        "tests/tools",
        "tests/http/test_tools_http.py",
        "tests/http/openai_chat/test_tools.py",
        "tests/gradio_api/test_tools.py",
    ],
}
SUITE_SECONDS = 570
MOST_SKIPPED = 0.1


@pytest.mark.slow
@pytest.mark.timeout(SUITE_SECONDS + 30)
@pytest.mark.parametrize("suite", SUITES)
def test_a_suite_passes_with_its_engine_elsewhere(suite: str) -> None:
    # Those that are slow start processes of their own, which would not have their engine elsewhere.
    command = [
        sys.executable,
        "-m",
        "pytest",
        "-q",
        "-p",
        "no:cacheprovider",
        "-m",
        "not slow",
        ELSEWHERE,
        *SUITES[suite],
    ]
    ran = subprocess.run(command, cwd=ROOT, capture_output=True, text=True, timeout=SUITE_SECONDS, check=False)

    assert ran.returncode == 0, ran.stdout[-8000:]
    counts = {what: int(count) for count, what in re.findall(r"(\d+) (passed|skipped)", ran.stdout.splitlines()[-1])}
    assert counts["passed"] > 0
    assert counts.get("skipped", 0) <= MOST_SKIPPED * counts["passed"], "a suite that skips itself says nothing"
