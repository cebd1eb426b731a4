"""How much of the prompts a step reads, and what ends a call for it."""

from __future__ import annotations

import threading
from collections.abc import Callable
from concurrent.futures import Future
from dataclasses import dataclass, field, replace
from itertools import pairwise

import pytest

from llm_core.engine.engine import Engine
from llm_core.engine.inbox import Job
from llm_core.engine.llama.context import Batch, Context
from llm_core.engine.llama.model import Model
from llm_core.engine.pace import Pace

from .conftest import OPTIONS, Call, ask
from .test_engine import BOOK, counting


@dataclass
class Decodes:
    """What is done on the engine's thread in the moment in which a large part of a prompt is about to be computed, and
    what the decodes came to: True where one was not interrupted."""

    meanwhile: Callable[[], object] = lambda: None
    ends: list[bool] = field(default_factory=list)


@pytest.fixture
def decodes(monkeypatch: pytest.MonkeyPatch) -> Decodes:
    decodes, decode = Decodes(), Context.decode

    def noted(context: Context, batch: Batch) -> bool:
        if batch.size > 100:
            decodes.meanwhile()
        decodes.ends.append(decode(context, batch))
        return decodes.ends[-1]

    monkeypatch.setattr(Context, "decode", noted)
    return decodes


def test_a_stop_ends_the_reading_of_a_lone_prompt_at_once(engine: Engine, decodes: Decodes) -> None:
    decodes.meanwhile = lambda: [engine.cancel(each) for each in engine._scheduler.running]

    book = ask(engine, BOOK).finish()

    assert (book.done.finish_reason, decodes.ends) == ("cancelled", [False])
    engine.check_integrity()


def test_a_newcomer_ends_the_reading_of_a_lone_prompt_which_then_goes_on(engine: Engine, decodes: Decodes) -> None:
    alone = ask(engine, BOOK, max_tokens=3).finish()
    assert all(decodes.ends), "nobody came"
    engine.clear_cache()
    questions: list[Call] = []

    def come() -> None:
        if not questions:
            questions.append(ask(engine, counting(engine), max_tokens=2))

    decodes.meanwhile = come
    book = ask(engine, BOOK, max_tokens=3).finish()

    assert decodes.ends.count(False) == 1
    assert questions[0].finish().done.usage.completion_tokens == 2
    assert (book.done.usage, book.text) == (alone.done.usage, alone.text)
    engine.check_integrity()


def test_no_series_of_newcomers_keeps_a_prompt_from_its_end(model: Model, decodes: Decodes) -> None:
    engine = Engine(model, replace(OPTIONS, slots=1))
    others: list[Call] = []
    decodes.meanwhile = lambda: others.append(ask(engine, counting(engine), max_tokens=1).cancel())
    try:
        assert ask(engine, BOOK, max_tokens=1).finish().done.usage.completion_tokens == 1
        assert False in decodes.ends
        assert (False, False) not in pairwise(decodes.ends)
        assert {other.finish().done.finish_reason for other in others} <= {"cancelled", "length"}
    finally:
        engine.close()


def test_short_prompts_that_wait_are_read_in_few_calls(
    engine: Engine, decodes: Decodes, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(Pace, "burst", 120)
    all_here = threading.Event()
    engine._inbox.put(Job(lambda: bool(all_here.wait(60)) and None, Future()))
    calls = [ask(engine, f"Say the number {number}.", max_tokens=1) for number in range(8)]
    all_here.set()
    for call in calls:
        call.finish()

    assert len(decodes.ends) <= 5, "one for what all begin with, and few for what is their own"
