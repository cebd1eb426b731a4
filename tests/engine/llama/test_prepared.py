"""A model's file gets a copy that this processor computes faster, once, and only where it is faster."""

from __future__ import annotations

import json
import os
import time
from collections.abc import Iterator
from pathlib import Path

import pytest

from llm_core.engine import fast_form
from llm_core.engine.llama import prepared
from llm_core.engine.llama.model import Model
from llm_core.engine.llama.prepared import Speed, is_worth_it, known_copy, prepared_file

THREADS = 2
FAST, SLOW = Speed(0.1, 0.01), Speed(0.2, 0.01)


class Timing:
    """Stands for the timing of a source and its copy, and counts how often it was asked."""

    def __init__(self, source: Speed, copy: Speed) -> None:
        self.asked = self.started = 0
        self._answer = (source, copy)

    def start(self) -> None:
        self.started += 1

    def __call__(self, source: Model, copy: Model, threads: int) -> tuple[Speed, Speed]:
        self.asked += 1
        assert (source.metadata["general.file_type"], copy.metadata["general.file_type"]) == ("3", "7")
        return self._answer


@pytest.fixture
def bundled(model_path: Path) -> Iterator[Model]:
    model = Model.load(model_path)
    yield model
    model.close()


def prepare(model: Model, folder: Path, timing: Timing) -> Path | None:
    with pytest.MonkeyPatch.context() as patch:
        patch.setattr(prepared, "time_both", timing)
        return prepared_file(model, folder, threads=THREADS, on_start=timing.start)


def test_a_copy_that_wins_is_made_once_and_used_by_every_start(bundled: Model, tmp_path: Path) -> None:
    timing = Timing(SLOW, FAST)

    copy = prepare(bundled, tmp_path / "prepared", timing)
    again = prepare(bundled, tmp_path / "prepared", timing)

    assert copy is not None
    assert copy == again == known_copy(bundled.path, tmp_path / "prepared", threads=THREADS)
    assert (timing.asked, timing.started) == (1, 1)
    assert sorted(file.suffix for file in copy.parent.iterdir()) == [".gguf", ".json"]
    assert copy.parent.stat().st_mode & 0o777 == 0o700
    model = Model.load(copy)
    assert model.parameters == bundled.parameters
    assert model.tokenize("Hello there", add_special=False, parse_special=False) == bundled.tokenize(
        "Hello there", add_special=False, parse_special=False
    )
    model.close()


def test_a_copy_that_does_not_win_is_not_kept_and_not_tried_again(bundled: Model, tmp_path: Path) -> None:
    timing = Timing(FAST, FAST)

    assert [prepare(bundled, tmp_path, timing), prepare(bundled, tmp_path, timing)] == [None, None]
    assert timing.asked == 1
    assert [file.suffix for file in tmp_path.iterdir()] == [".json"]
    assert known_copy(bundled.path, tmp_path, threads=THREADS) is None


@pytest.mark.parametrize("damage", ["copy gone", "copy cut short", "verdict cut short", "verdict of another shape"])
def test_what_was_damaged_is_made_again(bundled: Model, tmp_path: Path, damage: str) -> None:
    timing = Timing(SLOW, FAST)
    copy = prepare(bundled, tmp_path, timing)
    verdict = next(tmp_path.glob("*.json"))
    assert copy is not None
    match damage:
        case "copy gone":
            copy.unlink()
        case "copy cut short":
            os.truncate(copy, 1000)
        case "verdict cut short":
            os.truncate(verdict, 10)
        case _:
            verdict.write_text("[]")

    assert prepare(bundled, tmp_path, timing) == copy
    assert timing.asked == 2
    assert copy.stat().st_size == json.loads(verdict.read_text())["size"]


def test_what_a_killed_process_left_is_removed_and_what_another_one_writes_is_not(
    bundled: Model, tmp_path: Path
) -> None:
    for name, age in (("tmpkilled", 7200), ("tmpwriting", 0)):
        (tmp_path / name).mkdir()
        (tmp_path / name / "half.gguf").write_bytes(b"GGUF")
        os.utime(tmp_path / name, (time.time() - age,) * 2)

    prepare(bundled, tmp_path, Timing(FAST, FAST))

    assert [file.name for file in tmp_path.iterdir() if file.is_dir()] == ["tmpwriting"]


def test_another_file_in_its_place_or_other_threads_are_looked_at_anew(bundled: Model, tmp_path: Path) -> None:
    prepare(bundled, tmp_path, Timing(SLOW, FAST))
    assert known_copy(bundled.path, tmp_path, threads=THREADS) is not None
    assert known_copy(bundled.path, tmp_path, threads=THREADS + 1) is None
    link = tmp_path / "same.gguf"
    link.write_bytes(bundled.path.read_bytes())
    assert known_copy(link, tmp_path, threads=THREADS) is None


@pytest.mark.parametrize("reason", ["fast already", "too large", "no room on the disk", "no memory", "not writable"])
def test_where_there_can_be_no_copy_the_file_runs_as_it_is(
    bundled: Model, tmp_path: Path, monkeypatch: pytest.MonkeyPatch, reason: str
) -> None:
    folder = tmp_path / "prepared"
    match reason:
        case "fast already":
            monkeypatch.setitem(bundled.metadata, "general.file_type", "15")
        case "too large":
            monkeypatch.setattr(fast_form, "LARGEST_COPY", 1000)
        case "no room on the disk":
            monkeypatch.setattr(prepared.shutil, "disk_usage", lambda _folder: os.terminal_size)
            monkeypatch.setattr(os.terminal_size, "free", 1000, raising=False)
        case "no memory":
            monkeypatch.setattr(prepared.psutil, "virtual_memory", lambda: type("Memory", (), {"available": 1000}))
        case _:
            folder.write_text("a file where the folder is to be")

    assert prepare(bundled, folder, Timing(SLOW, FAST)) is None
    assert list(folder.glob("*")) == []


def test_copies_that_were_not_used_for_long_make_room(
    bundled: Model, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    for age, name in enumerate(["older.gguf", "newer.gguf"]):
        (tmp_path / name).write_bytes(bytes(1000))
        os.utime(tmp_path / name, (age, age))
    monkeypatch.setattr(prepared, "KEPT_BYTES", 144_811_072 + 1500)

    copy = prepare(bundled, tmp_path, Timing(SLOW, FAST))

    assert copy is not None
    assert {file.name for file in tmp_path.glob("*.gguf")} == {"newer.gguf", copy.name}


@pytest.mark.parametrize(
    ("source", "copy", "wins"),
    [
        (Speed(0.35, 0.0093), Speed(0.14, 0.0081), True),
        (Speed(0.35, 0.0093), Speed(0.34, 0.0092), False),
        (Speed(4.0, 0.10), Speed(2.0, 0.17), False),  # memory decides: the copy is larger
        (Speed(4.0, 0.10), Speed(2.0, 0.104), True),
    ],
)
def test_a_copy_must_win_a_turn_and_not_slow_down_replies(source: Speed, copy: Speed, wins: bool) -> None:
    assert is_worth_it(source, copy) is wins


def test_both_are_timed_for_real(bundled: Model, tmp_path: Path) -> None:
    copy = prepare(bundled, tmp_path, Timing(SLOW, FAST))
    assert copy is not None
    candidate = Model.load(copy)
    for speed in prepared.time_both(bundled, candidate, THREADS):
        assert speed.prompt > speed.token > 0
    candidate.close()
