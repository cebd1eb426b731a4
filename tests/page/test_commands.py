"""What the page's script asks for, where it needs no browser to be seen."""

from __future__ import annotations

from collections.abc import Callable
from contextlib import aclosing
from typing import Any

import pytest
from starlette.requests import HTTPConnection

from llm_core.access.gate import NAMED_PREFIX, OWNER_KEY
from llm_core.page import commands as module
from llm_core.page.commands import Commands
from tests.scripted_client import SIGNAL_SECONDS, ScriptedClient, Signal

from .screen import holding

KEY, STREAM, OWNER = "0" * 48, "1" * 32, f"{NAMED_PREFIX}ann"


async def test_a_reply_keeps_its_pace_when_an_earlier_subscription_to_it_ends(
    scripted_page: tuple[ScriptedClient, str], monkeypatch: pytest.MonkeyPatch
) -> None:
    client, intervals, paced, go_on = scripted_page[0], list[Callable[[], float]](), module.paced, Signal()

    def seen(*given: Any, interval: Callable[[], float], **more: Any) -> Any:
        intervals.append(interval)
        return paced(*given, interval=interval, **more)

    monkeypatch.setattr(module, "paced", seen)
    commands, connection = (
        Commands(client, lambda *_: None),
        HTTPConnection({"type": "http", "headers": [], OWNER_KEY: OWNER}),
    )
    client.script = holding(go_on)
    reply = client.sessions.begin(STREAM, "Hi", owner=OWNER, stream_id=STREAM)
    asked = {"key": KEY, "conversation": STREAM, "stream": STREAM}
    async with (
        aclosing(commands.show(asked | {"subscription": 1}, connection)) as first,
        aclosing(commands.show(asked | {"subscription": 2}, connection)) as second,
    ):
        await anext(first)
        await anext(second)
        await commands.all()["pace"](asked | {"subscription": 2, "seconds": 0.5}, connection)
        await first.aclose()

        assert intervals[1]() == 0.5
    go_on.give()
    assert reply.wait(SIGNAL_SECONDS)
