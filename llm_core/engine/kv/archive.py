"""Conversations on disk: the place behind slots and host memory that outlives the process.

Only what belongs to a session is written, a file each, so that it goes with its session. The engine's thread copies a
state out of a slot that has gone idle, and puts one back; two threads of their own write, read and hash files.
"""

from __future__ import annotations

import logging
import threading
import time
from collections.abc import Callable, Iterable
from concurrent.futures import Future, ThreadPoolExecutor
from concurrent.futures import TimeoutError as NotYet
from pathlib import Path

from llm_core.engine.kv.entry import DiskEntry, Fetch, HostEntry
from llm_core.engine.kv.state_folder import FolderTaken, StateFolder, remove_states
from llm_core.errors import LLMError

log = logging.getLogger(__name__)

LEAST_TOKENS = 64
"""Shorter conversations are not written: they are read again in about the time that a file takes."""
_SETTLE_SECONDS = 1.0  # the next turn may follow at once, as with tools
_BYTES_PER_SECOND = 64 << 20  # of writing: others use the disk too
_CLOSE_SECONDS = 5.0


class Archive:
    """Writes what has gone idle, and fetches what is asked for again.

    Args:
        folder: Where; closed with this.
        unwritten: Called on the engine's thread. The state of a conversation that is to be written, if this is the
            time for it, and whether there are more.
        post: Has something done on the engine's thread, between two steps.
        is_kept: Whether there still is a session, by its owner and its id. Called on the writer's thread; raises
            `LLMError` where nobody can say.

    Attributes:
        entries: What is on disk. The engine's thread alone touches it.
        outdated: Owner and session of what was on disk and is another model's. The engine's thread alone touches it.
    """

    def __init__(
        self,
        folder: StateFolder,
        *,
        unwritten: Callable[[], tuple[HostEntry | None, bool]],
        post: Callable[[Callable[[], None]], Future[None]],
        is_kept: Callable[[str, str], bool],
    ) -> None:
        self._folder, self._unwritten, self._post, self._is_kept = folder, unwritten, post, is_kept
        self.entries = folder.scan()
        self.outdated = folder.outdated
        self._fetches = 0
        self._ended = threading.Event()  # a turn has; set where something may have gone idle
        self._closing = threading.Event()
        self._deadline = float("inf")
        self._reader = ThreadPoolExecutor(1, thread_name_prefix="llm-kv-read")
        self._writer = threading.Thread(
            target=self._write, args=(tuple(self.entries),), name="llm-kv-write", daemon=True
        )
        self._writer.start()

    @classmethod
    def open(
        cls,
        path: Path,
        *,
        limit: int,
        identity: Callable[[], str],
        longest: int,
        unwritten: Callable[[], tuple[HostEntry | None, bool]],
        post: Callable[[Callable[[], None]], Future[None]],
        is_kept: Callable[[str, str], bool],
    ) -> Archive | None:
        """The archive of a folder; None where it cannot be had, or may take nothing: then what is there goes.

        Args:
            path: The folder.
            limit: Bytes that it may take.
            identity: Tells what has to be the same for a state to be of use (`identity.identity`).
            longest: Tokens of the longest conversation that has a place in a slot.
            unwritten, post, is_kept: As above.
        """
        if not limit:
            remove_states(path)
            return None
        try:
            folder = StateFolder(path, limit=limit, identity=identity(), longest=longest)
        except FolderTaken:
            log.info("%s is in use by another engine; this one keeps no states on disk", path)
            return None
        except OSError as error:
            log.warning("Idle conversations cannot be kept in %s: %s", path, error.strerror)
            return None
        return cls(folder, unwritten=unwritten, post=post, is_kept=is_kept)

    # ── on the engine's thread ───────────────────────────────────────────────────────────────────────────────────────

    @property
    def is_fetching(self) -> bool:
        """Whether somebody waits for a file."""
        return self._fetches > 0

    def fetch(self, entry: DiskEntry) -> Fetch:
        """Begins to read a file. Whoever asked waits until that is over."""
        fetch = Fetch()
        self._fetches += 1

        def read() -> None:
            found = self._folder.read(entry)
            self._post(lambda: arrive(found))

        def arrive(found: HostEntry | None) -> None:
            self._fetches -= 1
            is_wanted = entry in self.entries  # its session may have been deleted meanwhile
            if found is None and is_wanted:
                self.entries.remove(entry)
            fetch.is_over, fetch.found = True, found if is_wanted else None

        self._reader.submit(read)
        return fetch

    def forget(self, owner: str, session: str) -> None:
        """Removes a session's state, also one that is being written or read."""
        self._folder.forget(owner, session)
        self.entries[:] = [each for each in self.entries if (each.owner, each.session) != (owner, session)]

    def clear(self) -> None:
        """Removes all."""
        self._folder.clear()
        self.entries.clear()

    def _look(self) -> tuple[HostEntry | None, bool]:
        entry, has_more = self._unwritten()
        if entry is not None:
            self._folder.expect(entry)
        return entry, has_more

    def _note(self, entry: DiskEntry) -> None:
        """A file was written, and others may have gone for it."""
        kept = [each for each in self.entries if each.path != entry.path and each.path.exists()]
        self.entries[:] = [*kept, entry] if entry.path.exists() else kept

    # ── from any thread ──────────────────────────────────────────────────────────────────────────────────────────────

    def wake(self) -> None:
        """A turn has ended."""
        self._ended.set()

    def close(self) -> None:
        """Writes what is left, for some seconds; the engine's thread must still run."""
        if self._closing.is_set():
            return
        self._deadline = time.monotonic() + _CLOSE_SECONDS
        self._closing.set()
        self._ended.set()
        self._writer.join(_CLOSE_SECONDS)
        self._reader.shutdown(wait=False, cancel_futures=True)
        self._folder.close()

    # ── the writer's thread ──────────────────────────────────────────────────────────────────────────────────────────

    def _write(self, found: Iterable[DiskEntry]) -> None:
        """
        Args:
            found: What was there at the start.
        """
        is_over = False
        try:
            self._remove_orphans(found)
            while not is_over:
                self._ended.wait()
                self._ended.clear()
                is_over = self._closing.wait(_SETTLE_SECONDS)
                self._write_what_is_idle()
        except Exception:
            log.exception("idle conversations are not written to disk any more")

    def _remove_orphans(self, entries: Iterable[DiskEntry]) -> None:
        """Removes what has no session. Another process may have deleted it when its file was not there yet, or a
        process was killed before it removed the file. Where nobody can say, files stay and are asked for at a start."""
        try:
            for each in entries:
                if not self._is_kept(each.owner, each.session):
                    self._folder.forget(each.owner, each.session)
        except LLMError as error:
            log.warning("whether sessions are still there cannot be asked, what is on disk of them stays: %s", error)

    def _write_what_is_idle(self) -> None:
        has_more = True
        while has_more and time.monotonic() < self._deadline:
            entry, has_more = self._next()
            if entry is not None:
                written = self._folder.write(entry, pause=self._pause)
                if written is not None:
                    self._remove_orphans([written])
                    self._post(lambda written=written: self._note(written))  # type: ignore[misc]
            elif has_more and self._closing.wait(_SETTLE_SECONDS):
                return  # the engine is busy, and about to end

    def _next(self) -> tuple[HostEntry | None, bool]:
        found: list[tuple[HostEntry | None, bool]] = []
        done = self._post(lambda: found.append(self._look()))
        while time.monotonic() < self._deadline:
            try:
                done.result(0.5)
            except NotYet:
                continue
            break
        return found[0] if found else (None, False)

    def _pause(self, written: int) -> None:
        self._closing.wait(written / _BYTES_PER_SECOND)
