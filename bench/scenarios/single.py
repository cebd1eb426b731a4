"""One stream: the engine against a bare decode loop and against `Llama`, decode alone, in alternating runs."""

from __future__ import annotations

from functools import partial

from bench.lab import Findings, Lab, Opening, ways
from bench.measure import median, timed

QUESTION = [
    {"role": "system", "content": "You tell long stories and never come to an end."},
    {"role": "user", "content": "Tell me a very long story about a ship that sails around the world, day by day."},
]
WARM_UP_TOKENS = 16


async def run(lab: Lab) -> Findings:
    """The median of the ratios of neighbouring runs, so that a machine that slows down for a while slows all alike."""
    prompt = _prompt(lab)
    rates: dict[str, list[float]] = {"bare": [], "engine": [], "llama": []}
    for number in range(lab.sizes.stream_rounds):
        lab.say(f"single: run {number + 1} of {lab.sizes.stream_rounds}")
        rates["bare"].append(await _bare(lab, prompt))
        rates["engine"].append(await _streamed(lab.engine, lab.sizes.stream_tokens))
        rates["llama"].append(await _streamed(lab.llama, lab.sizes.stream_tokens))
        for settings in ways("prepare", "off")[1:]:
            opening = partial(lab.engine, **settings)
            rates.setdefault("unprepared", []).append(await _streamed(opening, lab.sizes.stream_tokens))
    figures = {f"{name}_rate": median(each) for name, each in rates.items()}
    figures["engine_to_bare"] = median([ours / bare for ours, bare in zip(rates["engine"], rates["bare"], strict=True)])
    figures["engine_to_llama"] = median([a / b for a, b in zip(rates["engine"], rates["llama"], strict=True)])
    return Findings(figures=figures, raw={"rates": rates})


def _prompt(lab: Lab) -> list[int]:
    """The same conversation as tokens, in ChatML: the bare loop has no template, and needs only the same length."""
    text = "".join(f"<|im_start|>{each['role']}\n{each['content']}<|im_end|>\n" for each in QUESTION)
    return lab.vocabulary.tokenize(f"{text}<|im_start|>assistant\n", add_special=False, parse_special=True)


async def _bare(lab: Lab, prompt: list[int]) -> float:
    with lab.bare_loop() as bare:
        await bare.decode_rate(prompt, WARM_UP_TOKENS)
        return await bare.decode_rate(prompt, lab.sizes.stream_tokens)


async def _streamed(opening: Opening, tokens: int) -> float:
    async with opening() as system:
        await timed(system.stream(QUESTION, WARM_UP_TOKENS))
        return (await timed(system.stream(QUESTION, tokens))).decode_rate
