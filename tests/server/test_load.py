"""More callers at once than there is room for, half of whom hang up; and a reader who stays but takes nothing."""

from __future__ import annotations

import asyncio
import json
import socket
import threading
from collections.abc import AsyncGenerator, Iterator
from contextlib import aclosing, contextmanager
from dataclasses import dataclass
from typing import Any, Literal

import httpx
import psutil
import pytest
from starlette.types import ASGIApp, Message, Receive, Scope, Send
from uvicorn.protocols.http.flow_control import HIGH_WATER_LIMIT

from llm_core.client import LLMClient
from llm_core.engine.llama.model import Model
from llm_core.models.resolve import find
from llm_core.models.source import BundledModel
from llm_core.server import serve
from llm_core.server.server import build_server
from tests.served import served
from tests.waiting import is_idle, stats_of, wait_until

CROWD = 200
REPLY_TOKENS = 3
LONG_TOKENS = 200
SMALL_BUFFER_BYTES = 4096


SETTINGS: dict[str, Any] = {
    "parallel": 8,
    "context_tokens": 256,
    "threads": 1,  # two wait for each other at every layer, which takes long where other programs use the cores too
    "step_ms": 2000,  # prompts whole, whatever the cores do: fewer steps, and nobody here minds long ones
    "queue_limit": CROWD,
    "system_prompt": "",
    "resume_seconds": 0,
}


def connections(client: LLMClient) -> int:
    """How many the server has open."""
    port = client.settings.server_port
    found = psutil.Process().net_connections("tcp")
    return sum(each.laddr.port == port and each.status == psutil.CONN_ESTABLISHED for each in found)


# ── a crowd ──────────────────────────────────────────────────────────────────────────────────────────────────────────

Leaves = Literal["never", "before the first answer", "in the queue", "in the reply"]
LEAVERS: tuple[Leaves, ...] = ("before the first answer", "in the queue", "in the queue", "in the reply")


