"""The messages of one reply: gathered, numbered, cut to what the client and the broker can take, kept to be sent again.

A broker has a price for each message and a limit to how many wait for one client, so pieces of text are gathered for a
moment. The first piece is not: it is what a person waits for.
"""

from __future__ import annotations

import asyncio
import json
from collections.abc import Callable
from dataclasses import dataclass, replace
from typing import Any

from llm_core.errors import LLMError
from llm_core.events import (
    ChatEvent,
    ChatReply,
    ContentDelta,
    Loading,
    Queued,
    ReasoningDelta,
    ToolApproval,
    ToolCallDelta,
    ToolResult,
    event_to_dict,
)
from llm_core.mqtt import payloads
from llm_core.mqtt.packets import ReplyTo
from llm_core.mqtt.worker.port import Port

POSITION_SECONDS = 1.0  # least time between two messages that tell the place in the queue
_ENVELOPE_BYTES = 64  # of a delta, beside its text


@dataclass(frozen=True, slots=True)
class Pace:
    """How long text is gathered, in seconds, and how many bytes of it."""

    seconds: float = 0.1
    size: int = 512


class Outbox:
    """The messages of one reply, in one event loop.

    Args:
        max_bytes: Longest payload that the client takes. None: the broker's limit.
        stream: Whether the client wants pieces.
    """

    def __init__(
        self, port: Port, to: ReplyTo, *, pace: Pace, max_bytes: int | None = None, stream: bool = True
    ) -> None:
        self._port, self._to, self._pace = port, to, pace
        self._max_bytes, self._stream = max_bytes, stream
        self._loop = asyncio.get_running_loop()
        self._accepted: bytes | None = None
        self._position = -1
        self._queued_at = float("-inf")
        self._sent: list[bytes] = []  # the message with number n is at n - 1
        self._last: bytes | None = None
        self._kind = ""
        self._gathered: list[str] = []
        self._size = 0
        self._due = 0.0
        self._timer: asyncio.TimerHandle | None = None

    @property
    def seq(self) -> int:
        """Number of the next message."""
        return len(self._sent) + 1

    # ── from the first message to the last ───────────────────────────────────────────────────────────────────────────

    def queued(self, event: Queued) -> None:
        """Says that the request is accepted, and its place in the queue when that has changed."""
        now = self._loop.time()
        settled = event.position == self._position or (event.position and now - self._queued_at < POSITION_SECONDS)
        if self._accepted is not None and settled:
            return
        self._position, self._queued_at = event.position, now
        self._accepted = payloads.encode(payloads.accepted(self._port.worker, event.position))
        self._send(self._accepted)

    def loading(self, event: Loading) -> None:
        """Says that the model is on its way, once in a while."""
        now = self._loop.time()
        if now - self._queued_at >= POSITION_SECONDS:
            self._queued_at = now
            self._send(payloads.encode(payloads.loading(self._port.worker, event)))

    def add(self, event: ChatEvent) -> None:
        """The next piece."""
        if not self._stream:
            return
        match event:
            case ContentDelta(text=text):
                self._gather("content", text)
            case ReasoningDelta(text=text):
                self._gather("reasoning", text)
            case ToolCallDelta() if event.id is None:
                self._gather(f"call {event.index}", event.arguments)
            case ToolResult(content=text):
                self._flush()
                self._number(event_to_dict(replace(event, content=self._shortened(text))))
            case ToolApproval(arguments=text):
                self._flush()
                self._number(event_to_dict(replace(event, arguments=self._shortened(text))))
            case _:
                self._flush()
                self._number(event_to_dict(event))

    def last_of(self, reply: ChatReply) -> bytes:
        """The last message of a reply, which is still to be sent with `end`; what was gathered is sent now.

        A text that is too long for one message is in the deltas, and then `done` says so: also a client that wanted no
        pieces gets them, since it could get the text in no other way.
        """
        self._flush()
        limit = self._limit()
        last = payloads.encode(payloads.done(self.seq, reply))
        if len(last) <= limit:
            return last
        if not self._stream:
            for piece in _cut(reply.content, limit - _ENVELOPE_BYTES):
                self._number({"content": piece})
        message = payloads.done(self.seq, reply) | {"content": None, "split": True}
        message.pop("reasoning", None)
        if len(payloads.encode(message)) > limit:
            message.pop("tool_calls", None)
            message.pop("timings", None)
        return payloads.encode(message)

    def end(self, last: bytes, on_acknowledged: Callable[[int], None] | None = None) -> None:
        """Sends the last message."""
        self._last = last
        self._send(last, on_acknowledged)

    def fail(self, error: LLMError) -> None:
        """Sends an error in place of what is left."""
        self._flush()
        self.end(error_message(error, self._limit()))

    def resend(self, to: ReplyTo, after: int) -> None:
        """Sends what has been sent to where it is wanted from now on.

        Args:
            after: Number of the last message that has been received there.
        """
        self._to = to
        for message in (self._accepted, *self._sent[after:], self._last):
            if message is not None:
                self._send(message)

    # ── gathering ────────────────────────────────────────────────────────────────────────────────────────────────────

    def _gather(self, kind: str, text: str) -> None:
        if not text:
            return
        if kind != self._kind:
            self._flush()
            self._kind = kind
        self._gathered.append(text)
        self._size += len(text.encode("utf-8", "replace"))
        now = self._loop.time()
        if self._size >= self._pace.size or now >= self._due:
            self._flush()
        elif self._timer is None:
            self._timer = self._loop.call_at(self._due, self._flush)

    def _flush(self) -> None:
        if self._timer is not None:
            self._timer.cancel()
            self._timer = None
        if not self._gathered:
            return
        text, self._gathered, self._size = "".join(self._gathered), [], 0
        self._due = self._loop.time() + self._pace.seconds
        for piece in _cut(text, self._limit() - _ENVELOPE_BYTES):
            self._number(_body(self._kind, piece))

    def _shortened(self, text: str) -> str:
        """As much of what a client is told beside the reply as one message may have."""
        return next(iter(_cut(text, self._limit() - 2 * _ENVELOPE_BYTES)), "")

    def _limit(self) -> int:
        return payload_limit(self._to, self._port.largest_packet, self._max_bytes)

    def _number(self, body: dict[str, Any]) -> None:
        self._sent.append(payloads.encode({"type": "delta", "seq": self.seq} | body))
        self._send(self._sent[-1])

    def _send(self, payload: bytes, on_acknowledged: Callable[[int], None] | None = None) -> None:
        self._port.publish(self._to.message(payload, on_acknowledged))


