"""`ChatClient`: what programs can do with a model, wherever it is: text, events and sessions, sync and async.

Sync and async methods are twins: the same names, an `a` before the async ones, the same arguments. Closing an iterator,
or cancelling the task that reads it, cancels the request.
"""

from __future__ import annotations

import asyncio
from abc import ABC, abstractmethod
from collections.abc import AsyncGenerator, Generator, Iterable
from contextlib import aclosing, closing
from dataclasses import dataclass
from typing import Unpack

from llm_core.events import ChatEvent, ChatReply, ContentDelta
from llm_core.messages import Message, MessageLike
from llm_core.options import ChatOptions, TurnOptions
from llm_core.reply_builder import ReplyBuilder


@dataclass(frozen=True, slots=True)
class Conversation:
    """Is asked to be answered; the caller keeps it."""

    messages: Iterable[MessageLike]
    options: ChatOptions


@dataclass(frozen=True, slots=True)
class SessionTurn:
    """Is said in a session, which is remembered."""

    session_id: str
    message: str | None
    options: TurnOptions


Asked = Conversation | SessionTurn


class ChatClient(ABC):
    """The methods of every client. A subclass says how what is asked becomes events."""

    @abstractmethod
    def _events(self, asked: Asked, *, in_pieces: bool) -> Generator[ChatEvent]:
        """The reply's events.

        Args:
            in_pieces: Whether somebody looks at it before its end.
        """

    @abstractmethod
    def _aevents(self, asked: Asked, *, in_pieces: bool) -> AsyncGenerator[ChatEvent]:
        """The same for event loops."""

    # ── text ─────────────────────────────────────────────────────────────────────────────────────────────────────────

    def generate(self, messages: Iterable[MessageLike], **options: Unpack[ChatOptions]) -> str:
        """The reply's text."""
        return self.chat(messages, **options).content

    async def agenerate(self, messages: Iterable[MessageLike], **options: Unpack[ChatOptions]) -> str:
        """The reply's text."""
        return (await self.achat(messages, **options)).content

    def generate_stream(self, messages: Iterable[MessageLike], **options: Unpack[ChatOptions]) -> Generator[str]:
        """The reply's text, piece by piece, as it is made."""
        return _texts(self.chat_stream(messages, **options))

    def agenerate_stream(self, messages: Iterable[MessageLike], **options: Unpack[ChatOptions]) -> AsyncGenerator[str]:
        """The reply's text, piece by piece, as it is made."""
        return _atexts(self.achat_stream(messages, **options))

    # ── events ───────────────────────────────────────────────────────────────────────────────────────────────────────

    def chat(self, messages: Iterable[MessageLike], **options: Unpack[ChatOptions]) -> ChatReply:
        """The whole reply, with reasoning, calls, usage and timings."""
        return collect(self._events(Conversation(messages, options), in_pieces=False))

    async def achat(self, messages: Iterable[MessageLike], **options: Unpack[ChatOptions]) -> ChatReply:
        """The whole reply, with reasoning, calls, usage and timings."""
        return await acollect(self._aevents(Conversation(messages, options), in_pieces=False))

    def chat_stream(self, messages: Iterable[MessageLike], **options: Unpack[ChatOptions]) -> Generator[ChatEvent]:
        """The reply's events: `Queued` first, then deltas, `Done` last."""
        return self._events(Conversation(messages, options), in_pieces=True)

    def achat_stream(
        self, messages: Iterable[MessageLike], **options: Unpack[ChatOptions]
    ) -> AsyncGenerator[ChatEvent]:
        """The reply's events: `Queued` first, then deltas, `Done` last."""
        return self._aevents(Conversation(messages, options), in_pieces=True)

    # ── sessions ─────────────────────────────────────────────────────────────────────────────────────────────────────

    def chat_session(self, session_id: str, message: str | None = None, **options: Unpack[TurnOptions]) -> ChatReply:
        """Says `message` in a session that is remembered; it is made on first use.

        Args:
            session_id: 1 to 128 letters, digits, dots, colons, dashes or underscores.
            message: What the user says.
            tool_results: In place of `message`, the results of the calls of the last reply, all of them:
                `[{"tool_call_id": call.id, "content": "12 °C"}]`.
            approvals: The same for its calls that wait for somebody to agree, `reply.awaiting_approval`:
                `[{"tool_call_id": call.id, "approve": True}]`.
            system_prompt: From now on in this session; None leaves it as it is, in a new one as in the settings.
            options: As of every request. `overflow` is "drop_oldest" unless said otherwise.

        Raises:
            SessionBusy: A reply is being made in this session already.
            SessionNotFound: There are results, and this owner has no such session.
            StorageFull, StorageError: What is said could not be saved.
        """
        return collect(self._events(SessionTurn(session_id, message, options), in_pieces=False))

    async def achat_session(
        self, session_id: str, message: str | None = None, **options: Unpack[TurnOptions]
    ) -> ChatReply:
        """`chat_session` for event loops."""
        return await acollect(self._aevents(SessionTurn(session_id, message, options), in_pieces=False))

    def chat_session_stream(
        self, session_id: str, message: str | None = None, **options: Unpack[TurnOptions]
    ) -> Generator[ChatEvent]:
        """The events of `chat_session`. A reply that is stopped stays in the session as far as it came."""
        return self._events(SessionTurn(session_id, message, options), in_pieces=True)

    def achat_session_stream(
        self, session_id: str, message: str | None = None, **options: Unpack[TurnOptions]
    ) -> AsyncGenerator[ChatEvent]:
        """The events of `achat_session`. A reply that is stopped stays in the session as far as it came."""
        return self._aevents(SessionTurn(session_id, message, options), in_pieces=True)

    @abstractmethod
    def session_history(self, session_id: str, *, owner: str = "") -> tuple[Message, ...]:
        """The messages of a session, oldest first.

        Raises:
            SessionNotFound: This owner has no such session.
        """

    async def asession_history(self, session_id: str, *, owner: str = "") -> tuple[Message, ...]:
        """`session_history` for event loops."""
        return await asyncio.to_thread(self.session_history, session_id, owner=owner)

    @abstractmethod
    def delete_session(self, session_id: str, *, owner: str = "") -> None:
        """Forgets a session.

        Raises:
            SessionNotFound: This owner has no such session.
            SessionBusy: A reply is being made in it.
        """

    async def adelete_session(self, session_id: str, *, owner: str = "") -> None:
        """`delete_session` for event loops."""
        await asyncio.to_thread(self.delete_session, session_id, owner=owner)


def _texts(events: Generator[ChatEvent]) -> Generator[str]:
    with closing(events):
        for event in events:
            if isinstance(event, ContentDelta) and event.text:
                yield event.text


async def _atexts(events: AsyncGenerator[ChatEvent]) -> AsyncGenerator[str]:
    async with aclosing(events):
        async for event in events:
            if isinstance(event, ContentDelta) and event.text:
                yield event.text


def collect(events: Generator[ChatEvent]) -> ChatReply:
    """The whole reply that events are the pieces of."""
    builder = ReplyBuilder()
    with closing(events):
        for event in events:
            builder.add(event)
    return builder.reply()


async def acollect(events: AsyncGenerator[ChatEvent]) -> ChatReply:
    """`collect` for event loops."""
    builder = ReplyBuilder()
    async with aclosing(events):
        async for event in events:
            builder.add(event)
    return builder.reply()
