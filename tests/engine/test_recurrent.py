"""Models whose memory cannot be cut go back to a checkpoint: for an edit, for a retry, and for another conversation."""

from __future__ import annotations

from collections.abc import Callable, Iterator
from dataclasses import replace
from pathlib import Path

import numpy as np
import pytest

from llm_core.engine.checkpoints import stops
from llm_core.engine.engine import Engine
from llm_core.engine.kv.checkpoint import MOST_CHECKPOINTS, Checkpoint, last_of, thinned
from llm_core.engine.llama.model import Model

from . import random_model
from .conftest import OPTIONS, Call, ask, prompt_of, said, user_turn

SYSTEM = "You are the guide of a small museum of clocks. " + "Every answer is short, kind and true. " * 6
END = "<|im_end|>"


@pytest.fixture(scope="module", params=[random_model.lfm2, random_model.mamba], ids=lambda make: make.__name__)
def model(
    request: pytest.FixtureRequest, model_path: Path, tmp_path_factory: pytest.TempPathFactory
) -> Iterator[Model]:
    make: Callable[[Path, Path], Path] = request.param
    model = Model.load(make(model_path, tmp_path_factory.mktemp("random") / f"{make.__name__}.gguf"))
    yield model
    model.close()


@pytest.fixture(scope="module")
def shared_engine(model: Model) -> Iterator[Engine]:
    engine = Engine(model, replace(OPTIONS, slots=3, context_tokens=1024))
    yield engine
    engine.close()


def first_turn(engine: Engine, text: str = "Tell me of the old clock. " * 4) -> tuple[int, ...]:
    """The first turn of a conversation, as tokens: the prompt and the reply."""
    return said(ask(engine, prompt_of(engine.model, text, system=SYSTEM), max_tokens=12).finish())


def asked_cold(engine: Engine, prompt: tuple[int, ...]) -> Call:
    engine.clear_cache()
    call = ask(engine, prompt).finish()
    assert call.done.usage.cached_tokens == 0
    return call


def test_an_edit_of_the_last_message_goes_on_from_the_end_of_the_turn_before(engine: Engine) -> None:
    earlier = first_turn(engine)
    ask(engine, earlier + user_turn(engine.model, "Who made it, and when was it made? " * 3)).finish()
    edited = earlier + user_turn(engine.model, "How much is a ticket, and where do I buy it? " * 3)
    warm = ask(engine, edited).finish()
    assert warm.done.usage.cached_tokens == len(earlier) - 1, "the last token was sampled and never computed"
    assert warm.text == asked_cold(engine, edited).text


def test_a_retry_reads_the_end_of_its_message_alone(engine: Engine) -> None:
    prompt = first_turn(engine) + user_turn(engine.model, "Who made it, and when was it made? " * 3)
    first = ask(engine, prompt).finish()
    again = ask(engine, prompt).finish()
    (end,) = engine.model.tokenize(END, add_special=False, parse_special=True)
    assert again.done.usage.cached_tokens == len(prompt) - 1 - prompt[::-1].index(end)
    assert again.text == first.text == asked_cold(engine, prompt).text


def test_the_operators_prompt_is_read_once_for_all(engine: Engine) -> None:
    head = f"<|im_start|>system\n{SYSTEM}<|im_end|>\n"
    shared = len(engine.model.tokenize(head, add_special=False, parse_special=True))
    ask(engine, prompt_of(engine.model, "Hello", system=SYSTEM), owner="a", shared_tokens=shared).finish()
    other = prompt_of(engine.model, "What time is it?", system=SYSTEM)
    theirs = ask(engine, other, owner="b", shared_tokens=shared).finish()
    assert shared - 3 <= theirs.done.usage.cached_tokens <= shared, "the message's end is two tokens before"
    assert theirs.text == asked_cold(engine, other).text


def test_checkpoints_move_to_host_memory_and_back_with_their_conversation(engine: Engine) -> None:
    earlier = first_turn(engine)
    ask(engine, earlier + user_turn(engine.model, "Who made it, and when was it made? " * 3)).finish()
    for other in ("b", "c", "d"):
        ask(engine, prompt_of(engine.model, f"{other} speaks of something else. " * 8), owner=other).finish()
    edited = earlier + user_turn(engine.model, "How much is a ticket, and where do I buy it? " * 3)
    warm = ask(engine, edited).finish()
    assert warm.done.usage.cached_tokens == len(earlier) - 1
    assert warm.text == asked_cold(engine, edited).text


def test_checkpoints_are_bounded_with_what_else_is_in_host_memory(model: Model) -> None:
    limit = 400_000
    engine = Engine(model, replace(OPTIONS, slots=2, context_tokens=1024, host_bytes=limit))
    try:
        conversation: tuple[int, ...] = ()
        for number in range(12):
            turn = user_turn(model, f"Tell me of clock number {number}. " * 3)
            conversation = said(ask(engine, conversation + turn, max_tokens=4).finish())
            assert 0 < engine.stats().host_bytes <= limit
            assert all(len(slot.checkpoints) <= MOST_CHECKPOINTS for slot in engine._slots)
    finally:
        engine.close()


def test_without_host_memory_there_are_none(model: Model) -> None:
    engine = Engine(model, replace(OPTIONS, slots=2, context_tokens=512, host_bytes=0))
    try:
        prompt = prompt_of(model, "Tell me of the old clock. " * 4)
        ask(engine, prompt, max_tokens=4).finish()
        assert ask(engine, prompt, max_tokens=4).finish().done.usage.cached_tokens == 0
        assert engine.stats().host_bytes == 0
    finally:
        engine.close()


@pytest.mark.parametrize(
    ("cached", "shared", "expected"),
    [(0, 0, (40, 70)), (0, 20, (20, 40, 70)), (41, 20, (70,)), (60, 0, ()), (30, 0, (70,))],
)
def test_a_prompt_is_stopped_before_the_ends_of_its_last_turns(
    cached: int, shared: int, expected: tuple[int, ...]
) -> None:
    prompt = np.zeros(80, np.int32)
    prompt[[10, 40, 70]] = 2
    assert stops(prompt, cached, {2}, shared) == expected


def test_a_prompt_without_turns_is_stopped_before_its_last_token() -> None:
    assert stops(np.zeros(80, np.int32), 0, {2}, 0) == (79,)


def test_of_too_many_checkpoints_those_stay_that_reach_back_to_the_start() -> None:
    state = np.zeros(1, np.uint8)
    kept: tuple[Checkpoint, ...] = ()
    for length in range(100, 4100, 100):
        kept = thinned((*kept, Checkpoint(length, state)))
    lengths = [each.length for each in kept]
    assert len(lengths) == MOST_CHECKPOINTS
    assert lengths[-2:] == [3900, 4000]
    assert max(after - before for before, after in zip([0, *lengths], lengths, strict=False)) <= 1600
    assert last_of(kept, 99) is None
    assert last_of(kept, 3999) is kept[-2]
