"""State files: what is not exactly as it was written is ignored and removed, and their folder is bounded."""

from __future__ import annotations

import logging
import os
import shutil
from collections import namedtuple
from collections.abc import Iterator
from pathlib import Path

import numpy as np
import pytest

from llm_core.engine.kv import state_folder as state_folder_module
from llm_core.engine.kv.checkpoint import Checkpoint
from llm_core.engine.kv.entry import HostEntry
from llm_core.engine.kv.state_file import BadState, read_head, read_state
from llm_core.engine.kv.state_folder import FolderTaken, StateFolder, remove_states
from llm_core.engine.kv.state_path import remove_states_of, state_folder, state_path

IDENTITY = "this model"
USAGE = namedtuple("USAGE", "total used free")


def entry(session: str = "trip", owner: str = "ann", *, size: int = 100, fill: int = 7) -> HostEntry:
    return HostEntry(
        known=np.arange(20, dtype=np.int32),
        owner=owner,
        session=session,
        shared_tokens=3,
        shortest=2,
        checkpoints=(Checkpoint(5, np.full(11, 1, np.uint8)), Checkpoint(9, np.full(12, 2, np.uint8))),
        state=np.full(size, fill, np.uint8),
        last_used=4,
        is_on_disk=False,
    )


def write(folder: StateFolder, one: HostEntry) -> Path | None:
    folder.expect(one)
    written = folder.write(one, pause=lambda _bytes: None)
    return None if written is None else written.path


@pytest.fixture
def path(tmp_path: Path) -> Path:
    return state_folder(tmp_path, "bundled")


@pytest.fixture
def folder(path: Path) -> Iterator[StateFolder]:
    folder = StateFolder(path, limit=100_000, identity=IDENTITY, longest=100)
    yield folder
    folder.close()


def opened_again(folder: StateFolder, path: Path, **changed: object) -> StateFolder:
    folder.close()
    again = StateFolder(path, **({"limit": 100_000, "identity": IDENTITY, "longest": 100} | changed))
    folder._holder = os.dup(again._holder)  # the fixture closes one
    return again


def states_in(path: Path) -> list[str]:
    return sorted(each.name for each in path.iterdir() if each.name != "lock")


def test_what_is_written_is_read_again(folder: StateFolder) -> None:
    one = entry(owner="ann \ud800\0")
    assert write(folder, one)
    (found,) = folder.scan()
    assert (found.owner, found.session, found.shortest, found.shared_tokens) == (one.owner, "trip", 2, 0)
    assert [each.length for each in found.checkpoints] == [5, 9]
    back = folder.read(found)
    assert back is not None
    assert (back.owner, back.session, back.shortest, back.shared_tokens) == (one.owner, "trip", 2, 3)
    assert np.array_equal(back.known, one.known)
    assert np.array_equal(back.state, one.state)
    assert [each.state.tolist() for each in back.checkpoints] == [each.state.tolist() for each in one.checkpoints]


def test_only_this_user_can_read_them(folder: StateFolder, path: Path) -> None:
    written = write(folder, entry())
    assert written is not None
    assert written.stat().st_mode & 0o777 == 0o600
    assert path.stat().st_mode & 0o777 == 0o700
    assert "ann" not in written.name


def test_a_file_that_is_cut_anywhere_is_refused(folder: StateFolder, tmp_path: Path) -> None:
    written = write(folder, entry())
    assert written is not None
    whole, cut = written.read_bytes(), tmp_path / "cut"
    for length in range(len(whole)):
        cut.write_bytes(whole[:length])
        with pytest.raises(BadState):
            read_state(cut)
        with pytest.raises(BadState):
            read_head(cut)
    cut.write_bytes(whole + b"\0")
    with pytest.raises(BadState):
        read_head(cut)


def test_a_file_with_any_other_byte_is_refused(folder: StateFolder, tmp_path: Path) -> None:
    written = write(folder, entry())
    assert written is not None
    whole, flipped = written.read_bytes(), tmp_path / "flipped"
    for place in range(len(whole)):
        data = bytearray(whole)
        data[place] ^= 0x10
        flipped.write_bytes(data)
        with pytest.raises(BadState):
            read_state(flipped)


