"""`MQTTChatClient`: chat through a broker, with the methods of `LLMClient` that make a reply."""

from __future__ import annotations

import asyncio
import queue
import uuid
from collections.abc import AsyncGenerator, Callable, Generator, Iterable
from contextlib import aclosing, closing
from pathlib import Path
from types import TracebackType
from typing import Any

from llm_core.broker import BrokerUrl, parse_broker_url
from llm_core.errors import LLMError, SettingsError
from llm_core.events import ChatEvent, ChatReply, ContentDelta, Done, ReplyBuilder
from llm_core.messages import Message, MessageLike
from llm_core.mqtt.client.link import PATIENCE_SECONDS, Link
from llm_core.mqtt.client.pending import Pending
from llm_core.mqtt.packets import TLSFiles
from llm_core.mqtt.topics import NAME_RULE, Topics, is_name, is_project


class MQTTChatClient:
    """A client of the workers behind a broker. A broker that goes away and comes back costs time and no text.

    Sync and async methods are twins: the same names, an `a` before the async ones. All are safe from any thread and any
    event loop. Closing an iterator, or cancelling the task that reads it, stops the reply.

    Args:
        url: `mqtt://user:password@host:port`, or `mqtts://` for TLS.
        name: Of this client, as topics have it; the broker must let it publish there. Its sessions are of this name.
        project: Which project.
        prefix: What topics begin with: the workers' `MQTT_PREFIX`.
        patience: Seconds without a word from a worker or the broker after which a reply is given up.
        ca_file, cert_file, key_file: PEM files for `mqtts://`: who signed the broker's certificate (None: as the system
            trusts), and a certificate of this client with its key.

    Raises:
        SettingsError: The URL, a name or a file cannot be used.

    Example:
        ```python
        with MQTTChatClient("mqtt://127.0.0.1:1883", name="kitchen") as client:
            for piece in client.generate_stream([{"role": "user", "content": "Hello"}]):
                print(piece, end="", flush=True)
        ```

    Requests take the options of `LLMClient` (temperature, max_tokens, tools...) and raise its errors. Beside those:

        BrokerError: Nobody answered.
        ProjectNotFound: There is no such project, or not for this client.
        ReplyInterrupted: The worker ended in the middle of the reply.
    """

    def __init__(
        self,
        url: str,
        *,
        name: str,
        project: str = "default",
        prefix: str = "llm",
        patience: float = PATIENCE_SECONDS,
        ca_file: Path | str | None = None,
        cert_file: Path | str | None = None,
        key_file: Path | str | None = None,
    ) -> None:
        try:
            broker = parse_broker_url(url)
        except ValueError as error:
            raise SettingsError(f"The broker's URL cannot be used: {error}.") from None
        assert isinstance(broker, BrokerUrl)
        if not is_name(name) or not is_project(project):
            raise SettingsError(f"The names of client and project: {NAME_RULE}.")
        files = [None if file is None else Path(file) for file in (ca_file, cert_file, key_file)]
        self._link = Link(
            broker,
            Topics(prefix),
            project,
            name,
            client_id=f"llm-client-{name}-{uuid.uuid4().hex[:12]}",
            tls=TLSFiles(*files),
            patience=patience,
        )

    def close(self) -> None:
        """Ends the connection."""
        self._link.close()

    def __enter__(self) -> MQTTChatClient:
        return self

    def __exit__(self, kind: type[BaseException] | None, error: BaseException | None, at: TracebackType | None) -> None:
        self.close()

    # ── text ─────────────────────────────────────────────────────────────────────────────────────────────────────────

    def generate(self, messages: Iterable[MessageLike], **options: Any) -> str:
        """The reply's text."""
        return self.chat(messages, **options).content

    async def agenerate(self, messages: Iterable[MessageLike], **options: Any) -> str:
        """The reply's text."""
        return (await self.achat(messages, **options)).content

    def generate_stream(self, messages: Iterable[MessageLike], **options: Any) -> Generator[str]:
        """The reply's text, piece by piece, as it is made."""
        with closing(self.chat_stream(messages, **options)) as events:
            for event in events:
                if isinstance(event, ContentDelta):
                    yield event.text

    async def agenerate_stream(self, messages: Iterable[MessageLike], **options: Any) -> AsyncGenerator[str]:
        """The reply's text, piece by piece, as it is made."""
        async with aclosing(self.achat_stream(messages, **options)) as events:
            async for event in events:
                if isinstance(event, ContentDelta):
                    yield event.text

    # ── events ───────────────────────────────────────────────────────────────────────────────────────────────────────

    def chat(self, messages: Iterable[MessageLike], **options: Any) -> ChatReply:
        """The whole reply, with reasoning, calls, usage and timings."""
        return _collect(self._read(_conversation(messages, options, stream=False)))

    async def achat(self, messages: Iterable[MessageLike], **options: Any) -> ChatReply:
        """The whole reply, with reasoning, calls, usage and timings."""
        return await _acollect(self._aread(_conversation(messages, options, stream=False)))

    def chat_stream(self, messages: Iterable[MessageLike], **options: Any) -> Generator[ChatEvent]:
        """The reply's events: `Queued` first, then deltas, `Done` last."""
        return self._read(_conversation(messages, options, stream=True))

    def achat_stream(self, messages: Iterable[MessageLike], **options: Any) -> AsyncGenerator[ChatEvent]:
        """The reply's events: `Queued` first, then deltas, `Done` last."""
        return self._aread(_conversation(messages, options, stream=True))

    # ── sessions ─────────────────────────────────────────────────────────────────────────────────────────────────────

    def chat_session(self, session_id: str, message: str, **options: Any) -> ChatReply:
        """Says `message` in a session that the workers remember; it is made on first use."""
        return _collect(self._read(_turn(session_id, message, options, stream=False)))

    async def achat_session(self, session_id: str, message: str, **options: Any) -> ChatReply:
        """Says `message` in a session that the workers remember; it is made on first use."""
        return await _acollect(self._aread(_turn(session_id, message, options, stream=False)))

    def chat_session_stream(self, session_id: str, message: str, **options: Any) -> Generator[ChatEvent]:
        """The events of `chat_session`. A reply that is stopped stays in the session as far as it came."""
        return self._read(_turn(session_id, message, options, stream=True))

    def achat_session_stream(self, session_id: str, message: str, **options: Any) -> AsyncGenerator[ChatEvent]:
        """The events of `achat_session`. A reply that is stopped stays in the session as far as it came."""
        return self._aread(_turn(session_id, message, options, stream=True))

    # ── the core ─────────────────────────────────────────────────────────────────────────────────────────────────────

    def _read(self, body: dict[str, Any]) -> Generator[ChatEvent]:
        heard: queue.SimpleQueue[ChatEvent | LLMError] = queue.SimpleQueue()
        pending = Pending(body, heard.put)
        self._link.ask(pending)
        try:
            while True:
                event = _raised(heard.get())
                yield event
                if isinstance(event, Done):
                    return
        finally:
            self._link.forget(pending)

    async def _aread(self, body: dict[str, Any]) -> AsyncGenerator[ChatEvent]:
        loop = asyncio.get_running_loop()
        heard: asyncio.Queue[ChatEvent | LLMError] = asyncio.Queue()
        pending = Pending(body, _into(loop, heard.put_nowait))
        self._link.ask(pending)
        try:
            while True:
                event = _raised(await heard.get())
                yield event
                if isinstance(event, Done):
                    return
        finally:
            self._link.forget(pending)


