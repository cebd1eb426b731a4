"""An engine that does what a test tells it to: OpenAI's two routes over a real port, and every way to fail at them."""

from __future__ import annotations

import asyncio
import json
import threading
from collections.abc import Awaitable, Callable, Iterable
from dataclasses import dataclass, field
from typing import Any

MODEL = "fake-model"


@dataclass(frozen=True)
class Asked:
    """A request as it came."""

    path: str
    headers: dict[str, str]
    body: dict[str, Any] = field(default_factory=dict)


Answer = Callable[[asyncio.StreamWriter], Awaitable[None]]


def chunk(delta: dict[str, Any] | None = None, finish_reason: str | None = None, **more: Any) -> dict[str, Any]:
    return {"choices": [{"index": 0, "delta": delta or {}, "finish_reason": finish_reason}], **more}


def reply(*texts: str, finish_reason: str = "stop") -> list[dict[str, Any]]:
    """The chunks of a whole reply."""
    usage = {"prompt_tokens": 7, "completion_tokens": len(texts), "prompt_tokens_details": {"cached_tokens": 3}}
    head = chunk({"role": "assistant", "content": ""})
    return [
        head,
        *(chunk({"content": text}) for text in texts),
        chunk({}, finish_reason),
        {"choices": [], "usage": usage},
    ]


def streams(chunks: Iterable[dict[str, Any] | str], *, end: str = "done", pause: float = 0.0) -> Answer:
    """Sends chunks.

    Args:
        end: `done` as OpenAI does, `close` hangs up in the middle, `wait` neither ends nor hangs up.
        pause: Seconds before each chunk.
    """

    async def answer(writer: asyncio.StreamWriter) -> None:
        writer.write(b"HTTP/1.1 200 OK\r\nContent-Type: text/event-stream\r\nTransfer-Encoding: chunked\r\n\r\n")
        for each in chunks:
            await asyncio.sleep(pause)
            data = each if isinstance(each, str) else json.dumps(each)
            _write_piece(writer, f"data: {data}\n\n")
            await writer.drain()
        if end == "wait":
            await asyncio.sleep(600)
        elif end == "close":
            writer.transport.abort()
        else:
            _write_piece(writer, "data: [DONE]\n\n")
            writer.write(b"0\r\n\r\n")
            await writer.drain()

    return answer


def refuses(status: int, body: Any = None, *, after: float = 0.0, **headers: str) -> Answer:
    """Answers with a status that is not 200."""

    async def answer(writer: asyncio.StreamWriter) -> None:
        await asyncio.sleep(after)
        _write_json(writer, status, body or {"error": {"message": f"status {status}"}}, headers)

    return answer


def writes(text: str, content_type: str = "text/event-stream") -> Answer:
    """Sends a body as it stands."""

    async def answer(writer: asyncio.StreamWriter) -> None:
        data = text.encode()
        head = f"HTTP/1.1 200 OK\r\nContent-Type: {content_type}\r\nContent-Length: {len(data)}\r\n\r\n"
        writer.write(head.encode() + data)

    return answer


async def hangs_up(writer: asyncio.StreamWriter) -> None:
    """Closes the connection without a word."""
    writer.transport.abort()


class FakeEngine:
    """Answers requests for completions with `answers`, one after the other, the last one again and again."""

    def __init__(self, *, model: str = MODEL, props: dict[str, Any] | None = None) -> None:
        self.model = model
        self.others: tuple[str, ...] = ()
        self.props = props  # of llama-server; others have none
        self.answers: list[Answer] = [streams(reply("Hello", " there"))]
        self.asked: list[Asked] = []
        self.looks: list[Asked] = []
        self.connections = 0
        self.left = threading.Event()  # a reader has gone before its answer ended
        self._served = 0
        self._loop = asyncio.new_event_loop()
        self._server: asyncio.Server | None = None
        self._tasks: set[asyncio.Task[None]] = set()
        self._port = 0
        self._thread = threading.Thread(target=self._loop.run_forever, daemon=True)
        self._thread.start()
        self.start()

    @property
    def url(self) -> str:
        return f"http://127.0.0.1:{self._port}"

    def start(self) -> None:
        self._call(self._start())

    def kill(self) -> None:
        """Ends as a process does that is killed: all connections break. `start` brings it back on the same port."""
        self._call(self._kill())

    def close(self) -> None:
        self.kill()
        self._loop.call_soon_threadsafe(self._loop.stop)
        self._thread.join(60)
        self._loop.close()

    def _call(self, work: Any) -> None:
        asyncio.run_coroutine_threadsafe(work, self._loop).result(60)

    async def _start(self) -> None:
        self._server = await asyncio.start_server(self._serve, "127.0.0.1", self._port)
        self._port = self._server.sockets[0].getsockname()[1]

    async def _kill(self) -> None:
        if self._server is not None:
            self._server.close()
        for task in self._tasks:
            task.cancel()
        await asyncio.gather(*self._tasks, return_exceptions=True)

    async def _serve(self, reader: asyncio.StreamReader, writer: asyncio.StreamWriter) -> None:
        task = asyncio.current_task()
        assert task is not None
        self._tasks.add(task)
        self.connections += 1
        try:
            while await self._serve_one(reader, writer):
                pass
        except (ConnectionError, asyncio.IncompleteReadError, asyncio.CancelledError):
            pass
        finally:
            self._tasks.discard(task)
            writer.transport.abort()

    async def _serve_one(self, reader: asyncio.StreamReader, writer: asyncio.StreamWriter) -> bool:
        first, *lines = (await reader.readuntil(b"\r\n\r\n")).decode().strip().split("\r\n")
        headers = {name.lower(): value.strip() for name, _, value in (line.partition(":") for line in lines)}
        data = await reader.readexactly(int(headers.get("content-length", 0)))
        asked = Asked(first.split()[1], headers, json.loads(data) if data else {})
        if asked.path.endswith("/models"):
            self.looks.append(asked)
            names = [self.model, *self.others]
            _write_json(writer, 200, {"data": [{"id": name, "max_model_len": 4096} for name in names]}, {})
            return True
        if asked.path == "/props":
            _write_json(writer, 200 if self.props else 404, self.props or {"detail": "Not Found"}, {})
            return True
        self.asked.append(asked)
        answer = self.answers[min(self._served, len(self.answers) - 1)]
        self._served += 1
        answering = asyncio.ensure_future(answer(writer))
        try:
            while not answering.done():
                await asyncio.wait({answering}, timeout=0.01)
                if not answering.done() and (reader.at_eof() or writer.transport.is_closing()):
                    self.left.set()
                    return False
        finally:
            answering.cancel()
        answering.result()
        return not writer.transport.is_closing()


def _write_piece(writer: asyncio.StreamWriter, text: str) -> None:
    data = text.encode()
    writer.write(f"{len(data):x}\r\n".encode() + data + b"\r\n")


def _write_json(writer: asyncio.StreamWriter, status: int, body: Any, headers: dict[str, str]) -> None:
    data = json.dumps(body).encode()
    lines = [f"HTTP/1.1 {status} X", "Content-Type: application/json", f"Content-Length: {len(data)}"]
    lines += [f"{name.replace('_', '-')}: {value}" for name, value in headers.items()]
    writer.write("\r\n".join(lines).encode() + b"\r\n\r\n" + data)
