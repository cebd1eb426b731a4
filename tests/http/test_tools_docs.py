"""The examples of docs/function-calling.md that need a server run as they stand, on a server of the test's own.

Those in Python alone run with the other pages' (`tests/test_project.py`), TypeScript with its client's tests.
"""

from __future__ import annotations

import json
import re
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import httpx
import pytest

from tests.served import loaded_client, served

PAGE = (Path(__file__).resolve().parents[2] / "docs" / "function-calling.md").read_text()
SHOWN_URL = "http://localhost:7860"
DEFINITIONS = re.findall(r"^```python\n(.*?)^```", PAGE, re.MULTILINE | re.DOTALL)[0]
PYTHON = re.findall(r"^```py\n(.*?)^```", PAGE, re.MULTILINE | re.DOTALL)
CURL = re.compile(rf"^curl [^\n]*{SHOWN_URL}(\S+) [^\n]*-d '(.*?)'$", re.MULTILINE | re.DOTALL)


@pytest.fixture(scope="module")
def url(tmp_path_factory: pytest.TempPathFactory) -> Iterator[str]:
    with loaded_client(tmp_path_factory.mktemp("data")) as client, served(client) as url:
        yield url.rstrip("/")


def test_the_python_for_other_packages_runs_from_top_to_bottom(url: str, capsys: pytest.CaptureFixture[str]) -> None:
    names: dict[str, Any] = {}
    for block in (DEFINITIONS, *PYTHON):
        # This file's `from __future__ import annotations` is not theirs.
        exec(compile(block.replace(SHOWN_URL, url), "function-calling.md", "exec", dont_inherit=True), names)

    said = capsys.readouterr().out
    assert "city='" in said, "a pydantic model"
    assert "get_weather" in said, "a call in Gradio's endpoint"


def test_the_requests_for_curl_are_taken_and_answered(url: str) -> None:
    requests = CURL.findall(PAGE)
    call_id = "call_..."
    answers = []
    for path, body in requests:
        answer = httpx.post(f"{url}{path}", json=json.loads(body.replace("call_...", call_id)), timeout=60)
        assert answer.status_code == 200, answer.text
        answers.append(answer)
        if answer.headers["content-type"] == "application/json":
            call_id = next((call["id"] for call in answer.json().get("tool_calls", [])), call_id)

    stream, calling, answered = answers
    assert '"finish_reason":"tool_calls"' in stream.text
    assert calling.json()["finish_reason"] == "tool_calls"
    assert answered.json()["content"]
