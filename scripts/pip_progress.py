"""Runs pip and says how far it is: one live line on a terminal, else a line at each new phase and every 30 seconds.

pip shows nothing for minutes while llama-cpp-python compiles. Its verbose output has the build tool's step counts, but
also thousands of other lines: those go to a log, whose end is shown when pip fails.
"""

from __future__ import annotations  # lets the old Pythons that start here read the types

import os
import queue
import re
import shutil
import signal
import subprocess
import sys
import threading
import time
from collections import deque
from dataclasses import dataclass, replace
from pathlib import Path
from typing import IO

LLAMA = "llama-cpp-python"
COMPILE_NOTE = (
    f"Compiling {LLAMA} for this machine: six to ten minutes on two cores. It happens once; pip keeps the result."
)
FETCHING = "Fetching packages"
REPORT_SECONDS = 30.0
TAIL_LINES = 30

LOOKING_UP = re.compile(r"^\s*Collecting ([\w.-]+)")
DOWNLOADING = re.compile(r"^\s*Downloading (?:\S*/)?([\w.+-]+)(?: \(([^)]+)\))?")
COMPILING = re.compile(r"^\s*Building wheel for ([\w.-]+)")
INSTALLING = re.compile(r"^\s*Installing collected packages: (.*)")
SOURCE_CHOSEN = re.compile(r"^\s*(?:Downloading|Using cached) (?:\S*/)?llama_cpp_python\S*\.tar\.gz")
NINJA_STEP = re.compile(r"^\s*\[(\d+)/(\d+)\]")
MAKE_STEP = re.compile(r"^\s*\[\s*(\d+)%\]")


class PipFailed(Exception):
    """pip ended with an error, or was ended because it would have to compile and cannot.

    Attributes:
        needs_compiler: It was ended because there is no compiler.
    """

    def __init__(self, message: str, *, needs_compiler: bool = False) -> None:
        super().__init__(message)
        self.needs_compiler = needs_compiler


@dataclass(frozen=True)
class Stage:
    """What pip is doing: a phase, which changes a few times, and where in it."""

    phase: str
    detail: str = ""

    def __str__(self) -> str:
        return f"{self.phase}: {self.detail}" if self.detail else self.phase


def next_stage(stage: Stage, line: str) -> Stage:
    """The stage after one more line of pip's output; the same where the line says nothing about it."""
    found = LOOKING_UP.match(line)
    if found:
        return Stage(FETCHING, found[1])
    found = COMPILING.match(line)
    if found:
        return stage if stage.phase.endswith(found[1]) else Stage(f"Compiling {found[1]}")
    found = INSTALLING.match(line)
    if found:
        return Stage(f"Installing {found[1].count(',') + 1} packages")
    if stage.phase.startswith("Compiling"):
        return replace(stage, detail=compile_step(line) or stage.detail)
    found = DOWNLOADING.match(line)
    if found:
        return Stage(FETCHING, ", ".join(filter(None, found.groups())))
    return stage


def compile_step(line: str) -> str:
    """How far a build tool is, from a line of its output; "" where that says nothing about it."""
    found = NINJA_STEP.match(line)
    if found:
        return f"step {found[1]} of {found[2]}"
    found = MAKE_STEP.match(line)
    return f"{found[1]} %" if found else ""


def duration(seconds: float) -> str:
    """Seconds as people say them: `42 s`, `3 min 05 s`."""
    minutes, rest = divmod(int(seconds), 60)
    return f"{minutes} min {rest:02d} s" if minutes else f"{rest} s"


class ProgressLine:
    """Shows stages on a stream: redrawn in place on a terminal, else printed when there is news to print."""

    def __init__(self, stream: IO[str]) -> None:
        self._stream = stream
        self._live = stream.isatty()
        self._started = self._reported = time.monotonic()
        self._phase = ""

    def show(self, stage: Stage) -> None:
        if stage.phase == f"Compiling {LLAMA}" != self._phase:
            self._print(COMPILE_NOTE)
        now = time.monotonic()
        text = f"{stage} ({duration(now - self._started)})"
        if self._live:
            width = shutil.get_terminal_size().columns - 1
            self._stream.write(f"\r\x1b[K{text[:width]}")
            self._stream.flush()
        elif stage.phase != self._phase or now - self._reported >= REPORT_SECONDS:
            self._print(text)
            self._reported = now
        self._phase = stage.phase

    def end(self) -> None:
        self._print(f"Set up in {duration(time.monotonic() - self._started)}.")

    def clear(self) -> None:
        if self._live:
            self._stream.write("\r\x1b[K")
            self._stream.flush()

    def _print(self, text: str) -> None:
        self.clear()
        print(text, file=self._stream, flush=True)


def run_pip(command: list[str], environment: dict[str, str], log: Path, *, may_compile: bool) -> None:
    """Runs pip to its end, shows its progress on stdout and writes its output to `log`.

    Raises:
        PipFailed: pip failed, or has to compile llama-cpp-python while `may_compile` is false.
    """
    # A session of its own, so that an interrupt ends the compilers below pip too.
    pip = subprocess.Popen(
        command,
        env=environment,
        stdin=subprocess.DEVNULL,
        stdout=subprocess.PIPE,
        stderr=subprocess.STDOUT,
        text=True,
        errors="replace",
        start_new_session=True,
    )
    shown = ProgressLine(sys.stdout)
    try:
        tail = _follow(pip, shown, log, may_compile=may_compile)
    finally:
        shown.clear()
        if pip.poll() is None:
            os.killpg(pip.pid, signal.SIGTERM)
            pip.wait()
    if pip.returncode != 0:
        raise PipFailed(f"{tail}pip ended with code {pip.returncode}; its whole output is in {log}")
    shown.end()


def _follow(pip: subprocess.Popen[str], shown: ProgressLine, log: Path, *, may_compile: bool) -> str:
    """Shows pip's progress until it has ended. Returns the last lines of its output."""
    lines: queue.Queue[str | None] = queue.Queue()
    assert pip.stdout is not None
    threading.Thread(target=_read, args=(pip.stdout, lines), daemon=True).start()
    stage = Stage(FETCHING)
    tail: deque[str] = deque(maxlen=TAIL_LINES)
    with log.open("w", encoding="utf-8") as log_file:
        while True:
            try:
                line = lines.get(timeout=1.0)
            except queue.Empty:
                shown.show(stage)
                continue
            if line is None:
                pip.wait()
                return "".join(tail)
            log_file.write(line)
            tail.append(line)
            if not may_compile and SOURCE_CHOSEN.match(line):
                raise PipFailed("there is no compiler", needs_compiler=True)
            before, stage = stage, next_stage(stage, line)
            if stage != before:
                shown.show(stage)


def _read(stream: IO[str], lines: queue.Queue[str | None]) -> None:
    for line in stream:
        lines.put(line)
    lines.put(None)
