"""Sampling straight on a context: the short way to the likeliest token is the same as llama.cpp's."""

from __future__ import annotations

from collections.abc import Iterator

import numpy as np
import pytest

from llm_core.engine.llama.context import Batch, Context
from llm_core.engine.llama.model import Model
from llm_core.engine.llama.sampler import Sampler
from llm_core.request import SamplingParams

NOTHING = np.empty(0, np.int32)
CHANGES_NOTHING = {0: 0.0}  # a bias for which llama.cpp's own chain is made


@pytest.fixture
def context(model: Model) -> Iterator[Context]:
    context = Context(model, slots=1, context_tokens=256, batch_tokens=64, threads=2)
    yield context
    context.close()


def test_the_likeliest_token_is_that_of_llama_cpps_greedy_sampler(context: Context, model: Model) -> None:
    short = Sampler(model, SamplingParams(temperature=0), NOTHING)
    chain = Sampler(model, SamplingParams(temperature=0, logit_bias=CHANGES_NOTHING), NOTHING)
    tokens = model.tokenize("Once upon a time", add_special=False, parse_special=False)
    batch, length = Batch(64), 0
    chosen = set()
    for _ in range(24):
        batch.clear()
        output = batch.add(0, length, np.array(tokens, np.int32), wants_logits=True)
        context.decode(batch)
        length += len(tokens)
        token = short.sample(context, output)
        assert token == chain.sample(context, output)
        tokens = [token]
        chosen.add(token)
    assert len(chosen) > 5
    short.close()
    chain.close()


def test_a_token_that_was_not_sampled_counts_for_the_penalties(context: Context, model: Model) -> None:
    batch = Batch(64)
    prompt = model.tokenize("Once upon a time", add_special=False, parse_special=False)
    output = batch.add(0, 0, np.array(prompt, np.int32), wants_logits=True)
    context.decode(batch)
    sampler = Sampler(model, SamplingParams(temperature=0, frequency_penalty=2), NOTHING)
    likeliest = int(context.logits(output).argmax())
    for _ in range(10):
        sampler.accept(likeliest)

    assert sampler.sample(context, output) != likeliest
    sampler.close()
