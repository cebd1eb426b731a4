"""An engine's answer as chunks, however it is written: server-sent events or one JSON object.

Lines are split here at line feeds alone: JSON may have U+2028 and its like as they are, and httpx splits there too.
"""

from __future__ import annotations

import asyncio
import json
import re
from collections.abc import AsyncGenerator
from contextlib import aclosing, suppress
from typing import Any

import httpx2

from llm_core.backends.remote.errors import Reported

REST_SECONDS = 0.1  # what is left after the end comes with it, or not at all
_END = "[DONE]"
_FIELD = re.compile(r"(\w*): ?(.*)")  # one without a name is a comment

Chunk = dict[str, Any]


async def chunks_of(response: httpx2.Response) -> AsyncGenerator[Chunk]:
    """The chunks of a reply, as OpenAI's streams have them.

    The rest behind the end is read, so that the connection can be used again: over TLS a new one is two more round
    trips to the first token.

    Raises:
        Reported: The engine says that something went wrong.
        ValueError: It is no answer.
        httpx2.HTTPError: The connection broke.
    """
    async with aclosing(_lines(response)) as lines:
        async for line in lines:
            if line.startswith("{"):  # whoever knows no streams answers with one object
                yield _as_chunk(json.loads("\n".join([line, *[each async for each in lines]])))
                return
            name, data = _field(line)
            if name == "data" and data == _END:
                with suppress(TimeoutError, httpx2.HTTPError):
                    async with asyncio.timeout(REST_SECONDS):
                        async for _ in lines:
                            pass
                return
            if name == "error" and data:  # llama-server wrote its errors so once
                raise Reported(json.loads(data))
            if name == "data" and data:
                yield _checked(json.loads(data))


async def _lines(response: httpx2.Response) -> AsyncGenerator[str]:
    rest = b""
    async for piece in response.aiter_bytes():
        *lines, rest = (rest + piece).split(b"\n")
        for line in lines:
            yield line.decode().strip()
    yield rest.decode().strip()


def _field(line: str) -> tuple[str, str]:
    """Name and value of a line of an event stream."""
    field = _FIELD.fullmatch(line)
    if field is not None:
        return field[1], field[2].strip()
    if line.startswith("<"):
        raise ValueError("a page in place of an answer")
    if line:
        raise Reported(line)
    return "", ""


def _checked(data: Any) -> Chunk:
    """A chunk, where it is one and no error."""
    if not isinstance(data, dict):
        raise ValueError("no chunk")
    if data.get("error") is not None:
        raise Reported(data["error"])
    if "choices" not in data and "message" in data:  # an error with no word around it
        raise Reported(data)
    return data


def _as_chunk(data: Any) -> Chunk:
    """The one chunk of a whole reply."""
    reply = _checked(data)
    return reply | {"choices": [choice | {"delta": choice.get("message")} for choice in reply["choices"]]}
