"""`python app.py` as an operator runs it: a process of its own, started, used and ended."""

from __future__ import annotations

import signal
import socket
import subprocess
import sys
import tempfile
import threading
from collections.abc import Iterator
from contextlib import contextmanager, suppress
from pathlib import Path
from typing import Any

import httpx
import pytest

from tests.environment import environment_without
from tests.waiting import free_port, is_open, wait_until

pytestmark = pytest.mark.slow

ROOT = Path(__file__).resolve().parents[2]
PATIENCE = 120.0
STORY: dict[str, Any] = {
    "messages": [{"role": "user", "content": "Tell me a very long story."}],
    "max_tokens": 2000,
    "stream": True,
    "logit_bias": {"2": -100},  # it has no end of its own
}


@contextmanager
def app(stderr: int = subprocess.STDOUT, **variables: str) -> Iterator[subprocess.Popen[str]]:
    """The process, on the bundled model; its output, errors too, can be read."""
    inherited = environment_without("LLM_", "GRADIO_") | {"LLM_PARALLEL": "2", "LLM_CONTEXT_TOKENS": "2048"}
    with tempfile.TemporaryDirectory() as data_dir:
        process = subprocess.Popen(
            [sys.executable, "app.py"],
            cwd=ROOT,
            env=inherited | {"LLM_DATA_DIR": data_dir} | variables,
            stdout=subprocess.PIPE,
            stderr=stderr,
            text=True,
        )
        try:
            yield process
        finally:
            process.kill()
            with suppress(ValueError):  # what a test has closed cannot be read
                process.communicate()
            process.wait()


@pytest.fixture
def running_app() -> Iterator[tuple[subprocess.Popen[str], str]]:
    """The process and its URL, for a test that ends it."""
    with running_on(free_port()) as running:
        yield running


@pytest.fixture(scope="module")
def url() -> Iterator[str]:
    """Of an app that stands for all tests that only ask it something."""
    with running_on(free_port()) as (_, url):
        yield url


@contextmanager
def running_on(
    port: int, stderr: int = subprocess.STDOUT, **variables: str
) -> Iterator[tuple[subprocess.Popen[str], str]]:
    with app(stderr, GRADIO_SERVER_PORT=str(port), **variables) as process:
        overdue = threading.Timer(PATIENCE, process.kill)
        overdue.start()
        url = address_in(process)
        overdue.cancel()
        assert url == f"http://127.0.0.1:{port}/"
        yield process, url


def address_in(process: subprocess.Popen[str]) -> str:
    """The address that the process says it serves, once it says so."""
    assert process.stdout is not None
    said = []
    for line in process.stdout:
        said.append(line)
        if line.startswith("Chat: "):
            return line.removeprefix("Chat: ").strip()
    pytest.fail("it ended before it served anything:\n" + "".join(said))


def test_it_serves_the_page_and_openais_routes_on_one_port(url: str) -> None:
    assert "gradio" in httpx.get(url, timeout=PATIENCE).text
    assert httpx.get(f"{url}v1/models", timeout=PATIENCE).json()["data"][0]["id"] == "SmolLM2-135M-Instruct"


def test_it_sends_no_telemetry_and_loads_no_fonts_from_elsewhere(url: str) -> None:
    config = httpx.get(f"{url}config", timeout=PATIENCE).json()

    assert config["analytics_enabled"] is False
    assert "fonts.googleapis.com" not in httpx.get(f"{url}theme.css", timeout=PATIENCE).text
    assert not [sheet for sheet in config.get("stylesheets", []) if sheet.startswith("http")]


@pytest.mark.parametrize("end", [signal.SIGTERM, signal.SIGINT])
def test_on_a_signal_it_takes_no_new_work_and_lets_running_replies_end(
    running_app: tuple[subprocess.Popen[str], str], end: signal.Signals
) -> None:
    process, url = running_app
    with httpx.stream("POST", f"{url}v1/chat/completions", json=STORY | {"max_tokens": 300}, timeout=PATIENCE) as reply:
        chunks = reply.iter_text()
        while "content" not in next(chunks):
            pass
        process.send_signal(end)
        for _ in range(100):
            refused = httpx.post(f"{url}v1/chat/completions", json=STORY | {"max_tokens": 1}, timeout=PATIENCE)
            if refused.status_code == 503:
                break
        rest = "".join(chunks)
    output, _ = process.communicate(timeout=30)

    assert refused.json()["error"]["code"] == "shutting_down"
    assert rest.endswith("data: [DONE]\n\n")
    assert process.returncode == 0
    assert "Traceback" not in output


