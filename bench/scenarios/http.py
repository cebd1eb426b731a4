"""What HTTP adds to the engine: the same streams, called for in this process and read over a socket, in turns.

One process holds the engine and the app, so both ways meet the same engine and differ in nothing but the way. Who calls
the engine directly is part of the program, and calls from this process. Who reads over HTTP never is, so the readers
are a process of their own: in this one they would take turns with the server at Python's lock, which no server's
readers do. They still take their share of the cores, so on a small machine the figures are a little worse than those of
readers elsewhere.

The first token is told without the engine's part, which is many times as long and depends on the step in which a
request happens to arrive: the time that the engine itself says it took is taken off.
"""

from __future__ import annotations

import asyncio
import json
import socket
import sys
import time
from collections.abc import AsyncIterator, Awaitable, Callable, Sequence
from contextlib import aclosing, asynccontextmanager
from dataclasses import dataclass
from functools import partial
from typing import Any

import psutil

from bench.lab import Findings, Lab
from bench.measure import median, percentile
from bench.scenarios.background import RunningStream
from bench.scenarios.stop import stats, until
from bench.servers import ROOT
from bench.systems import EngineInProcess, SystemFailed
from bench.workload import long_text, short_question
from llm_core.events import ContentDelta, Done

STREAMS = 8
QUEUE_LIMIT = 8
SEND_BUFFER_BYTES = 4096
"""Of each connection. What the system would give one on the same machine holds more than a minute's stream, so that a
reader's stall would never reach the server."""
_PATH = "/api/llm/chat/stream"
_SESSION_PATH = "/api/llm/chat/session/stream"
_MIB = 1024 * 1024

Body = dict[str, Any]


@dataclass(frozen=True, slots=True)
class Heard:
    """One reply as its reader saw it, in seconds.

    Attributes:
        asked_at: When it was asked for.
        arrivals: When each piece came, on the same clock.
        engine: From submission to the first token, as the engine says.
    """

    asked_at: float
    arrivals: tuple[float, ...]
    engine: float = 0.0

    @property
    def beside_engine(self) -> float:
        """The first token without the engine's part: the way there and back."""
        return self.arrivals[0] - self.asked_at - self.engine


Reader = list[Heard]
"""The replies of one reader, who asks for the next when one has ended."""
Way = Callable[[list[list[Body]]], Awaitable[list[Reader]]]
"""How readers ask; given what each of them asks."""


async def run(lab: Lab) -> Findings:
    async with _app(lab) as (engine, port):
        found = [
            await _side_by_side(lab, engine, port),
            await _refused(lab, engine, port),
            await _stalled(lab, engine, port),
        ]
    return Findings(
        figures={name: value for each in found for name, value in each.figures.items()},
        raw={name: value for each in found for name, value in each.raw.items()},
    )


@asynccontextmanager
async def _app(lab: Lab) -> AsyncIterator[tuple[EngineInProcess, int]]:
    """The engine, and the port of the app around it."""
    # Gradio takes a second or two to import, and other scenarios have no use for it.
    from llm_core.server.serve import listen, running
    from llm_core.server.server import build_server

    async with lab.engine(
        parallel=STREAMS,
        queue_limit=QUEUE_LIMIT,
        system_prompt="",
        kv_host_mb=0,
        GRADIO_SERVER_PORT=0,
    ) as engine:
        with listen(engine.client.settings) as listener:
            listener.setsockopt(socket.SOL_SOCKET, socket.SO_SNDBUF, SEND_BUFFER_BYTES)
            with running(build_server(engine.client), listener):
                yield engine, listener.getsockname()[1]


# ── side by side ─────────────────────────────────────────────────────────────────────────────────────────────────────


