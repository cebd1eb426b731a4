"""The suites of chat, sessions and tools once more, as they stand, with their engine behind another copy's `/v1`."""

from __future__ import annotations

import re
import subprocess
import sys

import pytest

from tests.backends.conftest import ROOT
from tests.conftest import ELSEWHERE

CHAT = ["tests/test_client.py", "tests/web/test_chat_routes.py", "tests/web/test_openai.py"]
SESSIONS = ["tests/sessions", "tests/web/test_gradio_api.py"]
TOOLS = ["tests/tools", *(f"tests/web/test_tools_{doorway}.py" for doorway in ("http", "openai", "gradio"))]
# Those that are slow start processes of their own, which would not have their engine elsewhere. And in which database
# sessions are kept has nothing to do with where the engine is.
LEFT_OUT = ["-m", "not slow", "-k", "not postgresql"]
PYTEST = [sys.executable, "-m", "pytest", "-q", "-p", "no:cacheprovider", *LEFT_OUT, ELSEWHERE]
SECONDS = 500
MOST_SKIPPED = 0.1


@pytest.mark.slow
@pytest.mark.timeout(SECONDS + 30)
def test_the_suites_pass_with_their_engine_elsewhere() -> None:
    ran = subprocess.run(
        [*PYTEST, *CHAT, *SESSIONS, *TOOLS], cwd=ROOT, capture_output=True, text=True, timeout=SECONDS, check=False
    )

    assert ran.returncode == 0, ran.stdout[-8000:]
    counts = {what: int(count) for count, what in re.findall(r"(\d+) (passed|skipped)", ran.stdout.splitlines()[-1])}
    assert counts["passed"] > 0
    assert counts.get("skipped", 0) <= MOST_SKIPPED * counts["passed"], "a suite that skips itself says nothing"
