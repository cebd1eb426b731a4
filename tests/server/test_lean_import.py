"""Gradio is imported without its type stubs, and for good."""

from __future__ import annotations

import subprocess
import sys

import pytest

pytestmark = pytest.mark.slow

PROGRAM = """
import gc
import sys

stubs = []


def note(event, args):
    if event == "open" and str(args[0]).endswith(".pyi"):
        stubs.append(args[0])


sys.addaudithook(note)

from llm_core.server.lean_import import lean_import

finders = list(sys.meta_path)
with lean_import():
    import gradio

print(stubs, sys.meta_path == finders, gc.isenabled(), gc.get_freeze_count() > 100_000)
"""


def test_no_stub_is_read_or_written_and_nothing_is_searched_for_garbage_again() -> None:
    run = subprocess.run([sys.executable, "-c", PROGRAM], capture_output=True, text=True, check=True)
    assert run.stdout == "[] True True True\n"