def payload_limit(to: ReplyTo, largest_packet: int, asked: int | None) -> int:
    """Longest payload of a message to a client: its own limit, or what the broker's leaves, in bytes."""
    overhead = to.message(b"").most_bytes
    return max(payloads.SMALLEST_LIMIT // 2, min(largest_packet - overhead, asked or largest_packet))


def error_message(error: LLMError, limit: int) -> bytes:
    """An error, its sentence cut where it would not fit."""
    message = payloads.failed(error)
    if len(payloads.encode(message)) > limit:
        message["message"] = message["message"][: limit // 8] + "…"
        message.pop("param", None)
    return payloads.encode(message)


def _body(kind: str, text: str) -> dict[str, Any]:
    if kind.startswith("call "):
        return event_to_dict(ToolCallDelta(int(kind[5:]), arguments=text))
    return {kind: text}


def _cut(text: str, limit: int) -> list[str]:
    """`text` in pieces whose JSON has at most `limit` bytes each."""
    pieces = []
    start = 0
    while start < len(text):
        size = min(len(text) - start, max(1, limit))
        while size > 1 and len(_json(text[start : start + size])) > limit:
            size //= 2
        pieces.append(text[start : start + size])
        start += size
    return pieces


def _json(text: str) -> bytes:
    return json.dumps(text, ensure_ascii=False).encode("utf-8", "replace")
