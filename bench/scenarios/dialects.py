"""What other programs' formats cost beside OpenAI's chat completions: the first token, and the CPU of a token.

The engine makes tokens by the clock and needs no core (`bench.paced`), so that what is measured is the way through the
app: its CPU is that of its process. Formats take turns; each is compared with the neighbouring run of chat completions.
"""

from __future__ import annotations

import asyncio
import time
from dataclasses import dataclass
from typing import Any

import httpx
import psutil

from bench.lab import Findings, Lab
from bench.measure import median
from bench.servers import Server, paced_server

STREAMS = 8
BASE = "chat_completions"
_SAID = [{"role": "user", "content": "Count."}]
_NOT_KEPT = {"store": False}
_FIRST = b'"0 "'  # the paced engine's first token, as every format writes it


@dataclass(frozen=True, slots=True)
class _Run:
    """Seconds: of the first tokens, the median; of the app's CPU, for each token."""

    first_token: float
    cpu: float


def _requests(tokens: int) -> dict[str, tuple[str, dict[str, Any]]]:
    """Each format's path, and a streaming request of so many tokens."""
    return {
        BASE: ("/v1/chat/completions", {"messages": _SAID, "max_tokens": tokens, "stream": True}),
        "native": ("/api/llm/chat/stream", {"messages": _SAID, "max_tokens": tokens}),
        "completions": ("/v1/completions", {"prompt": "Count.", "max_tokens": tokens, "stream": True}),
        "responses": (
            "/v1/responses",
            {"input": "Count.", "max_output_tokens": tokens, "stream": True, "store": False},
        ),
        "anthropic": ("/v1/messages", {"model": "any", "messages": _SAID, "max_tokens": tokens, "stream": True}),
        "ollama": ("/api/chat", {"model": "any", "messages": _SAID, "options": {"num_predict": tokens}}),
    }


async def run(lab: Lab) -> Findings:
    """Medians of the differences and ratios of neighbouring runs."""
    tokens = lab.sizes.reply_tokens
    requests = _requests(tokens)
    added: dict[str, list[float]] = {name: [] for name in requests if name != BASE}
    cpu: dict[str, list[float]] = {name: [] for name in added}
    base: list[_Run] = []
    async with (
        paced_server(lab.logs / "paced.log") as engine,
        lab.app_process("dialects", server_url=engine.url) as front,
        httpx.AsyncClient(base_url=front.url, timeout=60) as http,
    ):
        for request in requests.values():
            await _streams(http, front, request, tokens)  # connections are there, and code is warm
        for number in range(lab.sizes.repeats):
            lab.say(f"dialects: run {number + 1} of {lab.sizes.repeats}")
            for name in added:
                beside = await _streams(http, front, requests[BASE], tokens)
                found = await _streams(http, front, requests[name], tokens)
                base.append(beside)
                added[name].append(found.first_token - beside.first_token)
                cpu[name].append(found.cpu / beside.cpu)
    figures = {
        "base.first_token": median([each.first_token for each in base]),
        "base.cpu": median([r.cpu for r in base]),
    }
    figures |= {f"{name}.first_token_added": median(added[name]) for name in added}
    figures |= {f"{name}.cpu_ratio": median(cpu[name]) for name in added}
    return Findings(figures=figures, raw={"added": added, "cpu": cpu})


async def _streams(http: httpx.AsyncClient, front: Server, request: tuple[str, dict[str, Any]], tokens: int) -> _Run:
    """So many at once, begun one after another within the time of a token."""
    path, body = request

    async def one(number: int) -> float:
        await asyncio.sleep(number * 0.05 / STREAMS)
        asked_at, first, read = time.perf_counter(), 0.0, b""
        async with http.stream("POST", path, json=body) as response:
            response.raise_for_status()
            async for chunk in response.aiter_raw():
                if not first and _FIRST in (read := read + chunk):
                    first = time.perf_counter() - asked_at
        return first

    process = psutil.Process(front.pid)
    before = process.cpu_times()
    firsts = await asyncio.gather(*map(one, range(STREAMS)))
    after = process.cpu_times()
    used = after.user + after.system - before.user - before.system
    return _Run(median(firsts), used / (STREAMS * tokens))
