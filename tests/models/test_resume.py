"""Two downloads of one file at once: one fetches it, the other one waits and says so."""

from __future__ import annotations

from collections.abc import Callable, Iterator
from threading import Thread

import pytest
from huggingface_hub import constants

from llm_core.models.resolve import resolve
from llm_core.models.source import ResolvedModel, parse_source
from tests.models.conftest import Hub, Repository, gguf
from tests.waiting import wait_until

SIZE = 40_000


class Leave(Exception):
    pass


class Download:
    """A download on a thread of its own, as those of the server are.

    Attributes:
        seen: What was said of its progress.
    """

    def __init__(self, leaves: Callable[[str], bool] = lambda _message: False) -> None:
        self._leaves = leaves
        self.seen: list[tuple[float, str]] = []
        self.came: ResolvedModel | None = None
        self.has_left = False
        self.thread = Thread(target=self._run, daemon=True)
        self.thread.start()

    def _run(self) -> None:
        try:
            self.came = resolve(parse_source("hf:o/large"), on_progress=self._report)
        except Leave:
            self.has_left = True

    def _report(self, done: float, message: str) -> None:
        self.seen.append((done, message))
        if self._leaves(message):
            raise Leave


def is_waiting(message: str) -> bool:
    return message.startswith("Waiting for another download of large.gguf: ")


@pytest.fixture
def first(hub: Hub, cache: object, monkeypatch: pytest.MonkeyPatch) -> Iterator[Download]:
    """It has the lock, and stands still in the middle of the file."""
    monkeypatch.setattr(constants, "HF_HUB_DOWNLOAD_TIMEOUT", 600)  # it does not ask for the rest anew meanwhile
    hub.repositories = {"o/large": Repository({"large.gguf": gguf(SIZE)})}
    hub.holds_after = SIZE // 2
    first = Download()
    wait_until(lambda: hub.bytes_sent > 0, "the first one downloads")
    yield first
    hub.go_on.set()
    first.thread.join()


def test_who_waits_for_another_download_can_leave(first: Download) -> None:
    second = Download(leaves=is_waiting)

    wait_until(lambda: second.has_left, "the second one has left")
    assert first.thread.is_alive()


def test_who_waits_for_another_download_says_so_and_fetches_nothing(first: Download, hub: Hub) -> None:
    second = Download()
    wait_until(lambda: any(is_waiting(message) for _, message in second.seen), "it says so")
    hub.go_on.set()

    wait_until(lambda: not first.thread.is_alive() and not second.thread.is_alive(), "both have the file")
    assert first.came is not None
    assert first.came == second.came
    assert hub.bytes_sent == SIZE
