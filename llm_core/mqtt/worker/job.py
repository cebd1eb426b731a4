"""One request while it is answered: from `LLMClient`'s events to the outbox, with the ledger told before the client."""

from __future__ import annotations

import asyncio
import json
import logging
import time
from collections.abc import AsyncGenerator, Callable
from contextlib import aclosing
from functools import partial
from typing import Any, Literal

from llm_core.cancellation import Cancellation
from llm_core.client import LLMClient
from llm_core.errors import (
    SERVER_FAILED,
    EngineClosed,
    LLMError,
    ReplyInterrupted,
    RequestExpired,
    ShuttingDown,
    StorageError,
)
from llm_core.events import ChatEvent, ChatReply, ContentDelta, Done, Loading, Queued, Timings, Usage
from llm_core.messages import Message
from llm_core.mqtt.topics import RequestKey
from llm_core.mqtt.worker.decoder import Arrival
from llm_core.mqtt.worker.ledger import Ledger
from llm_core.mqtt.worker.outbox import Outbox
from llm_core.reply_builder import ReplyBuilder
from llm_core.sessions.export import session_dict
from llm_core.sessions.sessions import unnumbered

log = logging.getLogger(__name__)

INTERRUPTED = "The server ended while it made this reply. Send the request again."


class Job:
    """One request while it is answered.

    Args:
        prompt: The system prompt that a template has put in place of others'.
        on_delivered: Called when the broker has the whole answer, or has refused it, with its reason code.
        draining: Set when the server is about to end, and another worker is to answer.
    """

    def __init__(
        self,
        client: LLMClient,
        ledger: Ledger,
        arrival: Arrival,
        outbox: Outbox,
        *,
        prompt: str | None,
        on_delivered: Callable[[int], None],
        draining: asyncio.Event,
    ) -> None:
        self._client, self._ledger, self._arrival, self.outbox = client, ledger, arrival, outbox
        self._prompt, self._on_delivered, self._draining = prompt, on_delivered, draining
        self._cancellation = Cancellation()
        self._expired = False
        self._begun: asyncio.Future[bool] | None = None
        self._started = False

    @property
    def key(self) -> RequestKey:
        return self._arrival.key

    def cancel(self) -> None:
        """The reply ends with the finish reason `cancelled`."""
        self._cancellation.cancel()

    async def run(self) -> bool:
        """Answers. Whatever happens, the client is told, unless another worker is to answer.

        Returns:
            Whether there is a whole answer, which is on its way to the broker.
        """
        expiry = self._watch_expiry()
        try:
            last = await self._make()
            if last is not None:
                self.outbox.end(last, self._on_delivered)
                return True
        except LLMError as error:
            await self._fail(error)
        except asyncio.CancelledError:
            await self._fail(ReplyInterrupted(INTERRUPTED))
            raise
        except Exception:
            log.exception("the request %s failed", self.key)
            await self._fail(LLMError(SERVER_FAILED))
        finally:
            if expiry is not None:
                expiry.cancel()
        return False

    # ── the reply ────────────────────────────────────────────────────────────────────────────────────────────────────

    async def _make(self) -> bytes | None:
        """Sends all but the last message and returns that one; None where another worker has the request by now."""
        reply = _NOTHING if self._cancellation.cancelled else await self._read()
        if reply is None:
            return None
        if self._expired and not self._started:
            raise RequestExpired("The time by which the request was to be answered has passed. It was not started.")
        last = self.outbox.last_of(reply)
        return last if await self._record(self._ledger.finish, last) else None

    async def _read(self) -> ChatReply | None:
        builder = ReplyBuilder()
        async with aclosing(await self._events()) as events:
            async for event in events:
                builder.add(event)
                match event:
                    case Queued():
                        self._on_queued(event)
                    case Loading():
                        self.outbox.loading(event)
                    case Done():
                        pass
                    case _:
                        if self._begun is not None and not await self._begun:
                            return None
                        self._started = True
                        self.outbox.add(event)
        return builder.reply()

    def _on_queued(self, event: Queued) -> None:
        self.outbox.queued(event)
        if event.position:
            return
        self._started = True
        if self._begun is None and self._arrival.ask.stream:
            # Written down while the prompt is computed, so that the first piece need not wait for the disk.
            self._begun = asyncio.ensure_future(self._record(self._ledger.begin))

    async def _events(self) -> AsyncGenerator[ChatEvent]:
        ask = self._arrival.ask
        if ask.action is not None:
            return self._look_after(ask.session_id or "", ask.action)
        options = self._arrival.options(self._prompt)
        if ask.session_id is not None:
            return await self._session_events(options)
        messages = list(ask.messages or ())
        prompt = options.pop("system_prompt")
        if prompt is not None and messages[0].role != "system":
            messages.insert(0, Message(role="system", content=prompt))
        return self._client.achat_stream(messages, cancellation=self._cancellation, **options)

    async def _session_events(self, options: dict[str, Any]) -> AsyncGenerator[ChatEvent]:
        ask, session_id = self._arrival.ask, self._arrival.ask.session_id or ""
        # What is said is in the session from now on, and would be said twice if another worker began anew.
        self._begun = asyncio.ensure_future(self._record(self._ledger.begin))
        await self._begun
        options |= {"attachments": ask.attachments, "tool_results": ask.tool_results, "approvals": ask.approvals}
        begin = partial(self._client.sessions.begin, session_id, ask.message, **options)
        return unnumbered(await asyncio.to_thread(self._cancellation.begin, begin))

    async def _look_after(self, session_id: str, action: Literal["history", "delete"]) -> AsyncGenerator[ChatEvent]:
        """What is asked about a session, in the form of a reply: of any length, told once and told again."""
        sessions, owner = self._client.sessions, self._arrival.owner
        yield Queued(0)
        if action == "delete":
            await asyncio.to_thread(sessions.delete, session_id, owner=owner)
        else:
            session = await asyncio.to_thread(sessions.get, session_id, owner=owner)
            yield ContentDelta(json.dumps(session_dict(session), ensure_ascii=False))
        yield Done("stop", Usage(), Timings())

    # ── its end ──────────────────────────────────────────────────────────────────────────────────────────────────────

    def _watch_expiry(self) -> asyncio.TimerHandle | None:
        """A request that still waits when nobody wants its reply any more is not started."""
        expires_at = self._arrival.entry.expires_at
        if expires_at is None:
            return None
        return asyncio.get_running_loop().call_later(max(0.0, expires_at - time.time()), self._expire)

    def _expire(self) -> None:
        if not self._started:
            self._expired = True
            self.cancel()

    async def _fail(self, error: LLMError) -> None:
        ending = isinstance(error, (ShuttingDown, EngineClosed, ReplyInterrupted))
        if ending and self._begun is None:
            self._draining.set()
            await self._record(self._ledger.release)
            return
        if ending:
            error = ReplyInterrupted(INTERRUPTED)
        # First: who reads the error may send the same request at once.
        if await self._record(self._ledger.forget):
            self.outbox.fail(error)

    async def _record(self, write: Callable[..., bool], *answer: bytes) -> bool:
        """Whether the request is still ours. A ledger that cannot be written is no reason to keep a reply back."""
        try:
            return await asyncio.shield(asyncio.to_thread(write, self.key, *answer))
        except StorageError as error:
            log.error("the request %s could not be written down: %s", self.key, error)
            return True


_NOTHING = ChatReply("", None, "cancelled", Usage(), Timings())
