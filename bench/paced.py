"""An engine that makes its tokens by the clock: `python -m bench.paced PORT`.

It speaks OpenAI's wire format and costs next to no time of the cores, as an engine on a GPU elsewhere does. So what
stands in front of it can be measured alone: whatever is later than the clock was made late on the way.
"""

from __future__ import annotations

import asyncio
import json
import sys
import time
from typing import Any

FIRST_SECONDS = 0.1
GAP_SECONDS = 0.05  # twenty tokens a second for each reader, which is what a busy engine gives
_MODEL = "paced"


async def main(port: int) -> None:
    server = await asyncio.start_server(_serve, "127.0.0.1", port)
    async with server:
        await server.serve_forever()


async def _serve(reader: asyncio.StreamReader, writer: asyncio.StreamWriter) -> None:
    try:
        while True:
            head = (await reader.readuntil(b"\r\n\r\n")).decode().lower()
            length = next((line[15:] for line in head.split("\r\n") if line.startswith("content-length:")), "0")
            body = await reader.readexactly(int(length))
            if head.startswith("post"):
                await _stream(writer, json.loads(body))
            else:
                _whole(writer, {"object": "list", "data": [{"id": _MODEL, "object": "model"}]})
            await writer.drain()
    except (asyncio.IncompleteReadError, ConnectionError):
        writer.close()


async def _stream(writer: asyncio.StreamWriter, asked: dict[str, Any]) -> None:
    writer.write(b"HTTP/1.1 200 OK\r\nContent-Type: text/event-stream\r\nTransfer-Encoding: chunked\r\n\r\n")
    begin = time.perf_counter() + FIRST_SECONDS
    tokens = int(asked.get("max_tokens", 16))
    for number in range(tokens):
        await asyncio.sleep(begin + number * GAP_SECONDS - time.perf_counter())
        _piece(writer, json.dumps(_chunk({"content": f"{number} "})))
        await writer.drain()
    usage = {"prompt_tokens": 1, "completion_tokens": tokens, "total_tokens": tokens + 1}
    _piece(writer, json.dumps(_chunk({}, "length")))
    _piece(writer, json.dumps({**_chunk({}), "choices": [], "usage": usage}))
    _piece(writer, "[DONE]")
    writer.write(b"0\r\n\r\n")


def _chunk(delta: dict[str, Any], finish_reason: str | None = None) -> dict[str, Any]:
    head = {"id": "chatcmpl-paced", "object": "chat.completion.chunk", "created": 0, "model": _MODEL}
    return head | {"choices": [{"index": 0, "delta": delta, "logprobs": None, "finish_reason": finish_reason}]}


def _piece(writer: asyncio.StreamWriter, text: str) -> None:
    data = f"data: {text}\n\n".encode()
    writer.write(f"{len(data):x}\r\n".encode() + data + b"\r\n")


def _whole(writer: asyncio.StreamWriter, answer: dict[str, Any]) -> None:
    data = json.dumps(answer).encode()
    writer.write(f"HTTP/1.1 200 OK\r\nContent-Type: application/json\r\nContent-Length: {len(data)}\r\n\r\n".encode())
    writer.write(data)


if __name__ == "__main__":
    asyncio.run(main(int(sys.argv[1])))
