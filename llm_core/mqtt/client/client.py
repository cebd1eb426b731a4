"""`MQTTChatClient`: chat through a broker, with the methods of every client."""

from __future__ import annotations

import json
import uuid
from collections.abc import AsyncGenerator, Generator
from contextlib import suppress
from pathlib import Path
from types import TracebackType
from typing import Any

from llm_core.broker import BrokerUrl, parse_broker_url
from llm_core.cancellation import Cancellation
from llm_core.chat_client import Asked, ChatClient, SessionTurn, collect
from llm_core.errors import BrokerError, InvalidRequest, LLMError, SettingsError
from llm_core.events import ChatEvent
from llm_core.messages import Message, parse_messages
from llm_core.mqtt.client.link import PATIENCE_SECONDS, Link
from llm_core.mqtt.client.pending import Pending
from llm_core.mqtt.packets import TLSFiles
from llm_core.mqtt.topics import NAME_RULE, Topics, is_name, is_project
from llm_core.options import given
from llm_core.reading import Sink, aread, read

MQTTEvent = ChatEvent | LLMError


class MQTTChatClient(ChatClient):
    """A client of the workers behind a broker. A broker that goes away and comes back costs time and no text.

    Its methods are safe from any thread and any event loop.

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
        """Ends the connection. What is waited for fails. Calling it again does nothing."""
        self._link.close()

    def __enter__(self) -> MQTTChatClient:
        return self

    def __exit__(self, kind: type[BaseException] | None, error: BaseException | None, at: TracebackType | None) -> None:
        self.close()

    def session_history(self, session_id: str, *, owner: str = "") -> tuple[Message, ...]:
        session = json.loads(self._look_after(session_id, "history", owner))
        own = ({name: each[name] for name in Message.model_fields if name in each} for each in session["messages"])
        return tuple(map(Message.model_validate, own))

    def delete_session(self, session_id: str, *, owner: str = "") -> None:
        self._look_after(session_id, "delete", owner)

    def _look_after(self, session_id: str, action: str, owner: str) -> str:
        body = {"session_id": session_id, "action": action} | ({"owner": owner} if owner else {})
        return collect(read(_Request(self._link, body, in_pieces=False))).content

    # ── the core ─────────────────────────────────────────────────────────────────────────────────────────────────────

    def _events(self, asked: Asked, *, in_pieces: bool) -> Generator[ChatEvent]:
        return read(_Request(self._link, *_asked(asked), in_pieces=in_pieces))

    def _aevents(self, asked: Asked, *, in_pieces: bool) -> AsyncGenerator[ChatEvent]:
        return aread(_Request(self._link, *_asked(asked), in_pieces=in_pieces))


class _Request:
    """A request on its way through the broker: a `llm_core.reading.Source`."""

    def __init__(
        self, link: Link, body: dict[str, Any], cancellation: Cancellation | None = None, *, in_pieces: bool
    ) -> None:
        self._link, self._cancellation = link, cancellation or Cancellation()
        self._body = {"request_id": uuid.uuid4().hex, "stream": in_pieces} | body

    def begin(self, sink: Sink[MQTTEvent]) -> None:
        def tell(event: MQTTEvent) -> None:
            with suppress(RuntimeError):  # the reader's event loop is closed
                sink(event)

        self._pending = Pending(self._body, tell)
        self._link.ask(self._pending)
        self._cancellation.bind(self._stop)

    async def abegin(self, sink: Sink[MQTTEvent]) -> None:
        self.begin(sink)

    def take(self, event: MQTTEvent) -> list[ChatEvent]:
        if isinstance(event, LLMError):
            raise event
        return [event]

    def leave(self) -> None:
        self._link.forget(self._pending)

    def _stop(self) -> None:
        with suppress(BrokerError):  # the client is closed
            self._link.cancel(self._pending)


def _asked(asked: Asked) -> tuple[dict[str, Any], Cancellation | None]:
    """What is asked, as the wire has it, and what stops it.

    Raises:
        InvalidRequest: It is no conversation, or something in it cannot be sent.
    """
    body = given(asked.options)
    cancellation: Cancellation | None = body.pop("cancellation", None)
    if isinstance(asked, SessionTurn):
        body |= given({"session_id": asked.session_id, "message": asked.message})
    else:
        said = parse_messages(asked.messages)  # replies' own objects stand in them as well as dicts
        body["messages"] = [each.model_dump(mode="json", exclude_none=True) for each in said]
    for name, value in body.items():
        try:
            json.dumps(value, ensure_ascii=False, allow_nan=False).encode()
        except (TypeError, ValueError) as error:
            raise InvalidRequest(f"{name}: cannot be sent over MQTT: {error}", param=name) from None
    return body, cancellation
