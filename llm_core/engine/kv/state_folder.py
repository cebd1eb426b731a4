"""The folder of one engine's state files: who holds it, what is in it, and how much of it there may be."""

from __future__ import annotations

import errno
import logging
import os
import shutil
import threading
from collections.abc import Callable
from contextlib import suppress
from pathlib import Path

import numpy as np

from llm_core.engine.kv.checkpoint import Checkpoint
from llm_core.engine.kv.entry import DiskEntry, HostEntry
from llm_core.engine.kv.state_file import BadState, StateHead, read_head, read_state, write_state
from llm_core.engine.kv.state_path import STATE_SUFFIX, state_path

log = logging.getLogger(__name__)

SPARE_BYTES = 256 << 20
"""They stay free on the disk, for what matters more."""
_HEAD_BYTES = 16_384  # at most, beside tokens and states
_LOCK = "lock"
_ASIDE_SUFFIX = ".tmp"
_NOTHING = np.empty(0, np.uint8)


class FolderTaken(Exception):
    """Another process, or another engine of this one, has the folder."""


class StateFolder:
    """The files. Safe from any thread; one writes at a time.

    Args:
        folder: Made where there is none.
        limit: The most bytes that files may take; those used least recently go first.
        identity: Of whatever has to be the same for llama.cpp to go on from a state.
        longest: Tokens that fit into a slot.

    Attributes:
        outdated: Owner and session of states that were found and are another model's.

    Raises:
        FolderTaken: It is in use.
        OSError: It cannot be used.
    """

    def __init__(self, folder: Path, *, limit: int, identity: str, longest: int) -> None:
        self._folder, self._limit, self._identity, self._longest = folder, limit, identity, longest
        folder.mkdir(parents=True, exist_ok=True, mode=0o700)
        folder.chmod(0o700)
        self._holder = _hold(folder / _LOCK)
        self._lock = threading.Lock()  # guards what is expected, and the moment in which a file comes to its name
        self._expected: Path | None = None
        self._has_failed = False
        self.outdated: set[tuple[str, str]] = set()

    def close(self) -> None:
        os.close(self._holder)

    def scan(self) -> list[DiskEntry]:
        """What can be used. What else has such a name is removed: cut short, of another model, no state at all."""
        entries = []
        for path in self._files():
            try:
                head = self._checked(path, read_head(path))
            except (BadState, OSError) as error:
                _drop(path, error)
            else:
                empty = tuple(Checkpoint(length, _NOTHING) for length in head.checkpoints)
                found = (head.known, head.owner, head.session, head.shortest, empty, path, head.adapters)
                entries.append(DiskEntry(*found))
        return entries

    def read(self, entry: DiskEntry) -> HostEntry | None:
        """The whole of one, its hash compared; None where that cannot be had any more."""
        try:
            head, state, checkpoints = read_state(entry.path)
            self._checked(entry.path, head)
            is_alike = (head.owner, head.adapters) == (entry.owner, entry.adapters)
            if not is_alike or not np.array_equal(head.known, entry.known):
                raise BadState("it was another")
            os.utime(entry.path)  # used now
        except (BadState, OSError) as error:
            _drop(entry.path, error)
            return None
        return HostEntry(
            head.known,
            head.owner,
            head.session,
            head.shared_tokens,
            head.shortest,
            checkpoints,
            state,
            last_used=0,
            is_on_disk=True,
            adapters=head.adapters,
        )

    def expect(self, entry: HostEntry) -> None:
        """`write` of this one comes next, unless `forget` does before it has come to its name."""
        with self._lock:
            self._expected = state_path(self._folder, entry.owner, entry.session)

    def write(self, entry: HostEntry, *, pause: Callable[[int], None]) -> DiskEntry | None:
        """Writes one aside and gives it its name; None where it was forgotten meanwhile, or there is no room.

        Nothing is synced: a file that did not reach the disk when the machine went down has another hash.
        """
        path = state_path(self._folder, entry.owner, entry.session)
        aside = path.with_suffix(_ASIDE_SUFFIX)
        try:
            if not self._make_room(entry.size + _HEAD_BYTES, path):
                return None
            self._write_aside(aside, entry, pause)
            with self._lock:
                if self._expected != path:
                    aside.unlink()
                    return None
                aside.replace(path)
        except OSError as error:
            with suppress(OSError):
                aside.unlink(missing_ok=True)
            if not self._has_failed:
                log.warning(
                    "Idle conversations cannot be kept in %s: %s. After a restart they are read again. "
                    "LLM_KV_DISK_MB=0 switches this off.",
                    self._folder,
                    error.strerror,
                )
            self._has_failed = True
            return None
        self._has_failed = False
        empty = tuple(Checkpoint(each.length, _NOTHING) for each in entry.checkpoints)
        return DiskEntry(entry.known, entry.owner, entry.session, entry.shortest, empty, path, entry.adapters)

    def forget(self, owner: str, session: str) -> None:
        """Removes a session's file, and sees to it that none is there that is being written now."""
        path = state_path(self._folder, owner, session)
        with self._lock:
            if self._expected == path:
                self._expected = None
            _drop(path)

    def clear(self) -> None:
        """Removes all."""
        with self._lock:
            self._expected = None
            for path in self._files():
                _drop(path)

    def _checked(self, path: Path, head: StateHead) -> StateHead:
        if head.identity != self._identity:
            self.outdated.add((head.owner, head.session))
            raise BadState("it is another model's, or another release's")
        if len(head.known) > self._longest:
            raise BadState("it is longer than the context")
        if path != state_path(self._folder, head.owner, head.session):
            raise BadState("it has another's name")
        return head

    def _files(self) -> list[Path]:
        """All with a name such as files here have, whatever they are."""
        with os.scandir(self._folder) as found:
            return [Path(each) for each in found if Path(each).suffix in (STATE_SUFFIX, _ASIDE_SUFFIX)]

    def _make_room(self, size: int, path: Path) -> bool:
        """Whether `size` bytes may be written in the place of `path`.

        Raises:
            OSError: The disk has not so much left.
        """
        if size > self._limit:
            return False
        found = []
        for other in self._files():
            with suppress(OSError):
                status = other.lstat()
                found.append((status.st_mtime, status.st_size, other))
        total = sum(bytes_ for _, bytes_, other in found if other != path)
        for _, bytes_, other in sorted(found):
            if total + size > self._limit and other != path:
                _drop(other)
                total -= bytes_
        if shutil.disk_usage(self._folder).free < size + SPARE_BYTES:
            raise OSError(errno.ENOSPC, os.strerror(errno.ENOSPC))
        return True

    def _write_aside(self, aside: Path, entry: HostEntry, pause: Callable[[int], None]) -> None:
        aside.unlink(missing_ok=True)
        descriptor = os.open(aside, os.O_WRONLY | os.O_CREAT | os.O_EXCL | os.O_NOFOLLOW | os.O_CLOEXEC, 0o600)
        head = StateHead(
            identity=self._identity,
            owner=entry.owner,
            session=entry.session,
            known=entry.known,
            shared_tokens=entry.shared_tokens,
            shortest=entry.shortest,
            checkpoints=tuple(each.length for each in entry.checkpoints),
            adapters=entry.adapters,
        )
        with os.fdopen(descriptor, "wb") as file:
            write_state(file, head, entry.state, tuple(each.state for each in entry.checkpoints), pause=pause)


def remove_states(folder: Path) -> None:
    """Removes what an engine may have left that kept states there; harmless where it is in use."""
    if not folder.is_dir():
        return
    with suppress(FolderTaken, OSError):
        states = StateFolder(folder, limit=0, identity="", longest=0)
        states.clear()
        states.close()


def _hold(lock: Path) -> int:
    """Holds the folder as long as the process lives, however it ends."""
    try:
        import fcntl
    except ImportError:  # on Windows
        raise OSError(errno.ENOTSUP, os.strerror(errno.ENOTSUP)) from None
    descriptor = os.open(lock, os.O_RDWR | os.O_CREAT | os.O_NOFOLLOW | os.O_CLOEXEC, 0o600)
    try:
        fcntl.flock(descriptor, fcntl.LOCK_EX | fcntl.LOCK_NB)
    except OSError:
        os.close(descriptor)
        raise FolderTaken from None
    return descriptor


def _drop(path: Path, why: Exception | None = None) -> None:
    if why is not None and not isinstance(why, FileNotFoundError):
        log.info("%s is removed: %s", path, why)
    with suppress(OSError):
        path.unlink(missing_ok=True)