@dataclass(frozen=True)
class Caller:
    """One of the crowd. A bias makes the model say the caller's own word and nothing else, whatever it is computed
    beside: a word in the wrong stream would show."""

    number: int
    token: int
    word: str

    @property
    def leaves(self) -> Leaves:
        return "never" if self.number % 2 == 0 else LEAVERS[self.number // 4 % len(LEAVERS)]

    @property
    def session_id(self) -> str | None:
        return f"crowd-{self.number}" if self.number // 2 % 2 else None

    @property
    def path(self) -> str:
        return "/api/llm/chat/session/stream" if self.session_id else "/api/llm/chat/stream"

    @property
    def said(self) -> str:
        return self.word.strip()

    @property
    def body(self) -> dict[str, Any]:
        asked = (
            {"session_id": self.session_id, "message": self.said}
            if self.session_id
            else {"messages": [{"role": "user", "content": self.said}]}
        )
        tokens = REPLY_TOKENS if self.leaves == "never" else LONG_TOKENS
        return asked | {"max_tokens": tokens, "logit_bias": {str(self.token): 100}}


@pytest.fixture(scope="module")
def crowd() -> list[Caller]:
    vocabulary = Model.load(find(BundledModel()).path, vocab_only=True)
    words = ((token, vocabulary.token_bytes(token).decode("ascii", "replace")) for token in range(2000, 20_000))
    plain = [(token, word) for token, word in words if word.strip().isalpha() and word.isascii() and len(word) > 4]
    vocabulary.close()
    return [Caller(number, *plain[number]) for number in range(CROWD)]


@dataclass(frozen=True)
class Heard:
    """What a caller was sent."""

    numbers: list[int]
    events: list[dict[str, Any]]

    @property
    def stream_id(self) -> str:
        stream_id: str = self.events[0]["stream_id"]
        return stream_id


async def call(http: httpx.AsyncClient, caller: Caller) -> Heard:
    """Reads a caller's stream until it ends, or the caller leaves."""
    numbers, events = [], []
    async with http.stream("POST", caller.path, json=caller.body) as response:
        assert response.status_code == 200
        async with aclosing(events_of(response)) as coming:
            async for number, event in coming:
                numbers.append(number)
                events.append(event)
                pieces = sum("content" in each for each in events)
                if caller.leaves == "in the queue" or (caller.leaves == "in the reply" and pieces == 2):
                    break
    return Heard(numbers, events)


async def events_of(response: httpx.Response) -> AsyncGenerator[tuple[int, dict[str, Any]]]:
    number = 0
    async for line in response.aiter_lines():
        if line.startswith("id: "):
            number = int(line.removeprefix("id: "))
        elif line.startswith("data: "):
            yield number, json.loads(line.removeprefix("data: "))


async def ask_and_go(port: int, caller: Caller) -> None:
    """Sends the whole request and hangs up."""
    body = json.dumps(caller.body).encode()
    head = f"POST {caller.path} HTTP/1.1\r\nHost: localhost\r\nContent-Type: application/json\r\n"
    _, writer = await asyncio.open_connection("127.0.0.1", port)
    writer.write(f"{head}Content-Length: {len(body)}\r\n\r\n".encode() + body)
    await writer.drain()
    writer.close()
    await writer.wait_closed()


async def test_of_200_callers_100_hang_up_and_the_others_notice_nothing(client: LLMClient, crowd: list[Caller]) -> None:
    generated = stats_of(client).generated_tokens
    with served(client) as url:
        async with httpx.AsyncClient(base_url=url, timeout=90, limits=httpx.Limits(max_connections=None)) as http:
            calls = {
                caller: ask_and_go(client.settings.server_port, caller)
                if caller.leaves == "before the first answer"
                else call(http, caller)
                for caller in crowd
            }
            heard = dict(zip(calls, await asyncio.gather(*calls.values()), strict=True))

            staying = [caller for caller in crowd if caller.leaves == "never"]
            assert len(staying) == CROWD / 2
            for caller in staying:
                check_complete(caller, heard[caller])

            wait_until(lambda: is_idle(client), "no slot is taken and nobody waits")
            assert stats_of(client).generated_tokens - generated < CROWD / 2 * LONG_TOKENS / 2
            await check_nothing_is_registered(http, client, heard)
        wait_until(lambda: not connections(client), "every connection is closed")
    for caller in staying:
        if caller.session_id:
            asked, answered = client.session_history(caller.session_id)
            assert (asked.content, answered.content) == (caller.said, caller.word * REPLY_TOKENS)


def check_complete(caller: Caller, heard: Heard | None) -> None:
    assert heard is not None
    *before, done = heard.events
    assert heard.numbers == list(range(1, len(heard.events) + 1))
    assert "".join(event.get("content", "") for event in before) == caller.word * REPLY_TOKENS
    assert not any("done" in event or "error" in event for event in before)
    assert (done["done"], done["finish_reason"]) == (True, "length")
    assert done["usage"]["completion_tokens"] == REPLY_TOKENS
    assert {event.get("session_id") for event in heard.events} == {caller.session_id}


async def check_nothing_is_registered(
    http: httpx.AsyncClient, client: LLMClient, heard: dict[Caller, Heard | None]
) -> None:
    """Neither among the streams that can be stopped, nor among the replies of sessions."""
    for caller, each in heard.items():
        if caller.session_id:
            session_id = caller.session_id
            wait_until(lambda session_id=session_id: client.sessions.running(session_id) is None, "it has ended")
        elif each is not None:
            assert (await http.delete(f"/api/llm/streams/{each.stream_id}")).status_code == 404
    assert not any(session.busy for session in client.sessions.list(limit=CROWD))
    wait_until(lambda: not any(each.name.startswith("reply-") for each in threading.enumerate()), "no thread is left")


# ── a reader who takes nothing ───────────────────────────────────────────────────────────────────────────────────────

# As heavy as a stream can be: each token comes with twenty others.
HEAVY_TOKENS = 150
HEAVY: dict[str, Any] = {
    "messages": [{"role": "user", "content": "Tell me a very long story about the sea."}],
    "stream": True,
    "max_tokens": HEAVY_TOKENS,
    "logit_bias": {"2": -100},  # the token that would end the reply
    "logprobs": True,
    "top_logprobs": 20,
}
LEAST_HEAVY_BYTES = 1500 * HEAVY_TOKENS


class Counted:
    """Counts the bytes that an application has handed to the server, which holds those that were not taken yet."""

    def __init__(self, app: ASGIApp) -> None:
        self._app = app
        self.most = 0

    async def __call__(self, scope: Scope, receive: Receive, send: Send) -> None:
        handed = 0

        async def counting(message: Message) -> None:
            nonlocal handed
            handed += len(message.get("body", b""))
            self.most = max(self.most, handed)
            await send(message)

        await self._app(scope, receive, counting)


@contextmanager
def served_through_small_buffers(client: LLMClient) -> Iterator[Counted]:
    """The server of `client`. What the system takes from it on a reader's behalf would else be megabytes."""
    app = Counted(build_server(client))
    with serve.listen(client.settings) as listener:
        listener.setsockopt(socket.SOL_SOCKET, socket.SO_SNDBUF, SMALL_BUFFER_BYTES)
        with serve.running(app, listener):  # type: ignore[arg-type]
            yield app


@contextmanager
def stalled_reader(client: LLMClient) -> Iterator[socket.socket]:
    """Someone who asks for a heavy stream, reads that it begins, and no more."""
    body = json.dumps(HEAVY).encode()
    head = "POST /v1/chat/completions HTTP/1.1\r\nHost: localhost\r\nConnection: close\r\n"
    head += f"Content-Type: application/json\r\nContent-Length: {len(body)}\r\n\r\n"
    with socket.socket() as reader:
        reader.setsockopt(socket.SOL_SOCKET, socket.SO_RCVBUF, SMALL_BUFFER_BYTES)
        reader.settimeout(60)
        reader.connect(("127.0.0.1", client.settings.server_port))
        reader.sendall(head.encode() + body)
        assert reader.recv(12) == b"HTTP/1.1 200"
        yield reader


def rest_of(reader: socket.socket) -> bytes:
    received = b""
    while chunk := reader.recv(65536):
        received += chunk
    return received


async def test_a_reader_who_takes_nothing_holds_up_neither_the_engine_nor_others_and_can_read_on(
    client: LLMClient, crowd: list[Caller]
) -> None:
    with served_through_small_buffers(client) as app, stalled_reader(client) as reader:
        async with httpx.AsyncClient(base_url=f"http://127.0.0.1:{client.settings.server_port}", timeout=60) as http:
            check_complete(crowd[0], await call(http, crowd[0]))
        assert stats_of(client).running == 1, "the other one was served meanwhile"

        wait_until(lambda: is_idle(client), "the reply is made to its end although nobody takes it")
        held = app.most
        assert held < 2 * HIGH_WATER_LIMIT

        received = rest_of(reader)
        assert received.count(b'"top_logprobs"') == HEAVY_TOKENS
        assert b"data: [DONE]" in received
        assert app.most > LEAST_HEAVY_BYTES > 2 * held, "most of it was not handed on before it was wanted"


@pytest.mark.skipif(not hasattr(socket, "TCP_USER_TIMEOUT"), reason="only Linux ends such connections")
def test_one_who_takes_nothing_for_too_long_is_hung_up_on(client: LLMClient, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(serve, "STALL_SECONDS", 0.3)
    with served_through_small_buffers(client) as app, stalled_reader(client) as reader:
        wait_until(lambda: not connections(client), "the connection is closed")
        wait_until(lambda: is_idle(client), "the reply has stopped")
        with pytest.raises(ConnectionResetError):
            rest_of(reader)
        assert app.most < LEAST_HEAVY_BYTES
