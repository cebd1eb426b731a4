"""What a browser asks for: each command names the conversation, and the version of it, that was on its screen.

A command is done on that, or refused with a sentence and with what is there now. Nothing is remembered here of what a
browser shows: it says so itself, each time.
"""

from __future__ import annotations

import asyncio
import logging
from collections.abc import AsyncGenerator, Sequence
from contextlib import aclosing
from itertools import count
from typing import Annotated, Any

from pydantic import BaseModel, ConfigDict, Field, StringConstraints
from starlette.requests import HTTPConnection

from llm_core.access.visitors import page_visitor
from llm_core.client import LLMClient
from llm_core.errors import LLMError, SessionNotFound, StreamNotFound
from llm_core.events import Done, Loading
from llm_core.gradio_api.paced import paced
from llm_core.gradio_api.requests import UPDATE_SECONDS, Admit
from llm_core.messages import MAX_ATTACHMENTS, Attachment
from llm_core.page.answers import Answer, Command, Count, StreamId, answering, begun, read, refusal, refused
from llm_core.page.attachments import Kept, chosen
from llm_core.page.controls import SERVED_TOOLS, Controls
from llm_core.page.models import Choice
from llm_core.page.transcript import ShownMessage, ShownReply, changes
from llm_core.page.view import (
    EARLIER_TURNS,
    Conversation,
    left_out,
    new_conversation,
    shown_session,
    shown_turns,
    versions_of,
)
from llm_core.sessions.live import LiveReply
from llm_core.sessions.sessions import Reply, unnumbered
from llm_core.texts.told import told

log = logging.getLogger(__name__)

BEAT_SECONDS = 1.0  # the browser hears at least so often that its reply is still being made

MAX_REPLACED = 100  # turns whose place something is to take
ModelName = Annotated[str, StringConstraints(min_length=1, max_length=200)]


class Open(Command):
    """What is there now.

    Attributes:
        latest: Where it is not there, the conversation that was used last will do.
        including: Streams of turns that are shown, however long ago they were: their place is to be taken.
    """

    latest: bool = False
    including: Annotated[tuple[StreamId, ...], Field(max_length=MAX_REPLACED)] = ()


class Earlier(Command):
    """The turns before one."""

    before: StreamId


class Options(BaseModel):
    """What the visitor has set. The values are checked with the request."""

    model_config = ConfigDict(extra="forbid")
    system_prompt: str
    temperature: float
    top_p: float
    max_tokens: int
    thinking: bool
    tools: list[str]


class Begin(Command):
    """A message, or one more reply to an earlier one.

    Attributes:
        version: Of the conversation on the screen.
        stream: Of the reply, made by the browser: sent twice, it is begun once.
        replaces: The stream of the turn whose place it takes.
        model: The name of the model on the screen; None: the default one.
        attachments: Files of the message, or where they are kept.
    """

    version: Count
    stream: StreamId
    message: str
    replaces: StreamId | None = None
    model: ModelName | None = None
    attachments: Annotated[tuple[Attachment | Kept, ...], Field(max_length=MAX_ATTACHMENTS)] = ()
    options: Options


class Show(Command):
    """The reply of a turn, as it grows.

    Attributes:
        subscription: The browser's number of what it asks for here; it comes back with each update.
        version: Of the conversation on the screen.
    """

    subscription: Count
    stream: StreamId
    version: Count | None = None


class Stop(Command):
    stream: StreamId


class Pace(Command):
    """How often the browser can draw a reply."""

    stream: StreamId
    subscription: Count
    seconds: Annotated[float, Field(ge=UPDATE_SECONDS, le=BEAT_SECONDS)]


class TakeBack(Command):
    """A turn and all after it."""

    version: Count
    stream: StreamId


class ChooseVersion(TakeBack):
    """A turn that was set aside, and what followed it."""


def _subscription(visitor: str, asked: Show | Pace) -> tuple[str, str, int]:
    return visitor, asked.stream, asked.subscription


