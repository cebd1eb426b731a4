"""One stream: the engine against a bare decode loop and against `Llama`, decode alone, in alternating runs."""

from __future__ import annotations

import asyncio
from contextlib import closing

from bench.lab import Findings, Lab
from bench.measure import median, timed
from bench.systems import System

QUESTION = [
    {"role": "system", "content": "You tell long stories and never come to an end."},
    {"role": "user", "content": "Tell me a very long story about a ship that sails around the world, day by day."},
]


async def run(lab: Lab) -> Findings:
    """The median of the ratios of neighbouring runs, so that a machine that slows down for a while slows all alike."""
    sizes = lab.sizes
    engine, llama = await lab.engine(), await lab.llama()
    rates: dict[str, list[float]] = {"bare": [], "engine": [], "llama": []}
    prompt = _prompt(lab)
    with closing(lab.bare_loop()) as bare:
        for number in range(sizes.stream_rounds + 1):
            lab.say(f"single: run {number} of {sizes.stream_rounds}" if number else "single: warm-up")
            run = {
                "bare": await asyncio.to_thread(bare.decode_rate, prompt, sizes.stream_tokens),
                "engine": await _decode_rate(engine, sizes.stream_tokens),
                "llama": await _decode_rate(llama, sizes.stream_tokens),
            }
            if number:
                for name, rate in run.items():
                    rates[name].append(rate)
    figures = {f"{name}_rate": median(each) for name, each in rates.items()}
    figures["engine_to_bare"] = median([ours / bare for ours, bare in zip(rates["engine"], rates["bare"], strict=True)])
    figures["engine_to_llama"] = median([a / b for a, b in zip(rates["engine"], rates["llama"], strict=True)])
    return Findings(figures=figures, raw={"rates": rates})


def _prompt(lab: Lab) -> list[int]:
    """The same conversation as tokens, in ChatML: the bare loop has no template, and needs only the same length."""
    text = "".join(f"<|im_start|>{each['role']}\n{each['content']}<|im_end|>\n" for each in QUESTION)
    return lab.vocabulary.tokenize(f"{text}<|im_start|>assistant\n", add_special=False, parse_special=True)


async def _decode_rate(system: System, tokens: int) -> float:
    return (await timed(system.stream(QUESTION, tokens))).decode_rate
