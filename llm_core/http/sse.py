"""Server-sent events: how they are written, and how silence is filled."""

from __future__ import annotations

import asyncio
import json
from collections.abc import Iterable, Mapping
from typing import Any, TypeVar

from starlette.types import Message, Send

from llm_core.http.stream import Stream

T = TypeVar("T")

KEEP_ALIVE_SECONDS = 15.0


def sse(data: Mapping[str, Any], number: int | None = None) -> str:
    """One event; with a number, from which a reader can go on after a lost connection."""
    line = f"data: {json.dumps(data, ensure_ascii=False, separators=(',', ':'))}\n\n"
    return line if number is None else f"id: {number}\n{line}"


def typed_sse(events: Iterable[Mapping[str, Any]]) -> str:
    """Events that have their `type` in a line of its own too, as Anthropic's and those of OpenAI's responses."""
    return "".join(f"event: {event['type']}\n{sse(event)}" for event in events)


class EventStream(Stream[T]):
    """A response of server-sent events. It fills silence."""

    media_type = "text/event-stream"

    async def stream_response(self, send: Send) -> None:
        """Starlette's, and a comment after 15 s of silence.

        One task for the whole stream sees to that. A wait with a limit would take a task for each event, which would be
        the dearest part of sending it.
        """
        clock = asyncio.get_running_loop().time
        turns, sent_at = asyncio.Lock(), clock()

        async def send_in_turn(message: Message) -> None:
            nonlocal sent_at
            async with turns:
                await send(message)
            sent_at = clock()

        async def fill_silence() -> None:
            while True:
                await asyncio.sleep(sent_at + KEEP_ALIVE_SECONDS - clock())
                if clock() >= sent_at + KEEP_ALIVE_SECONDS:
                    await send_in_turn({"type": "http.response.body", "body": b": keep-alive\n\n", "more_body": True})

        filling = asyncio.create_task(fill_silence())
        try:
            await super().stream_response(send_in_turn)
        finally:
            filling.cancel()