class Commands:
    """The commands of all visitors.

    Args:
        admit: Refuses a caller who has asked too often.
    """

    def __init__(self, client: LLMClient, admit: Admit) -> None:
        self._client, self._sessions = client, client.sessions
        self._admit, self._choice = admit, Choice(client)
        self._paces: dict[tuple[str, str, int], float] = {}  # seconds between updates, by `_subscription`

    def all(self) -> dict[str, Answer]:
        """By the names under which the page's script calls them."""
        return {
            "open": answering(self._open, Open),
            "earlier": answering(self._earlier, Earlier),
            "begin": answering(self._begin, Begin),
            "stop": answering(self._stop, Stop),
            "pace": answering(self._pace, Pace),
            "take_back": answering(self._take_back, TakeBack),
            "choose": answering(self._choose, ChooseVersion),
        }

    # ── looking ──────────────────────────────────────────────────────────────────────────────────────────────────────

    async def _open(self, asked: Open, visitor: str, connection: HTTPConnection) -> Any:
        return await asyncio.to_thread(
            self._conversation,
            visitor,
            connection,
            asked.conversation,
            latest=asked.latest,
            including=asked.including,
        )

    def _conversation(
        self,
        visitor: str,
        connection: HTTPConnection,
        conversation: str,
        *,
        latest: bool = False,
        including: Sequence[str] = (),
    ) -> Conversation:
        default = self._client.settings.system_prompt
        try:
            session = self._sessions.get(conversation, owner=visitor)
            model = self._choice.of_session(session.model, connection)
            return shown_session(session, default, model, including=including)
        except SessionNotFound:
            newest = self._sessions.list(owner=visitor, limit=1) if latest else ()
        if newest:
            return self._conversation(visitor, connection, newest[0].session_id)
        return new_conversation(conversation, default)

    async def _earlier(self, asked: Earlier, visitor: str, _connection: HTTPConnection) -> Any:
        session = await asyncio.to_thread(self._sessions.get, asked.conversation, owner=visitor)
        place = next((place for place, turn in enumerate(session.turns) if turn.stream_id == asked.before), 0)
        first = max(0, place - EARLIER_TURNS)
        # With the one after them, which may begin with the results of their calls.
        return {"turns": shown_turns(session.turns[first : place + 1])[: place - first], "earlier": first}

    # ── changing ─────────────────────────────────────────────────────────────────────────────────────────────────────

    async def _begin(self, asked: Begin, visitor: str, connection: HTTPConnection) -> Any:
        files = await asyncio.to_thread(chosen, asked.attachments, self._sessions, asked.conversation, visitor)
        if await asyncio.to_thread(self._begun_before, asked, files, visitor) is not None:
            return {"version": None, "admitted": False}
        await asyncio.to_thread(self._admit, connection)  # it may have to ask a shared counter
        if not asked.message.strip():
            return refused("empty_message")
        reply = await asyncio.to_thread(self._begun, asked, files, visitor, connection)
        return await begun(reply)

    def _begun_before(self, asked: Begin, files: list[Attachment], visitor: str) -> Reply | None:
        begun = self._sessions.begun
        return begun(asked.conversation, asked.message, attachments=files, stream_id=asked.stream, owner=visitor)

    def _begun(self, asked: Begin, files: list[Attachment], visitor: str, connection: HTTPConnection) -> Reply:
        options = asked.options
        self._choice.check(asked.model, connection)
        can_switch = self._choice.can_switch_thinking(asked.model or "")
        return self._sessions.begin_once(
            asked.conversation,
            asked.message,
            attachments=files,
            owner=visitor,
            stream_id=asked.stream,
            version=asked.version,
            replaces=asked.replaces,
            model=asked.model,
            system_prompt=options.system_prompt,
            run_tools=self._client.tools.server_names(visitor) if SERVED_TOOLS in options.tools else None,
            overflow="drop_oldest",
            settings=options.model_dump(exclude={"system_prompt"}),
            temperature=options.temperature,
            top_p=options.top_p,
            max_tokens=options.max_tokens,
            thinking=options.thinking if can_switch else None,
            tools=Controls.tools_named(options.tools),
        )

    async def _stop(self, asked: Stop, visitor: str, _connection: HTTPConnection) -> Any:
        await asyncio.to_thread(lambda: self._sessions.attach(asked.stream, owner=visitor).cancel())
        return {}

    async def _pace(self, asked: Pace, visitor: str, _connection: HTTPConnection) -> Any:
        """Only of what is being shown."""
        if (subscription := _subscription(visitor, asked)) in self._paces:
            self._paces[subscription] = asked.seconds
        return {}

    async def _take_back(self, asked: TakeBack, visitor: str, connection: HTTPConnection) -> Any:
        def forget() -> Conversation:
            self._sessions.take_back(asked.conversation, asked.stream, version=asked.version, owner=visitor)
            return self._conversation(visitor, connection, asked.conversation)

        return {"now": await asyncio.to_thread(forget)}

    async def _choose(self, asked: ChooseVersion, visitor: str, connection: HTTPConnection) -> Any:
        def choose() -> Conversation:
            self._sessions.choose(asked.conversation, asked.stream, version=asked.version, owner=visitor)
            return self._conversation(visitor, connection, asked.conversation, including=[asked.stream])

        return {"now": await asyncio.to_thread(choose)}

    # ── a reply ──────────────────────────────────────────────────────────────────────────────────────────────────────

    async def show(self, data: Any, connection: HTTPConnection) -> AsyncGenerator[dict[str, Any]]:
        """The reply of a turn as it grows, in numbered updates, labelled with the subscription that they are made for.

        An update has the `changes` of the reply's messages since the one before. The last one has `ended` or, where the
        turn is not in the store, `refused` with the reason, or `gone`. `version` is the conversation's from when on the
        turn is in it; None where another process, or none any more, makes the reply: then the last update has the
        conversation as it is `now`, unless that is what is on the screen.
        """
        asked = read(Show, data)
        visitor = page_visitor(connection, asked.key)
        label = {"subscription": asked.subscription}
        subscription = _subscription(visitor, asked)
        self._paces[subscription] = UPDATE_SECONDS
        try:
            async with aclosing(self._updates(asked, visitor, connection)) as updates:
                async for update in updates:
                    yield label | update
        except StreamNotFound:
            yield label | {"number": 0, "gone": True}
        except Exception:
            log.exception("a reply on the page failed")
            yield label | {"number": 0, "gone": True}
        finally:
            self._paces.pop(subscription, None)

    async def _updates(self, asked: Show, visitor: str, connection: HTTPConnection) -> AsyncGenerator[dict[str, Any]]:
        running = await asyncio.to_thread(self._sessions.attach, asked.stream, owner=visitor)
        if running.session_id != asked.conversation:
            raise StreamNotFound("There is no such stream.")
        shown, numbers = ShownReply(), count()
        drawn: list[ShownMessage] = []
        admitted = False

        def update(**more: Any) -> dict[str, Any]:
            nonlocal drawn
            before, drawn = drawn, shown.messages()
            version = running.version if isinstance(running, LiveReply) else None
            news = {"number": next(numbers), "admitted": admitted, "version": version}
            return news | changes(before, drawn) | more

        def interval() -> float:
            return self._paces.get(_subscription(visitor, asked), UPDATE_SECONDS)

        try:
            async with aclosing(paced(unnumbered(running), interval=interval, heartbeat=BEAT_SECONDS)) as groups:
                async for group in groups:
                    for event in group:
                        shown.add(event)
                        admitted = admitted or not isinstance(event, (Done, Loading))
                    yield update()
        except LLMError as error:
            if isinstance(running, LiveReply) and running.discarded:
                yield update(**refusal(error))
                return
            shown.fail(told(f"errors.{error.code}", error.message))
        if not isinstance(running, LiveReply):
            now = await asyncio.to_thread(self._conversation, visitor, connection, asked.conversation)
            if now["version"] == asked.version and shown.state == "done":
                beside = await asyncio.to_thread(self._beside, visitor, asked)
                yield update(ended=True, version=asked.version, beside=beside)
            else:
                yield update(ended=True, now=now)
        elif running.discarded:
            yield update(**refused("stopped_early"))
        else:
            yield update(ended=True, beside=await asyncio.to_thread(self._beside, visitor, asked))

    def _beside(self, visitor: str, asked: Show) -> Any:
        """What is to be told of a turn that has ended, beside its reply: its versions, and what was not read for it."""
        try:
            turns = self._sessions.get(asked.conversation, owner=visitor).turns
        except LLMError:  # it was deleted at once, or the database fails: the reply is shown all the same
            return None
        turn = next((turn for turn in turns if turn.stream_id == asked.stream), None)
        questions, replies = versions_of(turn) if turn is not None else (None, None)
        return {"turn": {"questions": questions, "replies": replies}, "left_out": left_out(turns)}
