"""The systems under test, all with one interface: messages in, pieces of text out, temperature 0.

A new system is one more small class with `name` and `stream`.
"""

from __future__ import annotations

import asyncio
import json
import threading
from collections.abc import AsyncGenerator, Sequence
from concurrent.futures import ThreadPoolExecutor
from contextlib import aclosing
from pathlib import Path
from typing import Any, Protocol

import httpx

import llm_core.engine.llama.library  # noqa: F401 - first: it sets how the library's threads wait
from llm_core.client import LLMClient
from llm_core.events import ContentDelta, Done, Usage

from llama_cpp import Llama  # isort: skip

Piece = str | Usage
"""Text, never empty; and at most once, at the end, what was used."""
Messages = Sequence[dict[str, str]]

APP = "app"
LLAMA_SERVER = "llama-server"
"""The peer that the figures to reach are stated against."""


class System(Protocol):
    """Something that answers chats."""

    name: str

    def stream(self, messages: Messages, max_tokens: int, user: str = "") -> AsyncGenerator[Piece]:
        """The reply of a greedy request. Closing the generator is how a reader leaves.

        Args:
            user: Who asks, for systems that keep users apart.
        """
        ...


class EngineInProcess:
    """This project's engine through `LLMClient`, in the benchmark's own process."""

    name = "engine"

    def __init__(self, client: LLMClient, model: str = "") -> None:
        self.client, self._model = client, model

    def asked_for(self, model: str) -> EngineInProcess:
        """The same, for another of its models."""
        return EngineInProcess(self.client, model)

    async def stream(self, messages: Messages, max_tokens: int, user: str = "") -> AsyncGenerator[Piece]:
        events = self.client.achat_stream(messages, temperature=0, max_tokens=max_tokens, owner=user, model=self._model)
        async with aclosing(events):
            async for event in events:
                if isinstance(event, ContentDelta) and event.text:
                    yield event.text
                elif isinstance(event, Done):
                    yield event.usage


class HighLevelLlama:
    """`llama_cpp.Llama`, whose streams share one state: a lock lets one user at a time at it, which is what users of
    it do. It lives on one thread, which ends with it.

    Args:
        model: A GGUF file.
        context_tokens: Size of the context.
        threads: CPU threads. Everything else is as it comes.
    """

    name = "Llama"

    def __init__(self, model: Path, *, context_tokens: int, threads: int) -> None:
        self._turn = asyncio.Lock()
        self._thread = ThreadPoolExecutor(1, thread_name_prefix="llama")
        options: dict[str, Any] = {
            "n_ctx": context_tokens,
            "n_threads": threads,
            "n_threads_batch": threads,
            "verbose": False,
        }
        self._llama: Any = self._thread.submit(Llama, str(model), **options).result()

    def __enter__(self) -> HighLevelLlama:
        return self

    def __exit__(self, *_error: object) -> None:
        self._thread.submit(self._llama.close).result()
        self._thread.shutdown()

    async def stream(self, messages: Messages, max_tokens: int, user: str = "") -> AsyncGenerator[Piece]:
        async with self._turn:
            pieces: asyncio.Queue[str | None] = asyncio.Queue()
            reader_left = threading.Event()
            work = asyncio.get_running_loop().run_in_executor(
                self._thread, self._produce, list(messages), max_tokens, asyncio.get_running_loop(), pieces, reader_left
            )
            try:
                while (piece := await pieces.get()) is not None:
                    yield piece
            finally:
                reader_left.set()
                await work

    def _produce(
        self,
        messages: list[dict[str, str]],
        max_tokens: int,
        loop: asyncio.AbstractEventLoop,
        pieces: asyncio.Queue[str | None],
        reader_left: threading.Event,
    ) -> None:
        try:
            for chunk in self._llama.create_chat_completion(
                messages, temperature=0, max_tokens=max_tokens, stream=True
            ):
                if reader_left.is_set():
                    return
                if text := chunk["choices"][0]["delta"].get("content"):
                    loop.call_soon_threadsafe(pieces.put_nowait, text)
        finally:
            loop.call_soon_threadsafe(pieces.put_nowait, None)


