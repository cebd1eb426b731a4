"""The engine finds out by itself where its slots, its cache and its queue do not agree."""

from __future__ import annotations

from collections.abc import Callable, Iterator
from dataclasses import replace
from weakref import WeakSet

import pytest

from llm_core.engine.engine import Engine
from llm_core.engine.integrity import IntegrityError
from llm_core.engine.llama.model import Model
from llm_core.engine.sequence import GenerationRequest, Sequence
from llm_core.errors import EngineFailed
from llm_core.request import SamplingParams

from .conftest import OPTIONS, ask

Fault = Callable[[Engine], Callable[[], None]]


@pytest.fixture(scope="module")
def used(model: Model) -> Iterator[Engine]:
    """An idle engine with a prefix in its one slot and another in host memory. It does not check itself."""
    engine = Engine(model, replace(OPTIONS, slots=1, context_tokens=512, self_check=False))
    for owner in ("a", "b"):
        ask(engine, f"I am {owner}. " * 10, owner=owner, max_tokens=2).finish()
    engine.check_integrity()
    assert engine.stats().host_entries == 1
    yield engine
    engine.close()


def one_token_more(engine: Engine) -> Callable[[], None]:
    engine._slots[0].length += 1
    return lambda: setattr(engine._slots[0], "length", engine._slots[0].length - 1)


def taken_by_nobody(engine: Engine) -> Callable[[], None]:
    engine._slots[0].is_free = False
    return lambda: setattr(engine._slots[0], "is_free", True)


def more_than_may_be(engine: Engine) -> Callable[[], None]:
    limit, engine._cache.host_limit = engine._cache.host_limit, 1
    return lambda: setattr(engine._cache, "host_limit", limit)


def twice_the_same(engine: Engine) -> Callable[[], None]:
    engine._cache.host *= 2
    return lambda: engine._cache.host.pop() and None


def counted_and_not_there(engine: Engine) -> Callable[[], None]:
    engine._inbox._accepted += 1
    return engine._inbox.release


def runs_in_no_slot(engine: Engine) -> Callable[[], None]:
    sequence = Sequence(GenerationRequest((1,), SamplingParams(), 1, 1), lambda _event: None, 8)
    engine._inbox._accepted += 1
    engine._scheduler.running.append(sequence)

    def repair() -> None:
        engine._scheduler.running.clear()
        engine._inbox.release()

    return repair


@pytest.mark.parametrize(
    ("fault", "words"),
    [
        (one_token_more, "by llama.cpp's account"),
        (taken_by_nobody, "are taken"),
        (more_than_may_be, "host memory holds"),
        (twice_the_same, "an entry twice"),
        (counted_and_not_there, "are counted"),
        (runs_in_no_slot, "has no slot"),
    ],
    ids=["length", "slot", "host memory", "host entry", "count", "running"],
)
def test_what_contradicts_itself_is_found(used: Engine, fault: Fault, words: str) -> None:
    found: list[IntegrityError] = []

    def look() -> None:
        repair = fault(used)
        try:
            used._check_integrity()
        except IntegrityError as error:
            found.append(error)
        repair()

    used._do(look)

    assert words in str(found[0])


def test_an_engine_that_checks_itself_stops_when_it_goes_idle(model: Model, engines: WeakSet[Engine]) -> None:
    engine = Engine(model, replace(OPTIONS, slots=1, context_tokens=512))
    engines.discard(engine)  # the check after the test would fail, as it should
    engine._do(lambda: setattr(engine._cache, "host_limit", -1))
    engine._thread.join(60)

    with pytest.raises(EngineFailed, match="host memory holds"):
        engine.check_integrity()
