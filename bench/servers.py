"""Servers under test as processes of their own, on free ports of this machine, for as long as a block runs."""

from __future__ import annotations

import asyncio
import json
import socket
import subprocess
import sys
import time
from collections.abc import AsyncIterator, Mapping, Sequence
from contextlib import asynccontextmanager, suppress
from dataclasses import dataclass
from pathlib import Path

import httpx

from bench import ENVIRONMENT

ROOT = Path(__file__).resolve().parent.parent
START_SECONDS = 120.0
STOP_SECONDS = 10.0


class ServerFailed(Exception):
    """A server did not come up; the message says which, and what it wrote last."""


@dataclass(frozen=True, slots=True)
class Server:
    """A running server."""

    url: str
    pid: int


def free_port() -> int:
    """A port that was free a moment ago."""
    with socket.create_server(("127.0.0.1", 0)) as listener:
        return int(listener.getsockname()[1])


@asynccontextmanager
async def app_server(settings: Mapping[str, str], log: Path) -> AsyncIterator[Server]:
    """This project's whole app, `python app.py`, with the model loaded.

    Args:
        settings: Environment variables.
        log: The file that gets what it prints.
    """
    port = free_port()
    variables = {
        "GRADIO_SERVER_PORT": str(port),
        "GRADIO_SERVER_NAME": "127.0.0.1",
        "GRADIO_ANALYTICS_ENABLED": "False",
    }
    async with _running([sys.executable, str(ROOT / "app.py")], variables | dict(settings), port, log) as server:
        yield server


@asynccontextmanager
async def llama_cpp_server(model: Path, *, context_tokens: int, threads: int, log: Path) -> AsyncIterator[Server]:
    """llama-cpp-python's server, with its own defaults but for what must be the same for all.

    `interrupt_requests` is switched off: with it a new request cuts short the reply that is being streamed, and the
    figures of several users would be of replies that nobody got.
    """
    port = free_port()
    options = {
        "model": model,
        "n_ctx": context_tokens,
        "n_threads": threads,
        "n_threads_batch": threads,
        "interrupt_requests": False,
        "verbose": False,
        "host": "127.0.0.1",
        "port": port,
    }
    arguments = [str(part) for name, value in options.items() for part in (f"--{name}", value)]
    async with _running([sys.executable, "-m", "llama_cpp.server", *arguments], {}, port, log) as server:
        yield server


@asynccontextmanager
async def llama_server(
    program: Path, model: Path, *, context_tokens: int, slots: int, threads: int, log: Path
) -> AsyncIterator[Server]:
    """llama.cpp's own server, with its own defaults but for what must be the same for all.

    Args:
        program: The compiled `llama-server`.
        context_tokens: Context of one request; the program is told that of all slots together.
    """
    port = free_port()
    options = {"-m": model, "-c": context_tokens * slots, "-np": slots, "-t": threads, "--host": "127.0.0.1"}
    command = [str(part) for pair in (options | {"--port": port}).items() for part in pair]
    async with _running([str(program), *command], {}, port, log, ready="/health") as server:
        yield server


@asynccontextmanager
async def batching_server(
    program: Path, model: Path, *, context_tokens: int, slots: int, threads: int, log: Path
) -> AsyncIterator[Server]:
    """llama-cpp-python's newer server, which is configured by a file; else as it comes.

    Args:
        program: Its `server.py`.
        context_tokens: Context of one request.
        log: The file that gets what it prints; its configuration lies beside it.
    """
    port = free_port()
    of_model = {"path": str(model), "alias": "default", "threads": threads, "threads_batch": threads}
    of_model |= {"n_ctx": context_tokens * slots, "n_seq_max": slots, "max_seq_len": context_tokens}
    configuration = log.with_suffix(".json")
    configuration.write_text(json.dumps({"server": {"host": "127.0.0.1", "port": port}, "model": of_model}))
    command = [sys.executable, str(program), "--config-file", str(configuration)]
    async with _running(command, {}, port, log) as server:
        yield server


@asynccontextmanager
async def paced_server(log: Path) -> AsyncIterator[Server]:
    """An engine that makes its tokens by the clock."""
    port = free_port()
    async with _running([sys.executable, "-m", "bench.paced", str(port)], {}, port, log) as server:
        yield server


@asynccontextmanager
async def _running(
    command: Sequence[str], variables: Mapping[str, str], port: int, log: Path, *, ready: str = "/v1/models"
) -> AsyncIterator[Server]:
    with log.open("wb") as output:
        process = await asyncio.create_subprocess_exec(
            *command, cwd=ROOT, env={**ENVIRONMENT, **variables}, stdout=output, stderr=subprocess.STDOUT
        )
    try:
        server = Server(f"http://127.0.0.1:{port}", process.pid)
        if not await _comes_up(server, process, ready):
            raise ServerFailed(f"`{' '.join(command)}` did not come up. It wrote last:\n{_end_of(log)}")
        yield server
    finally:
        await _stop(process)


async def _comes_up(server: Server, process: asyncio.subprocess.Process, ready: str) -> bool:
    """Waits until it answers at `ready`, model and all. False: it ended, or it takes too long."""
    deadline = time.monotonic() + START_SECONDS
    async with httpx.AsyncClient(base_url=server.url, timeout=START_SECONDS) as http:
        while process.returncode is None and time.monotonic() < deadline:
            try:
                answer = await http.get(ready)
            except httpx.TransportError:  # nothing listens yet
                await asyncio.sleep(0.1)
                continue
            if answer.status_code == 503:  # llama-server listens while it loads
                await asyncio.sleep(0.1)
                continue
            if answer.status_code != 200:
                raise ServerFailed(f"{answer.url} answered {answer.status_code}: {answer.text[:300]}")
            return True
    return False


async def _stop(process: asyncio.subprocess.Process) -> None:
    if process.returncode is not None:
        return
    with suppress(ProcessLookupError):  # a scenario has killed it
        process.terminate()
    try:
        await asyncio.wait_for(process.wait(), STOP_SECONDS)
    except TimeoutError:
        process.kill()
        await process.wait()


def _end_of(log: Path) -> str:
    return log.read_text(errors="replace")[-1_000:]
