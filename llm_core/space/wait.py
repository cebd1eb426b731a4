"""Waits until a Space runs what was uploaded, and says how far it is and why it failed."""

from __future__ import annotations

import time
from collections import deque
from collections.abc import Callable
from typing import Literal

import httpx2
from huggingface_hub import HfApi, SpaceRuntime

from llm_core.errors import SpaceError
from llm_core.space.deploy import Say
from llm_core.space.hub import SERVER_FAULT, explained, status_of
from llm_core.terminal import printable

LOOK_SECONDS = 3.0
LOG_SECONDS = 15.0  # between two looks into the build's log, which comes whole each time
SETTLE_SECONDS = 60.0  # in which a failure may still be that of the commit before
LAST_LINES = 15
ASKED_TOO_OFTEN = 429

_BUILDING = frozenset({"BUILDING", "RUNNING_BUILDING"})
_STARTING = frozenset({"APP_STARTING", "RUNNING_APP_STARTING"})
_FAILED = {
    "BUILD_ERROR": "could not be built",
    "CONFIG_ERROR": "has a configuration that the Hub refuses",
    "NO_APP_FILE": "has no app file",
    "RUNTIME_ERROR": "was built, and its app ended",
}
_ASLEEP = frozenset({"PAUSED", "STOPPED", "SLEEPING"})

Outcome = Literal["running", "asleep"]


class Waiting:
    """One wait.

    Args:
        api: The Hub.
        repo: `OWNER/NAME`.
        commit: What must run; None where nothing was uploaded and whatever is there counts.
        say: Is told each new stage and the last line of the build's log.
        clock, sleep: Time, in seconds.
    """

    def __init__(
        self,
        api: HfApi,
        repo: str,
        commit: str | None,
        say: Say,
        *,
        clock: Callable[[], float] = time.monotonic,
        sleep: Callable[[float], None] = time.sleep,
    ) -> None:
        self._api, self._repo, self._commit, self._say = api, repo, commit, say
        self._clock, self._sleep = clock, sleep
        self._begin = clock()
        self._has_moved = commit is None
        self._stage = ""
        self._line = ""
        self._looked_at_log = float("-inf")

    def run(self, timeout: float) -> Outcome:
        """Waits.

        Args:
            timeout: Seconds.

        Raises:
            SpaceError: The Space failed, with the end of its log, or did not get there in time.
        """
        while True:
            runtime = self._look()
            if runtime is not None:
                self._show(runtime)
                if outcome := self._outcome(runtime):
                    return outcome
            if self._clock() - self._begin > timeout:
                raise SpaceError(
                    f"{self._repo} is still {_plain(self._stage)} after {timeout:.0f} seconds. It goes on without this "
                    "command; the same command looks again."
                )
            self._sleep(LOOK_SECONDS)

    def _look(self) -> SpaceRuntime | None:
        """How the Space is; None where the Hub does not say now. A build takes minutes, in which that may happen."""
        try:
            with explained(f"ask how {self._repo} is", self._repo):
                return self._api.get_space_runtime(self._repo)
        except SpaceError as error:
            status = status_of(error)
            if status is None or status >= SERVER_FAULT or status == ASKED_TOO_OFTEN:
                return None
            raise

    def _outcome(self, runtime: SpaceRuntime) -> Outcome | None:
        stage = str(runtime.stage)
        if stage in _BUILDING | _STARTING:
            self._has_moved = True
            return None
        if stage in _FAILED and self._is_ours(runtime):
            raise SpaceError(self._failure(runtime))
        if stage in _ASLEEP and self._is_ours(runtime):
            return "asleep"
        # For a moment after an upload it is still the old app that runs.
        if stage == "RUNNING" and (self._runs_commit(runtime) or ("sha" not in runtime.raw and self._is_ours(runtime))):
            return "running"
        return None

    def _runs_commit(self, runtime: SpaceRuntime) -> bool:
        return self._commit is None or runtime.raw.get("sha") == self._commit

    def _is_ours(self, runtime: SpaceRuntime) -> bool:
        """Whether a stage is that of this commit and not left over from the one before."""
        return self._runs_commit(runtime) or self._has_moved or self._clock() - self._begin > SETTLE_SECONDS

    def _show(self, runtime: SpaceRuntime) -> None:
        stage = str(runtime.stage)
        if stage != self._stage:
            self._stage = stage
            self._say(f"The Space is {_plain(stage)}")
        if stage in _BUILDING and self._clock() - self._looked_at_log > LOG_SECONDS:
            self._looked_at_log = self._clock()
            line = next(iter(self._log(build=True, lines=1)), "")
            if line and line != self._line:
                self._line = line
                self._say(f"  {line}")

    def _failure(self, runtime: SpaceRuntime) -> str:
        stage = str(runtime.stage)
        reason = printable(str(runtime.raw.get("errorMessage") or "")).strip()
        log = self._log(build=stage != "RUNTIME_ERROR", lines=LAST_LINES)
        parts = [f"{self._repo} {_FAILED[stage]}{': ' + reason if reason else '.'}"]
        if log:
            parts += ["The end of its log:", *(f"  {line}" for line in log)]
        parts.append("Correct it and deploy again; the files are there already, so that only what differs is sent.")
        return "\n".join(parts)

    def _log(self, *, build: bool, lines: int) -> list[str]:
        """The end of a log; empty where the Hub does not give it."""
        last: deque[str] = deque(maxlen=lines)
        try:
            for text in self._api.fetch_space_logs(self._repo, build=build):
                last.extend(line for line in printable(text).splitlines() if line.strip())
        except (httpx2.HTTPError, OSError, ValueError, KeyError):
            pass  # what was read of it counts; a deploy does not fail for a log
        return list(last)


def _plain(stage: str) -> str:
    """The Hub's name of a stage in words."""
    return {
        "RUNNING_BUILDING": "building; the old app still serves",
        "RUNNING_APP_STARTING": "starting; the old app still serves",
        "APP_STARTING": "starting",
    }.get(stage, stage.lower().replace("_", " ") or "in a state that the Hub does not tell")
