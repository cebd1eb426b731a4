"""Two models in one process: what a switch costs, what two get done beside one, what streams notice of a loading.

Both are the same file under two names, so that nothing but their number differs.
"""

from __future__ import annotations

import asyncio
import time
from collections.abc import AsyncIterator
from contextlib import asynccontextmanager
from pathlib import Path
from tempfile import TemporaryDirectory

from bench.lab import Findings, Lab
from bench.measure import first_token, median, percentile, timed
from bench.scenarios.background import running_streams
from bench.systems import EngineInProcess

_USERS = 8
_STREAMS = 4
_BEFORE_SECONDS = 3.0
_QUESTION = "Tell me a long story about the sea for reader {number}, at {now}."


async def run(lab: Lab) -> Findings:
    """Rounds of one model and of two, in turns; then switches, then a model that is loaded among running streams."""
    findings: dict[str, float] = {}
    one, two, beside_idle = [], [], []
    with TemporaryDirectory(dir=lab.logs) as folder:
        twin = Path(folder) / f"twin{lab.model.suffix}"
        twin.symlink_to(lab.model.resolve())
        for number in range(lab.sizes.rounds):
            lab.say(f"models: round {number + 1} of {lab.sizes.rounds}")
            async with lab.engine() as alone:
                one.append(await _rate([alone] * _USERS, lab))
            async with _both(lab, twin) as (first, second):
                beside_idle.append(await _rate([first] * _USERS, lab))
                two.append(await _rate([first, second] * (_USERS // 2), lab))
                if number == 0:
                    findings |= await _switches(first, second, lab)
        lab.say("models: one is loaded among running streams")
        findings |= await _loading(lab, twin)
    findings |= {"one_rate": median(one), "two_rate": median(two), "beside_idle_rate": median(beside_idle)}
    findings["two_to_one"] = median([ours / base for ours, base in zip(two, one, strict=True)])
    findings["beside_idle_to_one"] = median([ours / base for ours, base in zip(beside_idle, one, strict=True)])
    return Findings(figures=findings, raw={"one": one, "two": two, "beside_idle": beside_idle})


@asynccontextmanager
async def _both(lab: Lab, twin: Path) -> AsyncIterator[tuple[EngineInProcess, EngineInProcess]]:
    async with lab.engine(model=f"{lab.model},{twin}") as first:
        second = first.asked_for(twin.stem)
        await timed(second.stream([{"role": "user", "content": "Hello."}], 2))  # loads it
        yield first, second


async def _rate(systems: list[EngineInProcess], lab: Lab) -> float:
    """Tokens per second in all, with one reader for each of the systems."""
    began = time.perf_counter()
    replies = await asyncio.gather(
        *(
            timed(system.stream(_asked(number), lab.sizes.stream_tokens, f"reader-{number}"))
            for number, system in enumerate(systems)
        )
    )
    return sum(reply.tokens for reply in replies) / (time.perf_counter() - began)


async def _switches(first: EngineInProcess, second: EngineInProcess, lab: Lab) -> dict[str, float]:
    """Seconds to the first token of a short question, by the model that answered before and by the other one."""
    same, other = [], []
    for number in range(2 * lab.sizes.repeats):
        await first_token(first.stream(_asked(number), 2))
        same.append(await first_token(first.stream(_asked(number), 2)))
        await first_token(second.stream(_asked(number), 2))
        other.append(await first_token(first.stream(_asked(number), 2)))
    return {
        "same_first_token": median(same),
        "switched_first_token": median(other),
        "switch": median(other) - median(same),
    }


async def _loading(lab: Lab, twin: Path) -> dict[str, float]:
    """Gaps of streams of one model before another one is loaded, and meanwhile."""
    async with lab.engine(model=f"{lab.model},{twin}") as first, running_streams(first, _STREAMS) as streams:
        began = time.perf_counter()
        await asyncio.sleep(_BEFORE_SECONDS)
        asked = time.perf_counter()
        await asyncio.wrap_future(first.client.models.start(twin.stem))
        loaded = time.perf_counter()
        before = [gap for stream in streams for gap in stream.gaps(began, asked)]
        meanwhile = [gap for stream in streams for gap in stream.gaps(asked, loaded)]
    return {
        "load_seconds": loaded - asked,
        "gap_before_p95": percentile(before, 95),
        "gap_loading_p95": percentile(meanwhile, 95),
        "gap_loading_ratio": percentile(meanwhile, 95) / percentile(before, 95),
    }


def _asked(number: int) -> list[dict[str, str]]:
    return [{"role": "user", "content": _QUESTION.format(number=number, now=time.time_ns())}]
