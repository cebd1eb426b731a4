"""8 streams held to a schema against 8 free ones: the same prompts, the same lengths, in alternating runs."""

from __future__ import annotations

import asyncio
import time
from collections.abc import Iterator
from contextlib import aclosing, contextmanager
from dataclasses import dataclass, field
from itertools import pairwise
from typing import Any

from bench.lab import Findings, Lab
from bench.measure import median
from bench.systems import EngineInProcess
from llm_core.chat.formats import DEFAULT_REASONING
from llm_core.chat.reply_syntax import ReplySyntax
from llm_core.chat.tool_formats import HERMES
from llm_core.engine.llama.context import Batch, Context
from llm_core.events import ContentDelta
from llm_core.request import build_request
from llm_core.structured_output.constraint import ConstraintCompiler
from llm_core.structured_output.grammar import reply_grammar

STREAMS = 8
TOOLS = 20

# What a tool that files a report asks for. Its text is long enough for a run.
REPORT: dict[str, Any] = {
    "type": "object",
    "properties": {
        "title": {"type": "string", "maxLength": 80},
        "priority": {"enum": ["low", "normal", "high"]},
        "tags": {"type": "array", "items": {"type": "string", "maxLength": 20}, "maxItems": 3},
        "estimate": {"type": "integer", "minimum": 1, "maximum": 100},
        "text": {"type": "string", "minLength": 4_000},
    },
    "required": ["title", "priority", "tags", "estimate", "text"],
    "additionalProperties": False,
}
_HELD = {"type": "json_schema", "json_schema": {"name": "report", "schema": REPORT}}
_QUESTION = "Write report number {number}, about {topic}, as long as you can. Do not stop early."
_TOPICS = ("tides", "bread", "bees", "bridges", "clocks", "canals", "maps", "comets")


@dataclass
class Decodes:
    """When `llama_decode` was called and came back, for one run of all streams."""

    calls: list[tuple[float, float]] = field(default_factory=list)

    @property
    def decode(self) -> float:
        """Median seconds of one call."""
        return median([end - start for start, end in self.calls])

    @property
    def between(self) -> float:
        """Median seconds from one call to the next: masks, sampling, text, and whatever else a step does."""
        return median([later[0] - earlier[1] for earlier, later in pairwise(self.calls)])


async def run(lab: Lab) -> Findings:
    """What a step takes beside `llama_decode`, with and without constraints, against the whole step.

    Whole steps are compared too. Where the machine has other work, their ratio says more about that.
    """
    rounds: dict[str, list[Decodes]] = {"free": [], "held": []}
    async with lab.engine() as engine:
        await _streams(engine, 8, response_format=_HELD)  # makes the tables of the vocabulary
        for number in range(lab.sizes.held_rounds):
            lab.say(f"constraint: run {number + 1} of {lab.sizes.held_rounds}")
            rounds["free"].append(await _streams(engine, lab.sizes.held_tokens))
            rounds["held"].append(await _streams(engine, lab.sizes.held_tokens, response_format=_HELD))
    decode = {name: median([each.decode for each in runs]) for name, runs in rounds.items()}
    between = {name: median([each.between for each in runs]) for name, runs in rounds.items()}
    step = decode["free"] + between["free"]
    figures = {
        "free_step": step,
        "between_free": between["free"],
        "between_held": between["held"],
        "cost": (between["held"] - between["free"]) / step,
        "step_ratio": (decode["held"] + between["held"]) / step,
        "compile": _compile_seconds(lab),
    }
    raw = {name: [{"decode": each.decode, "between": each.between} for each in runs] for name, runs in rounds.items()}
    return Findings(figures=figures, raw=raw)


async def _streams(engine: EngineInProcess, tokens: int, **options: Any) -> Decodes:
    """All streams, from the moment when each has its first token to the moment when the first of them ends."""
    with _watched() as seen:
        spans = await asyncio.gather(*(_span(engine, number, tokens, **options) for number in range(STREAMS)))
    begin, end = max(start for start, _ in spans), min(end for _, end in spans)
    return Decodes([call for call in seen.calls if begin < call[0] and call[1] < end])


async def _span(engine: EngineInProcess, number: int, tokens: int, **options: Any) -> tuple[float, float]:
    """When the first piece of one stream's text came, and when it ended."""
    question = [{"role": "user", "content": _QUESTION.format(number=number, topic=_TOPICS[number])}]
    events = engine.client.achat_stream(question, temperature=0, max_tokens=tokens, owner=f"reader-{number}", **options)
    first = None
    async with aclosing(events):
        async for event in events:
            if first is None and isinstance(event, ContentDelta):
                first = time.perf_counter()
    return first or time.perf_counter(), time.perf_counter()


@contextmanager
def _watched() -> Iterator[Decodes]:
    """Sees every call of `llama_decode` while a block runs."""
    seen, real = Decodes(), Context.decode

    def decode(context: Context, batch: Batch) -> None:
        start = time.perf_counter()
        real(context, batch)
        seen.calls.append((start, time.perf_counter()))

    Context.decode = decode  # type: ignore[method-assign]
    try:
        yield seen
    finally:
        Context.decode = real  # type: ignore[method-assign]


def _compile_seconds(lab: Lab) -> float:
    """What the tools of a request cost before it is queued, once the vocabulary's tables are made."""
    tools = [{"name": f"file_report_{number}", "parameters": REPORT} for number in range(TOOLS)]
    request = build_request([{"role": "user", "content": "Hi"}], max_tokens=1, timeout=1, tools=tools)
    syntax = ReplySyntax(HERMES, DEFAULT_REASONING, thinks=False, control_token=lambda _text: None)
    compiler = ConstraintCompiler(lab.vocabulary)
    took = []
    for _ in range(lab.sizes.held_rounds + 1):
        started = time.perf_counter()
        grammar = reply_grammar(request, syntax, starts_in_reasoning=False)
        assert grammar is not None
        grammar.compile(compiler)
        took.append(time.perf_counter() - started)
    compiler.close()
    return median(took[1:])
