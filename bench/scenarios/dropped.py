"""A reader leaves in the middle of a 3,000-token prompt: what the next one, with a short question, notices of it."""

from __future__ import annotations

import asyncio
import time
from contextlib import aclosing

from bench.lab import Findings, Lab, Opening
from bench.measure import first_token, median, percentile, to_llama_server
from bench.systems import Messages, System
from bench.workload import long_text, short_question

_SYSTEM = {"role": "system", "content": "You are a helpful assistant."}
_READER_STAYS_SECONDS = 0.5


async def run(lab: Lab) -> Findings:
    """The app, `llama_cpp.server` and other servers, all over HTTP."""
    findings = Findings()
    openings: list[Opening] = [lab.app, lab.llama_cpp_server, *lab.others]
    for opening in openings:
        async with opening() as system:
            lab.say(f"dropped: {system.name}")
            undisturbed, after = await _measure(system, lab)
        usual, worst = median(undisturbed), percentile(after, 95)
        findings.raw[system.name] = {"undisturbed": undisturbed, "after": after}
        findings.figures.update(
            {
                f"{system.name}.undisturbed": usual,
                f"{system.name}.after_p50": median(after),
                f"{system.name}.after_p95": worst,
                f"{system.name}.after_less_a_step_ratio": max(0.0, worst - lab.step_seconds) / usual,
            }
        )
    findings.figures.update(to_llama_server(findings.figures, "after_p50", "after_p95"))
    return findings


async def _measure(system: System, lab: Lab) -> tuple[list[float], list[float]]:
    undisturbed, after = [], []
    await _short(system, "warm-up")
    for number in range(lab.sizes.repeats):
        undisturbed.append(await _short(system, f"undisturbed {number}"))
        await _drop_a_book(system, lab, number)
        after.append(await _short(system, f"after {number}"))
    return undisturbed, after


async def _short(system: System, series: str) -> float:
    messages = [_SYSTEM, {"role": "user", "content": short_question(f"{series} {time.time_ns()}")}]
    return await first_token(system.stream(messages, 4, "next"))


async def _drop_a_book(system: System, lab: Lab, number: int) -> None:
    text = long_text(lab.vocabulary, lab.sizes.dropped_tokens, series=f"dropped {number} {time.time_ns()}")
    reader = asyncio.create_task(_read(system, [_SYSTEM, {"role": "user", "content": text}]))
    await asyncio.sleep(_READER_STAYS_SECONDS)
    reader.cancel()
    await asyncio.wait({reader})


async def _read(system: System, messages: Messages) -> None:
    async with aclosing(system.stream(messages, 2, "leaver")) as stream:
        async for _ in stream:
            pass
