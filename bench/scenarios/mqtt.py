"""What MQTT costs: the same streams through a broker and over HTTP, in turns, from one process that serves both.

The broker is a Mosquitto of its own with its usual settings. The readers are a process of their own, and read both ways
alike (`bench.wire_reader`). How late a first delta is, is told from the moment at which the engine hands its first text
out: the broker's part and the reader's are in it, the model's is not.
"""

from __future__ import annotations

import asyncio
import json
import os
import shutil
import subprocess
import sys
import tempfile
import time
from collections.abc import AsyncIterator, Iterator
from contextlib import ExitStack, asynccontextmanager, contextmanager
from pathlib import Path
from typing import Any
from unittest.mock import patch

from bench.lab import Findings, Lab
from bench.measure import median, percentile
from bench.scenarios.stop import until
from bench.servers import ROOT, free_port
from bench.systems import SystemFailed
from bench.workload import short_question
from llm_core.client import LLMClient
from llm_core.engine.engine import Engine
from llm_core.engine.sequence import EngineEvent, GenerationRequest, Piece, Sequence, Sink
from llm_core.mqtt.worker.serve import worker_thread
from llm_core.settings import Settings

STREAMS = 20
ROUNDS = 6
_REPLIES = 2  # of each reader in a round
_READY_SECONDS = 60.0
_BROKER_FOLDERS = ("/usr/sbin", "/usr/local/sbin", "/opt/homebrew/sbin")  # not on everybody's PATH

Body = dict[str, Any]
Answers = list[list[dict[str, Any]]]


Moments = dict[str, list[float]]
"""When the engine handed out the first text of each reply, by owner, in order."""


@contextmanager
def _first_texts() -> Iterator[Moments]:
    """Notes them for as long as the block runs. The engine tells nobody but the one who asked, so it is listened in."""
    moments: Moments = {}
    submit = Engine.submit

    def noting(engine: Engine, generation: GenerationRequest, sink: Sink) -> Sequence:
        waits = True

        def note(event: EngineEvent) -> None:
            nonlocal waits
            if waits and isinstance(event, Piece):
                waits = False
                moments.setdefault(generation.owner, []).append(time.perf_counter())
            sink(event)

        return submit(engine, generation, note)

    with patch.object(Engine, "submit", noting):
        yield moments


async def run(lab: Lab) -> Findings:
    if _find_broker() is None:
        lab.say("mqtt: left out, since there is no Mosquitto on this machine")
        return Findings()
    with _first_texts() as first:
        return await _compare(lab, first)


async def _compare(lab: Lab, first: Moments) -> Findings:
    rates: dict[str, list[float]] = {"mqtt": [], "http": []}
    late: dict[str, list[float]] = {"alone": [], "among": []}
    async with _served(lab) as (client, ports):
        await _ask(lab, "mqtt", ports, [("warm", [_body(lab, "Hello")])])
        for number in range(lab.sizes.repeats):
            lab.say(f"mqtt: alone, {number + 1} of {lab.sizes.repeats}")
            late["alone"] += await _late(lab, ports, first, f"alone {number}", 1)
        for number in range(ROUNDS if lab.sizes.rounds > 1 else 1):
            for way in ("mqtt", "http") if number % 2 else ("http", "mqtt"):
                lab.say(f"mqtt: round {number + 1}, {way}")
                first.clear()
                answers, rate = await _streams(lab, way, ports, f"{number}", STREAMS)
                rates[way].append(rate)
                if way == "mqtt":
                    late["among"] += _lateness(answers, first, f"{number}")
                await until(lambda: _idle(client))
    ratios = [mqtt / http for mqtt, http in zip(rates["mqtt"], rates["http"], strict=True)]
    figures = {f"{way}.tokens_per_second": median(each) for way, each in rates.items()}
    figures |= {"rate_ratio": median(ratios)}
    for name, each in late.items():
        figures |= {f"{name}.first_delta_p50": median(each), f"{name}.first_delta_p95": percentile(each, 95)}
    return Findings(figures=figures, raw={"rates": rates, "first_delta": late})


async def _late(lab: Lab, ports: dict[str, int], first: Moments, series: str, streams: int) -> list[float]:
    first.clear()
    answers, _ = await _streams(lab, "mqtt", ports, series, streams)
    return _lateness(answers, first, series)