def test_what_cannot_be_used_is_removed_and_what_a_link_leads_to_is_not(
    folder: StateFolder, path: Path, tmp_path: Path
) -> None:
    kept, damaged = write(folder, entry()), write(folder, entry("damaged"))
    assert kept
    assert damaged
    data = bytearray(damaged.read_bytes())
    data[60] ^= 1
    damaged.write_bytes(data)
    elsewhere = tmp_path / "elsewhere"
    shutil.copy(kept, elsewhere)
    state_path(path, "ann", "linked").symlink_to(elsewhere)
    shutil.copy(kept, state_path(path, "eve", "trip"))  # another's state under her name
    (path / "half.tmp").write_bytes(b"LLMKV")
    (path / "note.kv").write_text("hello")
    (path / "note.txt").write_text("hello")
    os.mkfifo(path / "pipe.kv")
    (path / "folder.kv").mkdir()
    assert [each.path for each in folder.scan()] == [kept]
    assert states_in(path) == sorted([kept.name, "note.txt", "folder.kv"])
    assert elsewhere.exists()


@pytest.mark.parametrize("changed", [{"identity": "another model"}, {"longest": 19}])
def test_a_state_of_another_model_or_too_long_for_the_context_is_removed(
    folder: StateFolder, path: Path, changed: dict[str, object]
) -> None:
    write(folder, entry())
    again = opened_again(folder, path, **changed)
    assert again.scan() == []
    assert states_in(path) == []
    again.close()


def test_a_file_that_changed_since_it_was_seen_is_not_used(folder: StateFolder, path: Path) -> None:
    written = write(folder, entry())
    assert written is not None
    (found,) = folder.scan()
    written.write_bytes(written.read_bytes()[:-1] + b"\0")
    assert folder.read(found) is None
    assert states_in(path) == []
    assert folder.read(found) is None, "nor is one that is not there"


def test_the_next_turn_takes_the_place_of_the_one_before(folder: StateFolder, path: Path) -> None:
    write(folder, entry())
    write(folder, entry(fill=9))
    (found,) = folder.scan()
    back = folder.read(found)
    assert back is not None
    assert back.state[0] == 9


def test_the_folder_is_bounded_and_the_least_recently_used_goes_first(folder: StateFolder, path: Path) -> None:
    for number in range(3):
        written = write(folder, entry(f"s{number}", size=25_000))
        assert written is not None
        os.utime(written, (number, number))
    first = next(each for each in folder.scan() if each.session == "s0")
    assert folder.read(first), "it is used now"
    write(folder, entry("s3", size=25_000))
    assert {each.session for each in folder.scan()} == {"s0", "s2", "s3"}
    assert sum(each.stat().st_size for each in path.iterdir()) <= 100_000
    assert write(folder, entry("huge", size=100_001)) is None


def test_a_full_disk_is_said_once_and_leaves_nothing(
    folder: StateFolder, path: Path, monkeypatch: pytest.MonkeyPatch, caplog: pytest.LogCaptureFixture
) -> None:
    with monkeypatch.context() as patch, caplog.at_level(logging.WARNING):
        patch.setattr(state_folder_module.shutil, "disk_usage", lambda _path: USAGE(1, 1, 1))
        assert write(folder, entry()) is None
        assert write(folder, entry()) is None
    assert len(caplog.records) == 1
    assert "No space left" in caplog.text
    assert states_in(path) == []
    assert write(folder, entry())


def test_a_disk_that_fills_up_while_a_state_is_written_leaves_nothing(folder: StateFolder, path: Path) -> None:
    def fill(_bytes: int) -> None:
        raise OSError(28, "No space left on device")

    folder.expect(entry())
    assert folder.write(entry(), pause=fill) is None
    assert states_in(path) == []


def test_what_is_deleted_while_it_is_written_is_not_there_afterwards(folder: StateFolder, path: Path) -> None:
    folder.expect(entry())
    assert folder.write(entry(), pause=lambda _bytes: folder.forget("ann", "trip")) is None
    assert states_in(path) == []


def test_one_session_goes_and_the_others_stay(folder: StateFolder, path: Path, tmp_path: Path) -> None:
    for owner, session in (("ann", "a"), ("ann", "b"), ("bob", "a"), ("bob", "b")):
        write(folder, entry(session, owner))
    folder.forget("ann", "a")
    remove_states_of(tmp_path, "bob", "b")
    remove_states_of(tmp_path, "bob", "never was")
    assert {(each.owner, each.session) for each in folder.scan()} == {("ann", "b"), ("bob", "a")}
    folder.clear()
    assert states_in(path) == []


def test_a_folder_has_one_engine(folder: StateFolder, path: Path) -> None:
    write(folder, entry())
    with pytest.raises(FolderTaken):
        StateFolder(path, limit=1, identity=IDENTITY, longest=1)
    remove_states(path)
    assert len(states_in(path)) == 1
    opened_again(folder, path).close()


def test_switched_off_it_leaves_nothing_behind(folder: StateFolder, path: Path) -> None:
    write(folder, entry())
    os.close(folder._holder)
    remove_states(path)
    folder._holder = os.open(os.devnull, os.O_RDONLY)
    assert states_in(path) == []
