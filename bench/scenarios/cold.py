"""Eight users arrive together with one system prompt that nobody has used before."""

from __future__ import annotations

import asyncio
import time

from bench.lab import Findings, Lab, Opening
from bench.measure import Reply, timed
from bench.scenarios.stop import stats
from bench.systems import System
from bench.workload import SYSTEM_PROMPT, conversations

USERS = 8
_REPLY_TOKENS = 2


async def run(lab: Lab) -> Findings:
    """For the engine also how often the system prompt was computed: once is right, eight times is the worst."""
    figures = await _engine(lab)
    openings: list[Opening] = [lab.llama_cpp_server, *lab.others]
    for opening in openings:
        async with opening() as system:
            lab.say(f"cold: {system.name}")
            replies = await _arrive(system, f"This is the desk number {time.time_ns()}.\n\n{SYSTEM_PROMPT}")
            figures[f"{system.name}.seconds"] = _all_answered(replies)
    return Findings(figures=figures)


async def _engine(lab: Lab) -> dict[str, float]:
    async with lab.engine() as engine:
        lab.say(f"cold: {engine.name}")
        replies = await _arrive(engine, SYSTEM_PROMPT)
        prefilled = stats(engine).prefilled_tokens
    asked = sum(reply.usage.prompt_tokens for reply in replies if reply.usage)
    shared = len(lab.vocabulary.tokenize(SYSTEM_PROMPT, add_special=False, parse_special=False))
    return {
        "engine.seconds": _all_answered(replies),
        "engine.prompt_tokens": float(asked),
        "engine.prefilled_tokens": float(prefilled),
        "engine.times_prefilled": (prefilled - (asked - USERS * shared)) / shared,
    }


async def _arrive(system: System, system_prompt: str) -> list[Reply]:
    asked = []
    for each in conversations(USERS, 1, series=f"cold {time.time_ns()}"):
        messages = [{"role": "system", "content": system_prompt}, {"role": "user", "content": each.questions[0]}]
        asked.append(timed(system.stream(messages, _REPLY_TOKENS, each.user)))
    return await asyncio.gather(*asked)


def _all_answered(replies: list[Reply]) -> float:
    """Seconds until the last of them had its first token."""
    return max(reply.first_token for reply in replies)
