"""A thousand short requests to an app of its own: whether its memory grows with them."""

from __future__ import annotations

import asyncio

import psutil

from bench.lab import Findings, Lab
from bench.measure import timed
from bench.systems import OpenAIServer
from bench.workload import short_question

AT_ONCE = 8
KV_HOST_MB = 32
"""Host memory for idle prefixes. It fills on purpose, so it is made so small here that it is full before the first
look: what grows after that is a leak."""
_REPLY_TOKENS = 4
_CONTEXT_TOKENS = 512
_SYSTEM = {"role": "system", "content": "You are a helpful assistant."}
_MIB = 1024 * 1024


async def run(lab: Lab) -> Findings:
    """Resident memory of the whole process after the first and after the last look."""
    first_look, last_look = lab.sizes.requests
    async with lab.app_process("app-memory", context_tokens=_CONTEXT_TOKENS, kv_host_mb=KV_HOST_MB) as server:
        system = OpenAIServer("app", server.url)
        process = psutil.Process(server.pid)
        samples = {}
        try:
            for start in range(0, last_look, first_look):
                count = min(first_look, last_look - start)
                await _ask(system, start, count)
                samples[start + count] = process.memory_info().rss / _MIB
                lab.say(f"memory: {start + count} of {last_look} requests, {samples[start + count]:.0f} MiB")
        finally:
            await system.close()
    return Findings(
        figures={
            "first_mib": samples[first_look],
            "last_mib": samples[last_look],
            "growth": samples[last_look] / samples[first_look] - 1,
        },
        raw={"samples": samples},
    )


async def _ask(system: OpenAIServer, start: int, count: int) -> None:
    """`count` requests, a few at a time."""
    gate = asyncio.Semaphore(AT_ONCE)

    async def ask(number: int) -> None:
        async with gate:
            messages = [_SYSTEM, {"role": "user", "content": short_question(f"memory {number}")}]
            await timed(system.stream(messages, _REPLY_TOKENS))

    await asyncio.gather(*(ask(start + number) for number in range(count)))