async def _side_by_side(lab: Lab, engine: EngineInProcess, port: int) -> Findings:
    """The median of the differences, and of the ratios, of neighbouring runs: a machine that slows down for a while
    slows both ways alike."""
    ways: dict[str, Way] = {"direct": partial(_call, engine), "http": partial(_read, port)}
    beside: dict[str, list[float]] = {name: [] for name in ways}
    gaps: dict[str, list[float]] = {name: [] for name in ways}
    for number in range(lab.sizes.http_rounds):
        asked = _questions(lab, number)
        for name in ways if number % 2 == 0 else reversed(ways):
            lab.say(f"http: round {number + 1} of {lab.sizes.http_rounds}, {name}")
            readers = await ways[name](asked)
            await _until_idle(engine)
            beside[name].append(median(_beside_engine(readers)))
            gaps[name].append(median(_gaps(readers)))
    added = [http - direct for http, direct in zip(beside["http"], beside["direct"], strict=True)]
    ratios = [http / direct for http, direct in zip(gaps["http"], gaps["direct"], strict=True)]
    figures = {f"{name}.beside_engine": median(each) for name, each in beside.items()}
    figures |= {f"{name}.gap_p50": median(each) for name, each in gaps.items()}
    figures |= {"first_token_added": median(added), "gap_p50_ratio": median(ratios)}
    return Findings(figures=figures, raw={"beside_engine": beside, "gap_p50": gaps})


