"""The project's first description of streaming, its examples word for word: the callers that were there before us.

TypeScript's is `clients/typescript/test/reference/snippet.ts`, which runs with its client's tests.
"""

from __future__ import annotations

import json
import shutil
import subprocess
import sys
import textwrap
from collections.abc import Callable
from pathlib import Path
from typing import Any

import httpx
import pytest

import llm_core.client
from llm_core.client import LLMClient
from tests.missing import skip_unless_ci

CURL = """\
curl -N -H "Authorization: Bearer TOKEN" \\
  -H "Content-Type: application/json" \\
  -X POST http://localhost:7860/api/llm/chat/stream \\
  -d '{"messages": [{"role": "user", "content": "Hi"}]}'
"""

SCRIPT = """\
# Use generate_stream() instead of generate()
for chunk in client.generate_stream(messages):
    print(chunk, end='', flush=True)
"""

WEB_BACKEND = """\
from app.services.llm_client import get_llm_client

llm_client = get_llm_client()
for chunk in llm_client.generate_stream(messages):
    yield f"data: {json.dumps({'content': chunk})}\\n\\n"
"""

# Of a project with a web backend of its own: what its app/services/llm_client.py holds.
SERVICE = "from llm_core import get_llm_client\n"

STATELESS = """\
{
  "messages": [{"role": "user", "content": "Hello"}],
  "temperature": 0.7,
  "max_tokens": 512
}
"""

SESSION = """\
{
  "session_id": "my-session-123",
  "message": "Tell me a story",
  "temperature": 0.8
}
"""

MESSAGES = [{"role": "user", "content": "Hello"}]
SECONDS = 120


SETTINGS: dict[str, Any] = {
    "max_tokens": 40,
    "api_tokens": "TOKEN",
    "temperature": 0.7,
}


@pytest.fixture
def run_curl(url: str, tmp_path: Path) -> Callable[[str], str]:
    """Runs a line as it stands. curl's own settings lead port 7860, which may be taken here, to the test's server."""
    if not shutil.which("curl"):
        skip_unless_ci("curl", "there is no curl on this machine")
    (tmp_path / ".curlrc").write_text(
        f'silent\nshow-error\nconnect-to = "localhost:7860:127.0.0.1:{httpx.URL(url).port}"\n'
    )

    def run(line: str) -> str:
        ran = subprocess.run(
            ["sh", "-ec", line], env={"CURL_HOME": str(tmp_path)}, capture_output=True, text=True, timeout=SECONDS
        )
        assert ran.returncode == 0, ran.stderr
        return ran.stdout

    return run


def data_of(stream: str) -> list[dict[str, Any]]:
    return [json.loads(line.removeprefix("data: ")) for line in stream.splitlines() if line.startswith("data: ")]


def test_curl(run_curl: Callable[[str], str]) -> None:
    first, *pieces, last = data_of(run_curl(CURL))

    assert "stream_id" in first
    assert len(pieces) > 1
    assert all(list(piece) == ["content"] for piece in pieces)
    assert last["done"] is True


def test_curl_with_another_token_is_refused(run_curl: Callable[[str], str]) -> None:
    assert json.loads(run_curl(CURL.replace("TOKEN", "another")))["error"]["code"] == "unauthorized"


@pytest.mark.parametrize(("path", "body"), [("chat/stream", STATELESS), ("chat/session/stream", SESSION)])
def test_the_requests_and_events_of_the_endpoints(url: str, path: str, body: str) -> None:
    headers = {"Content-Type": "application/json", "Authorization": "Bearer TOKEN"}
    answer = httpx.post(f"{url}api/llm/{path}", content=body, headers=headers, timeout=SECONDS)

    assert answer.headers["content-type"].startswith("text/event-stream")
    _, *pieces, last = data_of(answer.text)
    assert "".join(piece["content"] for piece in pieces).strip()
    assert last["done"] is True
    if "session" in path:
        assert {event["session_id"] for event in data_of(answer.text)} == {"my-session-123"}


def test_a_script_of_python(client: LLMClient, capsys: pytest.CaptureFixture[str]) -> None:
    exec(SCRIPT, {"client": client, "messages": MESSAGES})

    assert capsys.readouterr().out.strip()


def test_a_web_backend_of_python(client: LLMClient, tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    service = tmp_path / "app" / "services" / "llm_client.py"
    service.parent.mkdir(parents=True)
    for package in (service.parent.parent, service.parent):
        (package / "__init__.py").touch()
    service.write_text(SERVICE)
    monkeypatch.syspath_prepend(tmp_path)
    for name in ("app", "app.services", "app.services.llm_client"):
        monkeypatch.delitem(sys.modules, name, raising=False)
    monkeypatch.setattr(llm_core.client, "_client", client)
    names: dict[str, Any] = {"json": json}
    exec("def events(messages):\n" + textwrap.indent(WEB_BACKEND, "    "), names)

    pieces = data_of("".join(names["events"](MESSAGES)))

    assert len(pieces) > 1
    assert "".join(piece["content"] for piece in pieces).strip()
