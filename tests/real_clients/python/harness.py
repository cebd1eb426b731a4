"""What the programs of this folder share: each has one client do all that a client does, and prints what came of it."""

from __future__ import annotations

import inspect
import json
import re
import sys
import time
import traceback
import urllib.request
from collections.abc import Callable
from typing import Any, Literal

from pydantic import BaseModel

URL = sys.argv[1]
RESPONSES = sys.argv[2:] == ["responses"]  # the default of some clients, in place of chat completions
V1 = f"{URL}/v1"
KEY = "none"
MODEL = "SmolLM2-135M-Instruct"
QUESTION = "What is the capital of France?"
STORY = "Tell me a very long story about the sea."
TOO_LONG = "word " * 4000
REPLY_TOKENS, STORY_TOKENS = 24, 1500
PATIENCE_SECONDS = 60


class Trip(BaseModel):
    """A trip"""

    city: Literal["Oslo", "Rome"]


PARAMETERS = {"type": "object", "properties": {"city": {"enum": ["Oslo", "Rome"]}}, "required": ["city"]}
DESCRIPTION = "The weather in a city, now"
WEATHER = {
    "type": "function",
    "function": {"name": "get_weather", "description": DESCRIPTION, "parameters": PARAMETERS},
}
FORCED = {"type": "function", "function": {"name": "get_weather"}}


SHOTS = [("Oslo", "4 degrees and rain"), ("Rome", "12 degrees and sunny"), ("Oslo", "5 degrees and rain")]
"""Weather that was asked before, and a tool called for it: for clients that cannot demand a call. With that the small
model calls it of itself."""


def check_leaving(leave: Callable[[], Any]) -> None:
    """What is left, ends: the engine is idle long before the story would be at its end."""
    before = _generated()
    leave()
    overdue = time.monotonic() + PATIENCE_SECONDS
    while _running():
        assert time.monotonic() < overdue, "the reply goes on without its reader"
        time.sleep(0.05)
    assert 0 < _generated() - before < STORY_TOKENS / 2, "the story was told to its end"


def _running() -> int:
    with urllib.request.urlopen(f"{URL}/api/llm/health") as answer:
        return json.load(answer)["queue"]["running"]


def _generated() -> int:
    with urllib.request.urlopen(f"{URL}/metrics") as answer:
        found = re.search(r"^llm_generated_tokens_total (\S+)$", answer.read().decode(), re.MULTILINE)
    return int(float(found[1])) if found else 0


def check_pieces(pieces: list[str]) -> None:
    assert len([piece for piece in pieces if piece]) > 3, pieces
    assert "Paris" in "".join(pieces), pieces


def check_refused(ask: Callable[[], Any], *kinds: type[Exception]) -> None:
    """The client raises an error of its own, with the server's words."""
    said = ""
    try:
        ask()
    except kinds as error:
        said = str(error)
    assert "tokens" in said, said


def run(*cases: Callable[[], Any]) -> None:
    """Runs them all; prints what each failed with, or null, by name."""
    failed: dict[str, str | None] = {}
    for case in cases:
        try:
            if inspect.iscoroutinefunction(case):
                import asyncio

                asyncio.run(case())
            else:
                case()
            failed[case.__name__] = None
        except BaseException:
            failed[case.__name__] = traceback.format_exc()
    print(json.dumps(failed))