def _questions(lab: Lab, number: int) -> list[list[Body]]:
    """What the readers ask: all at once for a long reply, and then one by one for short ones.

    The gaps are those of the long ones, where every step of the engine computes the same. The short ones are longer
    from one reader to the next, so that they do not all ask again in the same moment. In one round both ways ask the
    same.
    """
    longest = lab.sizes.http_tokens

    def asked_by(reader: int) -> list[Body]:
        lengths = [longest, *[longest // 8 + longest // 16 * reader] * (lab.sizes.http_replies - 1)]
        questions = [short_question(f"{number} {reader} {turn}") for turn in range(len(lengths))]
        return [_body(lab, question, tokens) for question, tokens in zip(questions, lengths, strict=True)]

    return [asked_by(reader) for reader in range(STREAMS)]


def _body(lab: Lab, question: str, tokens: int) -> Body:
    """A greedy request whose reply has exactly so many tokens: those that would end it are banned."""
    return {
        "messages": [{"role": "user", "content": question}],
        "temperature": 0,
        "max_tokens": tokens,
        "logit_bias": {str(token): -100 for token in lab.vocabulary.end_tokens},
    }


async def _call(engine: EngineInProcess, asked: list[list[Body]]) -> list[Reader]:
    """Callers in this process."""

    async def caller(bodies: list[Body]) -> Reader:
        return [await _heard(engine, body) for body in bodies]

    return await asyncio.gather(*map(caller, asked))


async def _heard(engine: EngineInProcess, body: Body) -> Heard:
    bias = {int(token): value for token, value in body["logit_bias"].items()}
    asked_at, arrivals, took = time.perf_counter(), [], 0.0
    async with aclosing(engine.client.achat_stream(**(body | {"logit_bias": bias}))) as events:
        async for event in events:
            if isinstance(event, ContentDelta):
                arrivals.append(time.perf_counter())
            elif isinstance(event, Done):
                took = event.timings.ttft_ms / 1e3
    return Heard(asked_at, tuple(arrivals), took)


async def _read(port: int, asked: list[list[Body]]) -> list[Reader]:
    """Readers over HTTP."""
    answers = await _ask(port, [[{"path": _PATH, "body": body} for body in bodies] for bodies in asked])
    return [[_heard_of(answer) for answer in each] for each in answers]


def _heard_of(answer: dict[str, Any]) -> Heard:
    if answer["status"] != 200:
        raise SystemFailed(f"the app answered {answer['status']} to a stream")
    arrivals = tuple(moment for moment, event in answer["events"] if "content" in event)
    timings = answer["events"][-1][1].get("timings", {"ttft_ms": 0.0})
    return Heard(answer["asked_at"], arrivals, timings["ttft_ms"] / 1e3)


def _beside_engine(readers: list[Reader]) -> list[float]:
    """Of the replies that began while the other readers' streams ran. The first ones arrive in one moment, and wait for
    each other."""
    return [reply.beside_engine for reader in readers for reply in reader[1:]]


def _gaps(readers: Sequence[Reader]) -> list[float]:
    """Seconds between two pieces of the first replies, while all readers read theirs."""
    firsts = [list(reader[0].arrivals) for reader in readers]
    begun, ended = max(arrivals[0] for arrivals in firsts), min(arrivals[-1] for arrivals in firsts)
    return [gap for arrivals in firsts for gap in RunningStream([arrivals]).gaps(begun, ended)]


# ── refused ──────────────────────────────────────────────────────────────────────────────────────────────────────────


async def _refused(lab: Lab, engine: EngineInProcess, port: int) -> Findings:
    """How soon one is told that the queue is full, with a short conversation and with a long one, all slots at work."""
    book = long_text(lab.vocabulary, lab.sizes.book_tokens // 2, series="refused")
    bodies = [
        (_PATH, _body(lab, "Hello", 8)),
        (_PATH, _body(lab, book, 8)),
        (_SESSION_PATH, {"session_id": "refused", "message": "Hello"}),
        (_SESSION_PATH, {"session_id": "refused", "message": book}),
    ]
    requests = [{"path": path, "body": body} for path, body in bodies] * lab.sizes.repeats
    lab.say("http: the queue is full")
    endless = [
        [_body(lab, short_question(f"full {number}"), _most_tokens(lab))] for number in range(STREAMS + QUEUE_LIMIT)
    ]
    crowd = asyncio.create_task(_call(engine, endless))
    try:
        await until(lambda: stats(engine).waiting == QUEUE_LIMIT and stats(engine).running == STREAMS)
        (answers,) = await _ask(port, [requests])
    finally:
        crowd.cancel()
        await asyncio.wait({crowd})
    await _until_idle(engine)
    if wrong := {answer["status"] for answer in answers} - {503}:
        raise SystemFailed(f"the app answered {wrong} although its queue was full")
    took = [answer["answered_at"] - answer["asked_at"] for answer in answers]
    return Findings(figures={"refused_p50": median(took), "refused_max": max(took)}, raw={"refused": took})


# ── stalled ──────────────────────────────────────────────────────────────────────────────────────────────────────────


async def _stalled(lab: Lab, engine: EngineInProcess, port: int) -> Findings:
    """What seven streams notice of an eighth whose reader reads nothing, and what the process holds for it.

    They run with eight who read before and after it, and the two together are what it is compared with. One more run
    comes first and counts for nothing: the first long replies take memory that the process then keeps.
    """
    gaps: dict[bool, list[float]] = {True: [], False: []}
    grown = 0.0
    lab.say(f"http: {lab.sizes.stall_seconds:.0f} s to begin with")
    await _seven(lab, port, stalls=False)
    await _until_idle(engine)
    for stalls in (False, True, False):
        lab.say(f"http: {lab.sizes.stall_seconds:.0f} s {'with a reader who stalls' if stalls else 'undisturbed'}")
        before = psutil.Process().memory_info().rss
        gaps[stalls] += await _seven(lab, port, stalls=stalls)
        if stalls:
            grown = (psutil.Process().memory_info().rss - before) / _MIB
        await _until_idle(engine)
    usual, meanwhile = percentile(gaps[False], 95), percentile(gaps[True], 95)
    figures = {
        "undisturbed_gap_p95": usual,
        "stalled_gap_p95": meanwhile,
        "stalled_gap_p95_ratio": meanwhile / usual,
        "stalled_mib": grown,
    }
    return Findings(figures=figures)


async def _seven(lab: Lab, port: int, *, stalls: bool) -> list[float]:
    """The gaps of seven streams beside an eighth."""
    asked = [_body(lab, short_question(f"stall {number}"), _most_tokens(lab)) for number in range(STREAMS)]
    requests = [[{"path": _PATH, "body": body}] for body in asked]
    requests[-1][0]["stalls"] = stalls
    answers = await _ask(port, requests, seconds=lab.sizes.stall_seconds)
    return _gaps([[_heard_of(answer) for answer in each] for each in answers[:-1]])


# ── shared ───────────────────────────────────────────────────────────────────────────────────────────────────────────


async def _ask(port: int, readers: list[list[dict[str, Any]]], **more: float) -> list[list[dict[str, Any]]]:
    """Runs `bench.reader` with this job."""
    process = await asyncio.create_subprocess_exec(
        sys.executable, "-m", "bench.reader", cwd=ROOT, stdin=asyncio.subprocess.PIPE, stdout=asyncio.subprocess.PIPE
    )
    job = {"port": port, "readers": readers} | more
    said, _ = await process.communicate(json.dumps(job).encode())
    if process.returncode:
        raise SystemFailed("the readers failed; what they wrote is above")
    answers: list[list[dict[str, Any]]] = json.loads(said)
    return answers


def _most_tokens(lab: Lab) -> int:
    """The longest reply that fits behind a short question."""
    return lab.sizes.context_tokens - 200


async def _until_idle(engine: EngineInProcess) -> None:
    await until(lambda: not stats(engine).running and not stats(engine).waiting)
