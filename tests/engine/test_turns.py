"""Engines of one process take turns, in the order in which they ask."""

from __future__ import annotations

import threading

from llm_core.engine.turns import Turns
from tests.waiting import wait_until

WAIT = 60.0


class Engine:
    """Takes a turn on a thread of its own, and holds it until it is told to end."""

    def __init__(self, turns: Turns, name: str, order: list[str]) -> None:
        self.began, self.may_end, self.wanted = threading.Event(), threading.Event(), threading.Event()
        self._turns, self._name, self._order = turns, name, order
        self.thread = threading.Thread(target=self._run)
        self.thread.start()

    def _run(self) -> None:
        with self._turns.take(self.wanted.set):
            self._order.append(self._name)
            self.began.set()
            assert self.may_end.wait(WAIT)


def test_turns_are_had_one_at_a_time_in_the_order_in_which_they_were_asked_for() -> None:
    turns, order = Turns(), []  # type: tuple[Turns, list[str]]
    engines = []
    for place, name in enumerate("abc"):
        engines.append(Engine(turns, name, order))
        wait_until(lambda place=place: len(turns._waiting) == place, "it waits")  # type: ignore[misc]
        if not place:
            assert engines[0].began.wait(WAIT)
    for number, engine in enumerate(engines):
        assert engine.began.wait(WAIT)
        assert order == list("abc"[: number + 1])
        engine.may_end.set()
        engine.thread.join(WAIT)
    assert not turns.is_wanted


def test_whoever_has_the_turn_is_told_that_somebody_waits() -> None:
    turns, order = Turns(), []  # type: tuple[Turns, list[str]]
    first = Engine(turns, "a", order)
    assert first.began.wait(WAIT)
    assert not turns.is_wanted
    second = Engine(turns, "b", order)

    assert first.wanted.wait(WAIT)
    assert turns.is_wanted
    for engine in (first, second):
        engine.may_end.set()
        engine.thread.join(WAIT)


def test_a_step_that_fails_gives_its_turn_back() -> None:
    turns = Turns()
    try:
        with turns.take(lambda: None):
            raise ValueError
    except ValueError:
        pass
    with turns.take(lambda: None):
        assert not turns.is_wanted


def test_nobody_computes_only_some_time_after_the_last_turn() -> None:
    turns = Turns()
    assert turns.is_idle

    with turns.take(lambda: None):
        assert not turns.is_idle
    assert not turns.is_idle, "a running engine takes its next turn at once"
    wait_until(lambda: turns.is_idle, "it is quiet for a while")


def test_a_turn_counts_as_soon_as_it_is_given() -> None:
    turns = Turns()
    with turns.take(lambda: None):
        other = Engine(turns, "b", [])
        wait_until(lambda: bool(turns._waiting), "it waits")
        assert turns.begun == 1
    assert turns.begun == 2  # whether its thread has woken or not
    other.may_end.set()
    other.thread.join()
