"""What this app adds in front of a remote engine: the same streams from the engine's own `/v1` and through the app.

The engine makes tokens by the clock and needs no core, as one on a GPU elsewhere does (`bench.paced`): one that
computes here would slow the app down, and be slowed down by it, which no remote engine is.
"""

from __future__ import annotations

import asyncio

from bench.lab import Findings, Lab
from bench.measure import Reply, median, timed
from bench.servers import paced_server
from bench.systems import OpenAIServer, System

STREAMS = 8
QUESTION = [{"role": "user", "content": "Count."}]


async def run(lab: Lab) -> Findings:
    """Medians of the differences and ratios of neighbouring runs: a machine that slows down slows both ways alike."""
    async with paced_server(lab.logs / "paced.log") as engine, lab.app_process("hop", server_url=engine.url) as front:
        ways = {"engine": OpenAIServer("engine", engine.url), "app": OpenAIServer("app", front.url)}
        for system in ways.values():
            await _streams(system, 8)  # connections are there, and code is warm
        first: dict[str, list[float]] = {name: [] for name in ways}
        gap: dict[str, list[float]] = {name: [] for name in ways}
        for number in range(lab.sizes.repeats):
            lab.say(f"hop: run {number + 1} of {lab.sizes.repeats}")
            for name in ways if number % 2 == 0 else reversed(ways):
                replies = await _streams(ways[name], lab.sizes.reply_tokens)
                first[name].append(median([reply.first_token for reply in replies]))
                gap[name].append(median([each for reply in replies for each in reply.gaps]))
        for system in ways.values():
            await system.close()
    figures = {f"{name}.first_token": median(first[name]) for name in ways}
    figures |= {f"{name}.gap_p50": median(gap[name]) for name in ways}
    figures["first_token_added"] = median([a - b for a, b in zip(first["app"], first["engine"], strict=True)])
    figures["gap_p50_ratio"] = median([a / b for a, b in zip(gap["app"], gap["engine"], strict=True)])
    return Findings(figures=figures, raw={"first_token": first, "gap_p50": gap})


async def _streams(system: System, tokens: int) -> list[Reply]:
    """So many at once, begun one after another within the time of a token: readers do not come in the same moment."""

    async def one(number: int) -> Reply:
        await asyncio.sleep(number * 0.05 / STREAMS)
        return await timed(system.stream(QUESTION, tokens))

    return await asyncio.gather(*map(one, range(STREAMS)))
