"""One app for all clients, as an operator starts it, and what each client's program says of itself."""

from __future__ import annotations

import json
import subprocess
import sys
from collections.abc import Callable, Iterator
from functools import cache
from pathlib import Path

import httpx
import pytest

from scripts.clients import NODE_FOLDER, REQUIREMENTS, environment_of, is_ready, python_of
from scripts.node import NO_NODE, NodeError, find_node, install_packages
from scripts.setup import ROOT
from tests.clients.conftest import process
from tests.environment import environment_without
from tests.missing import skip_unless_ci
from tests.waiting import free_port, wait_until

PATIENCE = 150.0
Results = dict[str, str | None]
Report = Callable[..., Results]  # of a program, with its arguments


@pytest.fixture(scope="session")
def url(tmp_path_factory: pytest.TempPathFactory) -> Iterator[str]:
    port = free_port()
    settings = {
        "GRADIO_SERVER_PORT": str(port),
        "LLM_DATA_DIR": str(tmp_path_factory.mktemp("app")),
        "LLM_PARALLEL": "2",
        "LLM_CONTEXT_TOKENS": "2048",
        "LLM_TEMPERATURE": "0",
        "LLM_RATE_LIMIT": "none",
    }
    with process([sys.executable, "app.py"], ROOT, "Chat: ", environment_without("LLM_", "GRADIO_") | settings):
        url = f"http://127.0.0.1:{port}"
        wait_until(lambda: httpx.get(f"{url}/api/llm/health").is_success, "the model is loaded", PATIENCE)
        yield url


@pytest.fixture(scope="session")
def report_of(url: str) -> Report:
    """Runs a client's program, once, and says what each of its cases failed with."""

    @cache
    def report_of(program: Path, *arguments: str) -> Results:
        command = [_node() if program.suffix == ".mjs" else _python(program), program.name, url, *arguments]
        ran = subprocess.run(
            command,
            cwd=program.parent,
            env=environment_without("LLM_", "OPENAI_", "ANTHROPIC_", "OLLAMA_"),
            capture_output=True,
            text=True,
            timeout=PATIENCE,
            check=False,
        )
        said = [line for line in ran.stdout.splitlines() if line.startswith("{")]
        assert said, ran.stdout + ran.stderr
        results: Results = json.loads(said[-1])
        return results

    return report_of


def _python(program: Path) -> str:
    """That of the environment which is named after the client, or of the one that most have."""
    client = program.stem.split("_")[0]
    own = [each for each in REQUIREMENTS if each.stem.endswith(f"-{client}")]
    (requirements, *_) = [*own, ROOT / "requirements-clients.txt"]
    if not is_ready(requirements):
        why = f"{environment_of(requirements).name} is not what {requirements.name} says: python -m scripts.clients"
        skip_unless_ci("the tests of other people's clients", why)
    return str(python_of(environment_of(requirements)))


def _node() -> str:
    try:
        if (node := find_node()) is None:
            raise NodeError(NO_NODE)
        install_packages(NODE_FOLDER)
    except NodeError as error:
        skip_unless_ci("the tests of other people's clients for Node", str(error))
    return node
