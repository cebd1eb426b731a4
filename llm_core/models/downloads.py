"""Models that are being fetched while the server runs: one thread each, which goes on without a reader."""

from __future__ import annotations

import logging
import threading
import time
from collections.abc import Callable, Generator
from dataclasses import dataclass
from typing import Literal

from llm_core.errors import InvalidRequest, LLMError, ModelError
from llm_core.models.resolve import resolve
from llm_core.models.source import HubModel, ResolvedModel, parse_source

log = logging.getLogger(__name__)

MOST_AT_ONCE = 4
_SPEED_SECONDS = 3.0  # over which speed is measured
_BEAT_SECONDS = 0.25

DownloadState = Literal["fetching", "done", "failed", "cancelled"]


@dataclass(frozen=True, slots=True)
class DownloadStatus:
    """How far a download is.

    Attributes:
        source: What is fetched, as in `LLM_MODEL`.
        progress: 0 to 1.
        message: A sentence for people.
        seconds_left: How long it takes from now on, at its present speed; None while that is not known.
    """

    source: str
    state: DownloadState
    progress: float
    message: str
    seconds_left: float | None = None


class _Cancelled(Exception):
    """Raised where progress is reported, to end the download."""


class Download:
    """One download. What has come of it stays where it is broken off, and the next one goes on from there.

    Args:
        source: What is fetched.
        done: Called with what has come, before readers are told.
    """

    def __init__(self, source: HubModel, done: Callable[[ResolvedModel], None]) -> None:
        self.source = source
        self._done = done
        self._changed = threading.Condition()
        self._status = DownloadStatus(str(source), "fetching", 0.0, "Asking the Hub.")
        self._is_cancelled = False
        self._seen: list[tuple[float, float]] = []  # when, and how far it was
        threading.Thread(target=self._run, name="llm-download", daemon=True).start()

    @property
    def status(self) -> DownloadStatus:
        return self._status

    def cancel(self) -> None:
        """Breaks it off soon; what has come is kept."""
        self._is_cancelled = True

    def follow(self) -> Generator[DownloadStatus]:
        """Its status now, and whenever it changes, to its end. Leaving does not stop it."""
        shown: DownloadStatus | None = None
        while True:
            with self._changed:
                self._changed.wait_for(lambda seen=shown: self._status != seen, _BEAT_SECONDS)  # type: ignore[misc]
                status = self._status
            if status != shown:
                yield status
            shown = status
            if status.state != "fetching":
                return

    def _run(self) -> None:
        try:
            self._done(resolve(self.source, on_progress=self._report, bar=False, mends=True))
        except _Cancelled:
            self._set("cancelled", "The download was stopped; what has come is kept.")
        except LLMError as error:
            log.warning("%s could not be fetched: %s", self.source, error)
            self._set("failed", error.message)
        except Exception:
            log.exception("%s could not be fetched", self.source)
            self._set("failed", "The download failed; the log says why.")
        else:
            self._set("done", f"{self.source} is here.", 1.0)

    def _report(self, progress: float, message: str) -> None:
        if self._is_cancelled:
            raise _Cancelled
        now = time.monotonic()
        self._seen = [*(each for each in self._seen if now - each[0] < _SPEED_SECONDS), (now, progress)]
        self._set("fetching", message, progress, self._seconds_left(now, progress))

    def _seconds_left(self, now: float, progress: float) -> float | None:
        since, before = self._seen[0]
        if progress <= before or now - since < _BEAT_SECONDS:
            return None
        return (1 - progress) * (now - since) / (progress - before)

    def _set(
        self, state: DownloadState, message: str, progress: float | None = None, left: float | None = None
    ) -> None:
        with self._changed:
            reached = self._status.progress if progress is None else progress
            self._status = DownloadStatus(str(self.source), state, reached, message, left)
            self._changed.notify_all()


class Downloads:
    """All of a process, running ones and the last state of those that have ended. Safe from any thread.

    Args:
        done: Called with each model that has come.
    """

    def __init__(self, done: Callable[[ResolvedModel], None]) -> None:
        self._done = done
        self._lock = threading.Lock()
        self._downloads: dict[str, Download] = {}

    def begin(self, spec: str) -> Download:
        """Begins to fetch a model, or comes back to the download that does.

        Raises:
            InvalidRequest: It names no file of the Hub.
            ModelError: Too many are being fetched.
        """
        try:
            source = parse_source(spec)
        except ModelError as error:
            raise InvalidRequest(f"source: {error.message}", param="source") from None
        if not isinstance(source, HubModel):
            raise InvalidRequest("source: write hf:OWNER/REPO[:FILE-OR-GLOB][@REVISION]", param="source")
        with self._lock:
            known = self._downloads.get(str(source))
            if known is not None and known.status.state == "fetching":
                return known
            if sum(each.status.state == "fetching" for each in self._downloads.values()) >= MOST_AT_ONCE:
                raise ModelError(f"{MOST_AT_ONCE} models are being fetched already. Wait for one, or stop it.")
            download = self._downloads[str(source)] = Download(source, self._done)
            return download

    def all(self) -> list[Download]:
        """Those that run, and those that have failed or were stopped since the start."""
        with self._lock:
            return [each for each in self._downloads.values() if each.status.state != "done"]

    def close(self) -> None:
        """Breaks off what runs."""
        for each in self.all():
            each.cancel()
