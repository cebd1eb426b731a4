"""8 streams held to a schema against 8 free ones: the same prompts, the same lengths, in alternating runs."""

from __future__ import annotations

import asyncio
import time
from collections.abc import Iterator
from contextlib import aclosing, contextmanager
from dataclasses import dataclass
from typing import Any

from bench.lab import Findings, Lab
from bench.measure import median
from bench.systems import EngineInProcess
from llm_core.chat.formats import DEFAULT_REASONING
from llm_core.chat.grammar import Manner, reply_grammar
from llm_core.chat.tool_formats import HERMES
from llm_core.engine.constraint import Constraint, ConstraintCompiler
from llm_core.events import Done
from llm_core.request import build_request

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
class Clock:
    """CPU seconds that the engine's thread spent in constraints. The GIL may be waited for in between; that is no cost
    of theirs."""

    seconds: float = 0.0


async def run(lab: Lab) -> Findings:
    """A step's seconds with and without constraints, and what of it the masks took."""
    steps: dict[str, list[float]] = {"free": [], "held": []}
    shares = []
    async with lab.engine() as engine:
        await _streams(engine, 8, response_format=_HELD)  # makes the tables of the vocabulary
        for number in range(lab.sizes.held_rounds):
            lab.say(f"constraint: run {number + 1} of {lab.sizes.held_rounds}")
            steps["free"].append(await _streams(engine, lab.sizes.held_tokens))
            with _clocked() as clock:
                steps["held"].append(await _streams(engine, lab.sizes.held_tokens, response_format=_HELD))
            shares.append(clock.seconds / (steps["held"][-1] * lab.sizes.held_tokens))
    figures = {f"{name}_step": median(each) for name, each in steps.items()}
    figures["step_ratio"] = median([held / free for held, free in zip(steps["held"], steps["free"], strict=True)])
    figures["mask_share"] = median(shares)
    figures["compile"] = _compile_seconds(lab)
    return Findings(figures=figures, raw={"steps": steps, "shares": shares})


async def _streams(engine: EngineInProcess, tokens: int, **options: Any) -> float:
    """Seconds of a step of the engine while all streams run."""
    rates = await asyncio.gather(*(_rate(engine, number, tokens, **options) for number in range(STREAMS)))
    return 1 / median(rates)


async def _rate(engine: EngineInProcess, number: int, tokens: int, **options: Any) -> float:
    """Tokens a second of one stream, as the engine counts them, after the first one."""
    question = [{"role": "user", "content": _QUESTION.format(number=number, topic=_TOPICS[number])}]
    events = engine.client.achat_stream(question, temperature=0, max_tokens=tokens, owner=f"reader-{number}", **options)
    async with aclosing(events):
        async for event in events:
            if isinstance(event, Done):
                return event.timings.tokens_per_second
    raise AssertionError("a reply ends with Done")


@contextmanager
def _clocked() -> Iterator[Clock]:
    """Measures the time in constraints while a block runs."""
    clock, real = Clock(), (Constraint.mask, Constraint.accept)

    def timed(method: Any) -> Any:
        def call(*arguments: Any) -> None:
            started = time.thread_time()
            method(*arguments)
            clock.seconds += time.thread_time() - started

        return call

    Constraint.mask, Constraint.accept = map(timed, real)  # type: ignore[method-assign]
    try:
        yield clock
    finally:
        Constraint.mask, Constraint.accept = real  # type: ignore[method-assign]


def _compile_seconds(lab: Lab) -> float:
    """What the tools of a request cost before it is queued, once the vocabulary's tables are made."""
    tools = [{"name": f"file_report_{number}", "parameters": REPORT} for number in range(TOOLS)]
    request = build_request([{"role": "user", "content": "Hi"}], max_tokens=1, timeout=1, tools=tools)
    manner = Manner(HERMES, DEFAULT_REASONING, thinks=False, control_token=lambda _text: None)
    compiler = ConstraintCompiler(lab.vocabulary)
    took = []
    for _ in range(lab.sizes.held_rounds + 1):
        started = time.perf_counter()
        grammar = reply_grammar(request, manner, starts_in_reasoning=False)
        assert grammar is not None
        grammar.compile(compiler)
        took.append(time.perf_counter() - started)
    compiler.close()
    return median(took[1:])
