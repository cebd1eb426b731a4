"""The app as a process, Node with the client's packages, and a browser for the client's example page."""

from __future__ import annotations

import os
import subprocess
import sys
import threading
from collections.abc import Iterator
from contextlib import contextmanager
from dataclasses import dataclass
from pathlib import Path
from typing import IO

import httpx
import pytest

from scripts.node import CLIENT, NO_NODE, NodeError, find_node, install_packages, with_node
from tests.environment import environment_without
from tests.missing import skip_unless_ci
from tests.waiting import free_port, wait_until

ROOT = Path(__file__).resolve().parents[2]
PATIENCE = 120.0


@dataclass(frozen=True, slots=True)
class App:
    """A running app.

    Attributes:
        url: Its address, without a slash at the end.
        allowed_port: A port of this machine from where pages may call it.
    """

    url: str
    allowed_port: int


@pytest.fixture(scope="session")
def client_folder() -> Iterator[Path]:
    """The folder of the TypeScript client with its packages. Without Node the tests skip, but never in CI."""
    try:
        if find_node() is None:
            raise NodeError(NO_NODE)
        install_packages(CLIENT)
    except NodeError as error:
        skip_unless_ci("the tests of the TypeScript client", str(error))
    with pytest.MonkeyPatch.context() as patch:
        patch.setenv("PATH", with_node()["PATH"])
        yield CLIENT


@pytest.fixture(scope="package")
def app(client_folder: Path, tmp_path_factory: pytest.TempPathFactory) -> Iterator[App]:
    """The app as an operator starts it, on the bundled model."""
    port, allowed_port = free_port(), free_port()
    inherited = environment_without("LLM_", "GRADIO_")
    settings = {
        "GRADIO_SERVER_PORT": str(port),
        "LLM_DATA_DIR": str(tmp_path_factory.mktemp("app")),
        "LLM_PARALLEL": "2",
        "LLM_CONTEXT_TOKENS": "2048",
        "LLM_TEMPERATURE": "0",  # so that a long story is long every time
        "LLM_RATE_LIMIT": "none",
        "LLM_ALLOWED_ORIGINS": f"http://127.0.0.1:{allowed_port}",
    }
    with process([sys.executable, "app.py"], ROOT, "Chat: ", inherited | settings):
        url = f"http://127.0.0.1:{port}"
        wait_until(lambda: httpx.get(f"{url}/api/llm/health").is_success, "the model is loaded", PATIENCE)
        yield App(url, allowed_port)


def run(folder: Path, *command: str, **variables: str) -> str:
    """What a program prints that has to succeed."""
    environment = os.environ | {"NO_COLOR": "1"} | variables
    ran = subprocess.run(command, cwd=folder, env=environment, capture_output=True, text=True, check=False)
    assert ran.returncode == 0, ran.stdout + ran.stderr
    return ran.stdout


@contextmanager
def process(command: list[str], folder: Path, ready: str, environment: dict[str, str]) -> Iterator[None]:
    """Runs a program for as long as the block runs, which begins when the program has said `ready`."""
    running = subprocess.Popen(
        command, cwd=folder, env=environment, stdout=subprocess.PIPE, stderr=subprocess.STDOUT, text=True
    )
    assert running.stdout is not None
    overdue = threading.Timer(PATIENCE, running.kill)
    overdue.start()
    try:
        _wait_for(ready, running.stdout)
        overdue.cancel()
        threading.Thread(target=_drain, args=(running.stdout,), daemon=True).start()
        yield
    finally:
        overdue.cancel()
        running.kill()
        running.wait()


def _wait_for(ready: str, output: IO[str]) -> None:
    said = []
    for line in output:
        said.append(line)
        if ready in line:
            return
    pytest.fail("it ended before it was ready:\n" + "".join(said))


def _drain(output: IO[str]) -> None:
    """Nobody reads on, and a full pipe would stop the program."""
    for _ in output:
        pass