@pytest.mark.parametrize("end", [signal.SIGTERM, signal.SIGINT])
def test_a_second_signal_ends_running_replies_and_their_readers_are_told(
    running_app: tuple[subprocess.Popen[str], str], end: signal.Signals
) -> None:
    process, url = running_app
    with httpx.stream("POST", f"{url}v1/chat/completions", json=STORY, timeout=PATIENCE) as reply:
        chunks = reply.iter_text()
        while "content" not in next(chunks):
            pass
        process.send_signal(end)
        assert process.stdout is not None
        while "Running replies may end" not in (line := process.stdout.readline()):
            assert line, "it has ended"
        process.send_signal(end)
        rest = "".join(chunks)
        output, _ = process.communicate(timeout=30)

    assert '"code":"engine_closed"' in rest
    assert process.returncode == 0
    assert "Traceback" not in output


def test_without_a_time_to_drain_the_first_signal_ends_them() -> None:
    with running_on(free_port(), LLM_DRAIN_SECONDS="0") as (process, url):
        with httpx.stream("POST", f"{url}v1/chat/completions", json=STORY, timeout=PATIENCE) as reply:
            chunks = reply.iter_text()
            while "content" not in next(chunks):
                pass
            process.terminate()
            rest = "".join(chunks)
        output, _ = process.communicate(timeout=30)

    assert '"code":"engine_closed"' in rest
    assert process.returncode == 0
    assert "may end" not in output


@pytest.mark.parametrize("streams", ["out", "out and err"])
def test_it_ends_well_where_nobody_reads_what_it_prints(streams: str) -> None:
    errors = subprocess.STDOUT if "err" in streams else subprocess.PIPE
    with running_on(free_port(), stderr=errors) as (process, url):
        assert process.stdout is not None
        process.stdout.close()
        assert httpx.get(f"{url}api/llm/health", timeout=PATIENCE).status_code in (200, 503)
        process.terminate()
        complaints = process.stderr.read() if process.stderr is not None else ""
        process.wait(30)

    assert process.returncode == 0
    assert "Traceback" not in complaints
    assert "BrokenPipe" not in complaints


@pytest.mark.parametrize("number", [signal.SIGINT, signal.SIGTERM])
def test_a_signal_while_it_starts_ends_it_quietly(number: signal.Signals) -> None:
    port = free_port()
    with app(GRADIO_SERVER_PORT=str(port)) as process:
        wait_until(lambda: is_open(port), "it listens, and imports Gradio")
        process.send_signal(number)
        output, _ = process.communicate(timeout=PATIENCE)

    assert process.returncode == 0
    assert output.endswith("Closing.\n")
    assert "Traceback" not in output


def test_it_refuses_to_be_open_to_everyone_without_being_told_to() -> None:
    with app(GRADIO_SERVER_NAME="0.0.0.0", GRADIO_SERVER_PORT=str(free_port())) as process:
        output, _ = process.communicate(timeout=PATIENCE)

    assert process.returncode == 1
    assert output.count("\n") == 1
    assert "LLM_PUBLIC=1" in output


def test_it_says_in_a_sentence_that_its_port_is_busy() -> None:
    with socket.create_server(("127.0.0.1", 0)) as other:
        port = other.getsockname()[1]
        with app(GRADIO_SERVER_PORT=str(port)) as process:
            output, _ = process.communicate(timeout=PATIENCE)

    assert process.returncode == 1
    assert output.strip() == f"Port {port} is in use by another program. Set GRADIO_SERVER_PORT to a free one."


def test_it_says_in_a_sentence_which_setting_is_wrong() -> None:
    with app(LLM_PARALLEL="many") as process:
        output, _ = process.communicate(timeout=PATIENCE)

    assert process.returncode == 1
    assert output.startswith("LLM_PARALLEL='many' cannot be used")
    assert "Traceback" not in output
