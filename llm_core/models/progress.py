"""A download's progress: a bar in the terminal, and a fraction and a sentence for whoever else shows it."""

from __future__ import annotations

import sys
from collections.abc import Callable
from contextlib import AbstractContextManager
from types import TracebackType
from typing import Any

from tqdm import tqdm

from llm_core.texts.told import size_text

OnProgress = Callable[[float, str], None]


class DownloadProgress(AbstractContextManager["DownloadProgress"]):
    """The progress of one model, which may be several files.

    Args:
        name: What is downloaded, for people.
        total: Bytes to fetch.
        on_progress: Called with 0 to 1 and a sentence, on the thread that downloads. What it raises ends the download.
        bar: Whether to draw a bar on stderr.
    """

    def __init__(self, name: str, total: int, on_progress: OnProgress, *, bar: bool) -> None:
        self._name, self._total, self._on_progress = name, total, on_progress
        self._done = 0
        self._bar = tqdm(total=total, desc=name, unit="B", unit_scale=True, file=sys.stderr, disable=not bar)

    def add(self, size: int) -> None:
        """Counts `size` more bytes; negative where some must be fetched again."""
        self._done += size
        self._bar.update(size)
        self.report()

    def report(self) -> None:
        """Says how far it is."""
        self._say("Downloading", self._done)

    def report_waiting(self, size: int) -> None:
        """Says how far another download is, of another process or of this one, that has `size` bytes of the file."""
        self._say("Waiting for another download of", self._done + size)

    def _say(self, doing: str, done: int) -> None:
        fraction = min(1.0, done / self._total) if self._total else 1.0
        self._on_progress(fraction, f"{doing} {self._name}: {size_text(done)} of {size_text(self._total)}")

    def __exit__(self, kind: type[BaseException] | None, error: BaseException | None, at: TracebackType | None) -> None:
        self._bar.close()

    def bar_class(self) -> type[Any]:
        """What huggingface_hub is to use in place of tqdm: it makes one of these for each file."""
        progress = self

        class FileBar:
            """Passes the bytes of one file on, those that came earlier first. Has the methods that huggingface_hub
            calls, and draws nothing."""

            def __init__(self, *_: object, total: int | None = None, initial: int = 0, **__: object) -> None:
                self.total, self.n = total, initial
                if initial:
                    progress.add(initial)

            def update(self, size: int = 1) -> None:
                self.n += size
                progress.add(size)

            def update_transfer(self, size: int) -> None:
                """Bytes off the network. With Xet they differ from those of the file, which are what counts here."""

            def set_postfix_str(self, *_: object, **__: object) -> None: ...

            def set_transfer_postfix_str(self, *_: object, **__: object) -> None: ...

            def close(self) -> None: ...

            def __enter__(self) -> FileBar:
                return self

            def __exit__(self, *_: object) -> None: ...

        return FileBar
