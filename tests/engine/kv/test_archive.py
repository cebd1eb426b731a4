"""A conversation is there after a restart: for its owner, for its model, until its session is deleted."""

from __future__ import annotations

import threading
from collections.abc import Callable, Iterator
from dataclasses import replace
from pathlib import Path

import pytest

from llm_core.engine.engine import Engine
from llm_core.engine.kv import archive as archive_module
from llm_core.engine.kv.state_path import state_path
from llm_core.engine.llama.model import Model
from llm_core.errors import StorageError
from tests.waiting import wait_until

from .. import random_model
from ..conftest import OPTIONS, Call, ask, prompt_of, said, user_turn

QUESTION = "Tell me a story about a lighthouse and a storm. " * 8

Start = Callable[..., Engine]


@pytest.fixture
def start(model: Model, tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Iterator[Start]:
    """Starts an engine that keeps states in one folder; the one before has ended."""
    monkeypatch.setattr(archive_module, "_SETTLE_SECONDS", 0.05)
    running: list[Engine] = []

    def start(model: Model = model, is_kept: Callable[[str, str], bool] = lambda *_: True, **options: object) -> Engine:
        while running:
            running.pop().close()
        chosen = {"slots": 2, "context_tokens": 1024, "kv_folder": tmp_path, "disk_bytes": 1 << 28} | options
        running.append(Engine(model, replace(OPTIONS, **chosen), is_kept))
        return running[0]

    yield start
    while running:
        running.pop().close()


def first_turn(engine: Engine, folder: Path, *, owner: str = "ann", session: str = "trip") -> tuple[int, ...]:
    """The first turn of a session, which is on disk when this returns."""
    first = ask(engine, prompt_of(engine.model, QUESTION), owner=owner, session=session, max_tokens=8).finish()
    wait_until(state_path(folder, owner, session).exists, "its state is on disk", seconds=60)
    return said(first)


def next_turn(engine: Engine, earlier: tuple[int, ...], *, owner: str = "ann", session: str = "trip") -> Call:
    prompt = earlier + user_turn(engine.model, "And then?")
    return ask(engine, prompt, owner=owner, session=session, max_tokens=12).finish()


def test_after_a_restart_the_next_turn_goes_on_and_says_the_same(start: Start, tmp_path: Path) -> None:
    earlier = first_turn(start(), tmp_path)
    warm = next_turn(start(), earlier)
    cold = next_turn(start(kv_folder=None), earlier)
    assert warm.done.usage.cached_tokens == len(earlier) - 1
    assert cold.done.usage.cached_tokens == 0
    assert warm.text == cold.text


def test_what_had_no_time_to_be_written_is_written_at_the_end(start: Start) -> None:
    engine = start()
    first = ask(engine, prompt_of(engine.model, QUESTION), session="trip", max_tokens=2).finish()
    assert next_turn(start(), said(first), owner="").done.usage.cached_tokens == len(said(first)) - 1


def test_another_owner_gets_nothing_not_even_what_owners_share(start: Start, tmp_path: Path) -> None:
    engine = start()
    prompt = prompt_of(engine.model, QUESTION)
    ask(engine, prompt, owner="ann", session="trip", shared_tokens=100, max_tokens=2).finish()
    engine = start()
    theirs = ask(engine, prompt, owner="bob", session="trip", shared_tokens=100, max_tokens=2).finish()
    assert theirs.done.usage.cached_tokens == 0
    again = ask(start(), prompt, owner="ann", session="trip", shared_tokens=100, max_tokens=2).finish()
    assert again.done.usage.cached_tokens == len(prompt) - 1


def test_what_belongs_to_no_session_is_not_written(start: Start, tmp_path: Path) -> None:
    engine = start()
    ask(engine, prompt_of(engine.model, QUESTION), owner="ann", max_tokens=2).finish()
    start(kv_folder=None)
    assert not list(tmp_path.glob("*.kv"))


def test_a_deleted_session_is_nowhere_any_more(start: Start, tmp_path: Path) -> None:
    engine = start()
    earlier = first_turn(engine, tmp_path)
    engine.forget("ann", "trip")
    assert next_turn(engine, earlier, session="other").done.usage.cached_tokens == 0
    assert not state_path(tmp_path, "ann", "trip").exists()


def test_a_session_that_is_deleted_before_it_was_written_is_not_written(start: Start, tmp_path: Path) -> None:
    engine = start()
    ask(engine, prompt_of(engine.model, QUESTION), owner="ann", session="trip", max_tokens=2).finish()
    engine.forget("ann", "trip")
    start(kv_folder=None)
    assert not list(tmp_path.glob("*.kv"))


def test_what_was_left_of_a_session_that_is_gone_is_removed_at_the_start(start: Start, tmp_path: Path) -> None:
    engine = start()
    for session in ("gone", "trip"):
        first_turn(engine, tmp_path, session=session)
    asked = list[tuple[str, str]]()

    def is_kept(owner: str, session: str) -> bool:
        asked.append((owner, session))
        return session == "trip"

    start(is_kept=is_kept)
    wait_until(lambda: not state_path(tmp_path, "ann", "gone").exists(), "it is removed")
    wait_until(lambda: sorted(asked) == [("ann", "gone"), ("ann", "trip")], "all were asked for")
    assert state_path(tmp_path, "ann", "trip").exists()


def test_where_nobody_can_say_whether_a_session_is_there_its_state_stays(start: Start, tmp_path: Path) -> None:
    asked = list[str]()

    def fail(_owner: str, session: str) -> bool:
        asked.append(session)
        raise StorageError("The session database failed.")

    engine = start(is_kept=fail)
    first_turn(engine, tmp_path, session="other")
    earlier = first_turn(engine, tmp_path)  # written although the one before could not be asked for
    asked.clear()
    engine = start(is_kept=fail)
    wait_until(lambda: len(asked) == 1, "the start has asked, and asks no more")
    assert next_turn(engine, earlier).done.usage.cached_tokens == len(earlier) - 1
    assert state_path(tmp_path, "ann", "other").exists()


def test_clearing_the_cache_clears_the_disk(start: Start, tmp_path: Path) -> None:
    engine = start()
    first_turn(engine, tmp_path)
    engine.clear_cache()
    assert not list(tmp_path.glob("*.kv"))


@pytest.mark.parametrize("changed", [{"slots": 3}, {"context_tokens": 64}, {"kv_type": "q8_0"}])
def test_a_state_that_does_not_fit_the_context_is_not_used(
    start: Start, tmp_path: Path, changed: dict[str, object]
) -> None:
    first_turn(start(), tmp_path)
    start(**changed)
    assert not list(tmp_path.glob("*.kv"))


def test_another_model_does_not_use_it(start: Start, tmp_path: Path, model_path: Path) -> None:
    earlier = first_turn(start(), tmp_path)
    other = Model.load(random_model.with_number(model_path, tmp_path / "other.gguf", b"a.number", 1))
    try:
        engine = start(other)
        usage = next_turn(engine, earlier).done.usage
        assert (usage.cached_tokens, usage.cache_miss) == (0, "model_changed")
        engine.clear_cache()
        assert next_turn(engine, earlier).done.usage.cache_miss == "new", "it is told once"
        start(kv_folder=None)
    finally:
        other.close()


def test_a_damaged_file_is_removed_and_the_prompt_read(start: Start, tmp_path: Path) -> None:
    earlier = first_turn(start(), tmp_path)
    path = state_path(tmp_path, "ann", "trip")
    engine = start()
    with path.open("r+b") as file:
        file.seek(-100, 2)
        file.write(b"damage")
    assert next_turn(engine, earlier).done.usage.cached_tokens == 0


def test_a_file_that_is_gone_is_no_error(start: Start, tmp_path: Path) -> None:
    earlier = first_turn(start(), tmp_path)
    engine = start()
    state_path(tmp_path, "ann", "trip").unlink()
    assert next_turn(engine, earlier).done.usage.cached_tokens == 0


@pytest.fixture
def slow_disk(start: Start, tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Iterator[tuple[Call, threading.Event]]:
    """A next turn that waits for its file, and what lets it be read."""
    earlier, may_read = first_turn(start(), tmp_path), threading.Event()
    engine = start()
    assert engine._archive is not None
    folder = engine._archive._folder
    read = folder.read
    monkeypatch.setattr(folder, "read", lambda entry: read(entry) if may_read.wait(60) else None)
    prompt = earlier + user_turn(engine.model, "And then?")
    yield ask(engine, prompt, owner="ann", session="trip", max_tokens=2), may_read
    may_read.set()


def test_nobody_else_waits_for_a_slow_disk_and_who_does_can_leave(slow_disk: tuple[Call, threading.Event]) -> None:
    waiting, _ = slow_disk
    assert ask(waiting.engine, "Hello", owner="bob", max_tokens=2).finish().done.usage.completion_tokens == 2
    assert waiting.end is None
    assert waiting.cancel().finish().done.finish_reason == "cancelled"


def test_a_session_that_is_deleted_while_it_is_read_is_not_used(slow_disk: tuple[Call, threading.Event]) -> None:
    waiting, may_read = slow_disk
    ask(waiting.engine, "Hello", owner="bob", max_tokens=2).finish()
    waiting.engine.forget("ann", "trip")
    waiting.engine.check_integrity()  # it is done when this is
    may_read.set()
    assert waiting.finish().done.usage.cached_tokens == 0


def test_it_is_fetched_where_host_memory_has_no_room(start: Start, tmp_path: Path) -> None:
    earlier = first_turn(start(), tmp_path)
    assert next_turn(start(host_bytes=0), earlier).done.usage.cached_tokens == len(earlier) - 1


def test_a_second_engine_on_the_same_folder_does_without(start: Start, model: Model, tmp_path: Path) -> None:
    first_turn(start(), tmp_path)
    second = Engine(model, replace(OPTIONS, slots=1, context_tokens=512, kv_folder=tmp_path, disk_bytes=1 << 28))
    try:
        ask(second, prompt_of(model, QUESTION), owner="ann", session="trip", max_tokens=2).finish()
    finally:
        second.close()
    assert state_path(tmp_path, "ann", "trip").exists()


def test_switched_off_it_removes_what_is_there(start: Start, tmp_path: Path) -> None:
    first_turn(start(), tmp_path)
    start(disk_bytes=0)
    assert not list(tmp_path.glob("*.kv"))


def test_the_checkpoints_of_a_recurrent_model_are_there_too(start: Start, tmp_path: Path, model_path: Path) -> None:
    model = Model.load(random_model.lfm2(model_path, tmp_path / "lfm2.gguf"))
    try:
        engine = start(model)
        first_turn(engine, tmp_path)
        prompt = prompt_of(model, QUESTION)
        again = ask(start(model), prompt, owner="ann", session="trip", max_tokens=8).finish()
        assert len(prompt) - 12 <= again.done.usage.cached_tokens < len(prompt)
        start(model, kv_folder=None)
        cold = ask(start(model, kv_folder=None), prompt, max_tokens=8).finish()
        assert again.text == cold.text
    finally:
        start(kv_folder=None)
        model.close()