def _into(
    loop: asyncio.AbstractEventLoop, put: Callable[[ChatEvent | LLMError], None]
) -> Callable[[ChatEvent | LLMError], None]:
    def sink(event: ChatEvent | LLMError) -> None:
        if not loop.is_closed():
            loop.call_soon_threadsafe(put, event)

    return sink


def _raised(event: ChatEvent | LLMError) -> ChatEvent:
    if isinstance(event, LLMError):
        raise event
    return event


def _conversation(messages: Iterable[MessageLike], options: dict[str, Any], *, stream: bool) -> dict[str, Any]:
    said = [
        message.model_dump(exclude_none=True) if isinstance(message, Message) else dict(message) for message in messages
    ]
    return _body(options, stream=stream) | {"messages": said}


def _turn(session_id: str, message: str, options: dict[str, Any], *, stream: bool) -> dict[str, Any]:
    return _body(options, stream=stream) | {"session_id": session_id, "message": message}


def _body(options: dict[str, Any], *, stream: bool) -> dict[str, Any]:
    given = {name: value for name, value in options.items() if value is not None}
    return {"request_id": uuid.uuid4().hex, "stream": stream} | given


def _collect(events: Generator[ChatEvent]) -> ChatReply:
    builder = ReplyBuilder()
    with closing(events):
        for event in events:
            builder.add(event)
    return builder.reply()


async def _acollect(events: AsyncGenerator[ChatEvent]) -> ChatReply:
    builder = ReplyBuilder()
    async with aclosing(events):
        async for event in events:
            builder.add(event)
    return builder.reply()
