"""A prompt of 4,000 tokens arrives among four running streams: what they notice of it, and what it notices of them."""

from __future__ import annotations

import asyncio
import time
from typing import Any

from bench.lab import Findings, Lab, Opening
from bench.measure import first_token, median, percentile, to_llama_server
from bench.scenarios.background import RunningStream, running_streams
from bench.systems import System
from bench.workload import long_text

STREAMS = 4
_BEFORE_SECONDS = 3.0


async def run(lab: Lab) -> Findings:
    """The engine in this process, the app over HTTP, and other servers that have several slots, in turns.

    `Llama` and `llama_cpp.server` run one stream at a time, so there is nothing to ask them.
    """
    openings: list[Opening] = [lab.engine, lab.app, *lab.others]
    found: dict[str, list[dict[str, float]]] = {}
    raw: dict[str, dict[str, Any]] = {}
    for number in range(lab.sizes.rounds):
        for opening in openings if number % 2 == 0 else reversed(openings):
            async with opening() as system:
                lab.say(f"arrival: {number + 1} of {lab.sizes.rounds}, {system.name}")
                of_round, raw[system.name] = await _arrive(system, lab)
            found.setdefault(system.name, []).append(of_round)
    figures = {
        f"{system}.{name}": median([each[name] for each in rounds])
        for system, rounds in found.items()
        for name in rounds[0]
    }
    figures |= to_llama_server(figures, "first_token_among", "gap_max")
    return Findings(figures=figures, raw=raw)


async def _arrive(system: System, lab: Lab) -> tuple[dict[str, float], dict[str, Any]]:
    alone = [await _book(system, lab, "before")]
    async with running_streams(system, STREAMS) as streams:
        began = time.perf_counter()
        await asyncio.sleep(_BEFORE_SECONDS)
        arrived = time.perf_counter()
        among = await _book(system, lab, "among")
        ended = time.perf_counter()
        trace = {
            "arrived": arrived - began,
            "first_token": ended - began,
            "arrivals": [[moment - began for moment in _moments(stream)] for stream in streams],
        }
    alone.append(await _book(system, lab, "after"))
    gaps = _gaps(streams, arrived, ended)
    figures = {
        "gap_before_p95": percentile(_gaps(streams, began, arrived), 95),
        "gap_p50": percentile(gaps, 50),
        "gap_p95": percentile(gaps, 95),
        "gap_max": max(gaps),
        "gap_p95_to_step": percentile(gaps, 95) / lab.step_seconds,
        "first_token_alone": median(alone),
        "first_token_among": among,
        "first_token_ratio": among / median(alone),
    }
    return figures, trace


async def _book(system: System, lab: Lab, series: str) -> float:
    """Seconds to the first token of a prompt that nothing of is cached."""
    text = long_text(lab.vocabulary, lab.sizes.book_tokens, series=f"{system.name} {series} {time.time_ns()}")
    return await first_token(system.stream([{"role": "user", "content": text}], 2, "book"))


def _gaps(streams: list[RunningStream], start: float, end: float) -> list[float]:
    return [gap for stream in streams for gap in stream.gaps(start, end)]


def _moments(stream: RunningStream) -> list[float]:
    return [moment for chapter in stream.chapters for moment in chapter]
