"""Standard output that nobody reads any more, as after `python app.py | head -1`: no reason to end, or to end badly."""

from __future__ import annotations

import os
import sys


def say(line: str) -> None:
    """Prints a line for whoever listens, at once."""
    try:
        print(line, flush=True)
    except OSError:
        silence_stdout()


def silence_stdout() -> None:
    """Nothing that is printed from now on goes anywhere. What could not be printed would be tried once more when the
    process ends, and complained about."""
    nowhere = os.open(os.devnull, os.O_WRONLY)
    os.dup2(nowhere, sys.stdout.fileno())
    os.close(nowhere)