class SystemFailed(Exception):
    """A server answered with an error; the message says which and what."""


class OpenAIServer:
    """Any server that speaks OpenAI's wire format.

    Args:
        name: Its column in the tables.
        url: Up to and without `/v1`.
        model: What is sent as `model`; many servers do not care.
    """

    def __init__(self, name: str, url: str, model: str = "default") -> None:
        self.name = name
        self._model = model
        # A connection for each request: servers close idle ones when they like, and a request may meet that.
        limits = httpx.Limits(max_connections=None, max_keepalive_connections=0)
        self._http = httpx.AsyncClient(base_url=url.rstrip("/").removesuffix("/v1"), timeout=None, limits=limits)

    async def use_first_model(self) -> None:
        """Asks the server which models it has, and takes the first."""
        answer = await self._http.get("/v1/models")
        answer.raise_for_status()
        self._model = answer.json()["data"][0]["id"]

    async def stream(self, messages: Messages, max_tokens: int, user: str = "") -> AsyncGenerator[Piece]:
        body = self._body(messages, max_tokens) | {"stream": True, "stream_options": {"include_usage": True}}
        async with aclosing(_events(self.name, self._http, "/v1/chat/completions", body)) as chunks:
            async for chunk in chunks:
                for piece in self._pieces(chunk):
                    yield piece

    async def whole(self, messages: Messages, max_tokens: int, **options: object) -> dict[str, Any]:
        """The whole answer to a greedy request, as the server wrote it; `options` are more fields of the request."""
        answer = await self._http.post("/v1/chat/completions", json=self._body(messages, max_tokens) | options)
        if answer.status_code != 200:
            raise _refused(self.name, answer.status_code, answer.text)
        content: dict[str, Any] = answer.json()
        return content

    def _body(self, messages: Messages, max_tokens: int) -> dict[str, Any]:
        return {"model": self._model, "messages": list(messages), "max_tokens": max_tokens, "temperature": 0}

    async def close(self) -> None:
        await self._http.aclose()

    def _pieces(self, chunk: dict[str, Any]) -> list[Piece]:
        texts: list[Piece] = [text for each in chunk["choices"] if (text := each.get("delta", {}).get("content"))]
        if usage := chunk.get("usage"):
            details = usage.get("prompt_tokens_details") or {}
            texts.append(
                Usage(usage["prompt_tokens"], details.get("cached_tokens") or 0, usage["completion_tokens"]),
            )
        return texts


class AppSessions:
    """The sessions of our app over HTTP: the server keeps the conversations, and leaves out what no longer fits.

    Args:
        url: The app's.
    """

    name = APP

    def __init__(self, url: str) -> None:
        self._http = httpx.AsyncClient(base_url=url, timeout=None, limits=httpx.Limits(max_keepalive_connections=0))

    async def stream(self, session_id: str, message: str, max_tokens: int) -> AsyncGenerator[Piece]:
        """The next turn of a session, greedy."""
        body = {"session_id": session_id, "message": message, "max_tokens": max_tokens, "temperature": 0}
        async with aclosing(_events(self.name, self._http, "/api/llm/chat/session/stream", body)) as events:
            async for event in events:
                if text := event.get("content"):
                    yield text
                elif event.get("done"):
                    yield Usage(**event["usage"])

    async def close(self) -> None:
        await self._http.aclose()


async def _events(name: str, http: httpx.AsyncClient, path: str, body: Any) -> AsyncGenerator[dict[str, Any]]:
    """The events of a stream, as JSON.

    Raises:
        SystemFailed: It was refused, or one of them is an error.
    """
    async with http.stream("POST", path, json=body) as answer:
        if answer.status_code != 200:
            raise _refused(name, answer.status_code, (await answer.aread()).decode(errors="replace"))
        async for line in answer.aiter_lines():
            if not line.startswith("data: ") or line == "data: [DONE]":
                continue
            event = json.loads(line.removeprefix("data: "))
            if "error" in event:
                raise SystemFailed(f"{name} failed in a stream: {event['error']}")
            yield event


def _refused(name: str, status: int, said: str) -> SystemFailed:
    return SystemFailed(f"{name} answered {status}: {said[:300]}")
