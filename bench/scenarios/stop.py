"""A reader leaves: how soon the slot is free, in the middle of a reply and in the middle of a long prompt.

Another stream runs meanwhile, as it would on a busy server, and its steps are the clock: "within one step" means that
the step that is under way may end, and the next one begins with a free slot.

Of a server elsewhere only what others notice can be seen: all its slots are taken, somebody waits, a reader leaves.
"""

from __future__ import annotations

import asyncio
import time
from collections.abc import Callable
from contextlib import aclosing
from typing import Any

from bench.lab import Findings, Lab, Opening
from bench.measure import first_token, median, percentile, to_llama_server
from bench.scenarios.background import running_streams
from bench.systems import EngineInProcess, System
from bench.workload import long_text, short_question
from llm_core.engine.facts import EngineStats

_POLL_SECONDS = 0.0005
_PIECES_BEFORE_STOP = 6
_PREFILLED_BEFORE_STOP = 100
_WAITS_SECONDS = 1.0


async def run(lab: Lab) -> Findings:
    figures: dict[str, float] = {}
    raw: dict[str, dict[str, list[Any]]] = {}
    async with lab.engine() as engine, running_streams(engine, 1):
        for phase, stop in (("decode", _stop_in_decode), ("prefill", _stop_in_prefill)):
            seconds, steps = [], []
            for number in range(lab.sizes.repeats):
                lab.say(f"stop: in {phase}, {number + 1} of {lab.sizes.repeats}")
                took, passed = await stop(engine, lab, number)
                seconds.append(took)
                steps.append(passed)
            figures |= {
                f"{phase}_p50": median(seconds),
                f"{phase}_max": max(seconds),
                f"{phase}_steps_max": float(max(steps)),
            }
            raw[phase] = {"seconds": seconds, "steps": steps}
    servers: list[tuple[Opening, int]] = [(lab.app, lab.slots), (lab.llama_cpp_server, 1)]
    for opening, slots in [*servers, *((peer, lab.slots) for peer in lab.peers)]:
        async with opening() as system:
            lab.say(f"stop: {slots} readers, one waits, {system.name}")
            tried = [await _next_in_line(system, slots, number) for number in range(lab.sizes.repeats)]
        waited = [each for each in tried if each is not None]
        figures |= {f"{system.name}.next_p50": median(waited), f"{system.name}.next_max": percentile(waited, 100)}
        raw[system.name] = {"next": waited}
    return Findings(figures | to_llama_server(figures, "next_p50"), raw=raw)


async def _stop_in_decode(engine: EngineInProcess, _lab: Lab, number: int) -> tuple[float, int]:
    """Seconds and steps from a closed iterator to a free slot, after a few tokens."""
    question = [{"role": "user", "content": f"Tell me the very long story number {number} about the wind."}]
    stream = engine.stream(question, 400, "leaver")
    for _ in range(_PIECES_BEFORE_STOP):
        await anext(stream)
    before, stopped_at = stats(engine), time.perf_counter()
    await stream.aclose()
    return await _until_free(engine, before, stopped_at)


async def _stop_in_prefill(engine: EngineInProcess, lab: Lab, number: int) -> tuple[float, int]:
    """The same for a task that is cancelled while its long prompt is computed."""
    text = long_text(lab.vocabulary, lab.sizes.dropped_tokens, series=f"stop {number} {time.time_ns()}")
    prefilled = stats(engine).prefilled_tokens
    reader = asyncio.create_task(_read(engine, text))
    await until(lambda: stats(engine).prefilled_tokens > prefilled + _PREFILLED_BEFORE_STOP)
    before, stopped_at = stats(engine), time.perf_counter()
    reader.cancel()
    await asyncio.wait({reader})
    return await _until_free(engine, before, stopped_at)


async def _next_in_line(system: System, slots: int, number: int) -> float | None:
    """Seconds from the moment when a reader leaves to the first token of who waits for a slot. None: a reply had ended
    by itself, so that nobody waited."""
    question = [{"role": "user", "content": short_question(f"next {number} {time.time_ns()}")}]
    async with running_streams(system, slots, pieces=1) as readers:
        waiting = asyncio.create_task(first_token(system.stream(question, 4, "next")))
        try:
            await asyncio.sleep(_WAITS_SECONDS)
            if waiting.done():
                return None
            stopped_at = time.perf_counter()
            assert readers[0].task is not None
            readers[0].task.cancel()
            await waiting
            return time.perf_counter() - stopped_at
        finally:
            waiting.cancel()


async def _read(engine: EngineInProcess, text: str) -> None:
    async with aclosing(engine.stream([{"role": "user", "content": text}], 2, "leaver")) as stream:
        async for _ in stream:
            pass


async def _until_free(engine: EngineInProcess, before: EngineStats, stopped_at: float) -> tuple[float, int]:
    await until(lambda: stats(engine).running < before.running)
    after = stats(engine)
    return time.perf_counter() - stopped_at, after.steps - before.steps


async def until(condition: Callable[[], bool]) -> None:
    """Waits for something to be so."""
    while not condition():  # noqa: ASYNC110 - what is watched is the engine's own state, which no event tells of
        await asyncio.sleep(_POLL_SECONDS)


def stats(engine: EngineInProcess) -> EngineStats:
    """A look at a loaded engine."""
    found = engine.client.stats()
    assert found is not None, "the lab hands out engines that are loaded"
    return found