async def _streams(lab: Lab, way: str, ports: dict[str, int], series: str, streams: int) -> tuple[Answers, float]:
    """What the readers read, and how many tokens a second in all. Both ways ask the same in one round."""
    asked = [
        (
            _name(series, reader),
            [_body(lab, short_question(f"mqtt {series} {reader} {turn}")) for turn in range(_REPLIES)],
        )
        for reader in range(streams)
    ]
    answers = await _ask(lab, way, ports, asked)
    replies = [answer for each in answers for answer in each]
    tokens = sum(reply["events"][-1][1]["usage"]["completion_tokens"] for reply in replies)
    began = min(reply["asked_at"] for reply in replies)
    return answers, tokens / (max(reply["events"][-1][0] for reply in replies) - began)


def _lateness(answers: Answers, first: Moments, series: str) -> list[float]:
    """Seconds from the engine's first text to the first delta, of each reply."""
    return [
        next(moment for moment, event in answer["events"] if event["type"] == "delta") - handed_out
        for reader, each in enumerate(answers)
        for answer, handed_out in zip(each, first[f"name:{_name(series, reader)}"], strict=True)
    ]


def _name(series: str, reader: int) -> str:
    return f"{series.replace(' ', '-')}-{reader}"


def _body(lab: Lab, question: str) -> Body:
    """A greedy request whose reply has exactly so many tokens: those that would end it are banned."""
    return {
        "messages": [{"role": "user", "content": question}],
        "temperature": 0,
        "max_tokens": lab.sizes.reply_tokens,
        "logit_bias": {str(token): -100 for token in lab.vocabulary.end_tokens},
    }


async def _ask(lab: Lab, way: str, ports: dict[str, int], readers: list[tuple[str, list[Body]]]) -> Answers:
    """Runs `bench.wire_reader` with this job."""
    process = await asyncio.create_subprocess_exec(
        sys.executable,
        "-m",
        "bench.wire_reader",
        cwd=ROOT,
        stdin=asyncio.subprocess.PIPE,
        stdout=asyncio.subprocess.PIPE,
    )
    said, _ = await process.communicate(json.dumps({"way": way, "port": ports[way], "readers": readers}).encode())
    if process.returncode:
        raise SystemFailed("the readers failed; what they wrote is above")
    answers: Answers = json.loads(said)
    for answer in (answer for each in answers for answer in each):
        last = answer["events"][-1][1] if answer["events"] else {}
        if "usage" not in last:
            raise SystemFailed(f"a stream over {way} ended with {last}")
    return answers


@asynccontextmanager
async def _served(lab: Lab) -> AsyncIterator[tuple[LLMClient, dict[str, int]]]:
    """The engine, the app over HTTP and a worker beside it, and the ports of app and broker."""
    # Gradio takes seconds to import, and other scenarios have no use for it.
    from llm_core.server.serve import listen, running
    from llm_core.server.server import build_server

    with ExitStack() as stack:
        folder = Path(stack.enter_context(tempfile.TemporaryDirectory()))
        port = stack.enter_context(_broker(folder))
        settings = Settings(
            model=str(lab.model),
            context_tokens=1024,
            parallel=STREAMS,
            threads=lab.threads,
            system_prompt="",
            rate_limit="none",
            data_dir=folder,
            **{"MQTT_URL": f"mqtt://127.0.0.1:{port}", "GRADIO_SERVER_PORT": 0},
        )
        client = stack.enter_context(LLMClient(settings))
        await client.await_ready()
        worker = stack.enter_context(worker_thread(client))
        if worker is None or not await asyncio.to_thread(worker.wait_ready, _READY_SECONDS):
            raise SystemFailed("the worker did not reach the broker")
        listener = stack.enter_context(listen(settings))
        stack.enter_context(running(build_server(client), listener))
        yield client, {"mqtt": port, "http": listener.getsockname()[1]}


@contextmanager
def _broker(folder: Path) -> Iterator[int]:
    """A Mosquitto for as long as the block runs, and its port."""
    port = free_port()
    configuration = folder / "mosquitto.conf"
    configuration.write_text(f"listener {port} 127.0.0.1\nallow_anonymous true\n")
    program = _find_broker()
    assert program is not None
    process = subprocess.Popen([program, "-c", str(configuration)], stderr=subprocess.DEVNULL)
    try:
        yield port
    finally:
        process.terminate()
        process.wait()


def _find_broker() -> str | None:
    return shutil.which("mosquitto", path=os.pathsep.join([os.environ.get("PATH", ""), *_BROKER_FOLDERS]))


def _idle(client: LLMClient) -> bool:
    stats = client.stats()
    return stats is not None and not stats.running and not stats.waiting
