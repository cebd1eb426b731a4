"""A model with a sliding window keeps what it has computed as any other does: real, and longer than the window."""

from __future__ import annotations

from collections.abc import Iterator
from dataclasses import replace

import numpy as np
import pytest

from llm_core.engine.engine import Engine
from llm_core.engine.llama.context import Batch, Context
from llm_core.engine.llama.model import Model

from .conftest import OPTIONS, ask, said

CITIES = [
    "Paris",
    "London",
    "Rome",
    "Berlin",
    "Madrid",
    "Vienna",
    "Athens",
    "Dublin",
    "Lisbon",
    "Oslo",
    "Prague",
    "Warsaw",
]


def tokens_of(model: Model, text: str) -> tuple[int, ...]:
    return tuple(model.tokenize(text, add_special=False, parse_special=False))


def report(model: Model, name: str = "Paris") -> tuple[int, ...]:
    """Some 700 tokens, the first of them the beginning of a text; the window has 512."""
    lines = [f"{number}. In {city} it rained for {number} days." for number, city in enumerate(CITIES * 4)]
    lines[30] = f"30. In {name} the sun shone."
    return (2, *tokens_of(model, "The weather.\n" + "\n".join(lines) + "\n48. In"))


@pytest.fixture(scope="module")
def model(sliding_window_model: Model) -> Model:
    return sliding_window_model


@pytest.fixture(scope="module")
def shared_engine(model: Model) -> Iterator[Engine]:
    engine = Engine(model, replace(OPTIONS, slots=2, context_tokens=1536))
    yield engine
    engine.close()


@pytest.fixture(scope="module")
def cold(shared_engine: Engine) -> str:
    """What follows the report where nothing is cached."""
    shared_engine.clear_cache()
    return ask(shared_engine, report(shared_engine.model)).finish().text


def test_the_prompt_is_longer_than_the_window(model: Model) -> None:
    assert model.window
    assert len(report(model)) > model.window + 100


def test_a_second_turn_prefills_only_what_is_new_and_goes_on_as_a_cold_one(engine: Engine) -> None:
    first = ask(engine, report(engine.model), max_tokens=12).finish()
    turn = said(first) + tokens_of(engine.model, "\nSo the city with the most rain was")
    warm = ask(engine, turn).finish()
    engine.clear_cache()
    assert warm.done.usage.cached_tokens >= len(said(first)) - 1
    assert warm.text == ask(engine, turn).finish().text


def test_an_edit_of_an_earlier_turn_goes_on_from_there_as_a_cold_one(engine: Engine, cold: str) -> None:
    edited, prompt = report(engine.model, "Bonn"), report(engine.model)
    same = next(place for place, (old, new) in enumerate(zip(prompt, edited, strict=False)) if old != new)
    ask(engine, edited, max_tokens=4).finish()
    warm = ask(engine, prompt).finish()
    assert warm.done.usage.cached_tokens == same < engine.model.window
    assert warm.text == cold


def test_another_conversation_takes_the_beginning_that_is_the_same(engine: Engine, cold: str) -> None:
    """Both are kept: the prefix is copied into the second slot and cut there."""
    prompt = report(engine.model)
    ask(engine, (*prompt[:400], *tokens_of(engine.model, "something else. " * 60)), max_tokens=4).finish()
    warm = ask(engine, prompt).finish()
    assert warm.done.usage.cached_tokens == 400
    assert warm.text == cold


def test_what_went_to_host_memory_goes_on_where_it_ended(engine: Engine, cold: str) -> None:
    """llama.cpp leaves out of a saved state what has left the window, so it can only be continued."""
    prompt = report(engine.model)
    ask(engine, prompt, max_tokens=1).finish()
    for other in ("b", "c"):
        elsewhere = tokens_of(engine.model, f"{other} speaks of something else. " * 8)
        ask(engine, elsewhere, owner=other, max_tokens=1).finish()
    assert engine.stats().host_entries == 1
    edited = ask(engine, (*prompt[:400], *prompt[450:]), max_tokens=1).finish()
    assert edited.done.usage.cached_tokens == 0
    again = ask(engine, (*prompt, *tokens_of(engine.model, " Rome")), max_tokens=1).finish()
    assert again.done.usage.cached_tokens == len(prompt)


def test_a_cut_that_would_leave_a_window_without_its_start_is_refused(model: Model) -> None:
    context = Context(model, slots=2, context_tokens=1024, batch_tokens=512, threads=2)
    try:
        prompt, batch = np.array(report(model)[:600], np.int32), Batch(512)
        for start in (0, 300):
            batch.clear()
            batch.add(0, start, prompt[start : start + 300], wants_logits=True)
            context.decode(batch)
        state, shortest = context.save(0)
        assert (context.shortest(0), shortest) == (0, 600)
        assert context.restore(1, state)
        assert not context.trim(1, 599)
        assert context.trim(0, 10)
        assert context.length(0) == 10
    finally:
        context.close()
