"""What a browser asks for: each command names the conversation, and the version of it, that was on its screen.

A command is done on that, or refused with a sentence and with what is there now. Nothing is remembered here of what a
browser shows: it says so itself, each time.
"""

from __future__ import annotations

import asyncio
import logging
from collections.abc import AsyncGenerator
from contextlib import aclosing
from itertools import count
from typing import Annotated, Any

from pydantic import BaseModel, ConfigDict, Field, StringConstraints
from starlette.requests import HTTPConnection

from llm_core.access.visitors import page_visitor
from llm_core.client import LLMClient
from llm_core.common_prefix import common_prefix
from llm_core.errors import InvalidRequest, LLMError, SessionNotFound, StreamNotFound
from llm_core.events import Done, Loading
from llm_core.gradio_api.paced import paced
from llm_core.gradio_api.requests import UPDATE_SECONDS, Admit
from llm_core.page.answers import Answer, Command, answering, read
from llm_core.page.controls import Controls
from llm_core.page.models import Choice
from llm_core.page.transcript import ShownMessage, ShownReply
from llm_core.page.view import WINDOW_TURNS, Conversation, new_conversation, shown_session, shown_turns
from llm_core.sessions.live import LiveReply
from llm_core.sessions.records import Turn
from llm_core.sessions.sessions import (
    MAX_SEARCH_CHARS,
    MAX_TITLE_CHARS,
    STREAM_ID_PATTERN,
    Reply,
    unnumbered,
)

log = logging.getLogger(__name__)

BEAT_SECONDS = 1.0  # the browser hears at least so often that its reply is still being made
FIRST_EVENT_SECONDS = 0.5  # most refusals of the engine come within this: then the answer to the command says so
STOP_SECONDS = 10.0  # a stopped reply takes one step of the engine to end, and a moment to be saved
LISTED = 200
_STOPPED_EARLY = "It was stopped before it began."

ModelName = Annotated[str, StringConstraints(min_length=1, max_length=200)]
StreamId = Annotated[str, StringConstraints(pattern=STREAM_ID_PATTERN)]


class Open(Command):
    """What is there now.

    Attributes:
        latest: Where it is not there, the conversation that was used last will do.
    """

    latest: bool = False


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
    """

    version: Annotated[int, Field(ge=0, le=2**53)]
    stream: StreamId
    message: str
    replaces: StreamId | None = None
    model: ModelName | None = None
    options: Options


class Show(Command):
    """The reply of a turn, as it grows.

    Attributes:
        generation: What the browser calls this opening of the conversation; it comes back with each update.
    """

    generation: Annotated[int, Field(ge=0, le=2**53)]
    stream: StreamId


class Stop(Command):
    stream: StreamId


class Pace(Command):
    """How often the browser can draw a reply."""

    stream: StreamId
    seconds: Annotated[float, Field(ge=UPDATE_SECONDS, le=BEAT_SECONDS)]


class TakeBack(Command):
    """A turn and all after it."""

    version: Annotated[int, Field(ge=0, le=2**53)]
    stream: StreamId


class Rename(Command):
    title: Annotated[str, StringConstraints(max_length=4 * MAX_TITLE_CHARS)]


class Delete(Command):
    pass


class List(Command):
    search: Annotated[str, StringConstraints(max_length=MAX_SEARCH_CHARS)] = ""


class Commands:
    """The commands of all visitors.

    Args:
        admit: Refuses a caller who has asked too often.
    """

    def __init__(self, client: LLMClient, admit: Admit) -> None:
        self._client, self._sessions = client, client.sessions
        self._admit, self._choice = admit, Choice(client)
        self._paces: dict[tuple[str, str], float] = {}  # seconds between updates, of each visitor and stream shown

    def all(self) -> dict[str, Answer]:
        """By the names under which the page's script calls them."""
        return {
            "open": answering(self._open, Open),
            "earlier": answering(self._earlier, Earlier),
            "begin": answering(self._begin, Begin),
            "stop": answering(self._stop, Stop),
            "pace": answering(self._pace, Pace),
            "take_back": answering(self._take_back, TakeBack),
            "rename": answering(self._rename, Rename),
            "remove": answering(self._delete, Delete),
            "list": answering(self._list, List),
        }

    # ── looking ──────────────────────────────────────────────────────────────────────────────────────────────────────

    async def _open(self, asked: Open, visitor: str, connection: HTTPConnection) -> Any:
        return await asyncio.to_thread(self._conversation, visitor, connection, asked.conversation, latest=asked.latest)

    def _conversation(
        self, visitor: str, connection: HTTPConnection, conversation: str, *, latest: bool = False
    ) -> Conversation:
        default = self._client.settings.system_prompt
        try:
            session = self._sessions.get(conversation, owner=visitor)
            return shown_session(session, default, self._choice.of_session(session.model, connection))
        except SessionNotFound:
            newest = self._sessions.list(owner=visitor, limit=1) if latest else ()
        if newest:
            return self._conversation(visitor, connection, newest[0].session_id)
        return new_conversation(conversation, default)

    async def _earlier(self, asked: Earlier, visitor: str, _connection: HTTPConnection) -> Any:
        session = await asyncio.to_thread(self._sessions.get, asked.conversation, owner=visitor)
        place = next((place for place, turn in enumerate(session.turns) if turn.stream_id == asked.before), 0)
        first = max(0, place - WINDOW_TURNS)
        # With the one after them, which may begin with the results of their calls.
        return {"turns": shown_turns(session.turns[first : place + 1])[: place - first], "earlier": first}

    async def _list(self, asked: List, visitor: str, _connection: HTTPConnection) -> Any:
        search = asked.search.strip()
        found = await asyncio.to_thread(self._sessions.list, owner=visitor, search=search, limit=LISTED + 1)
        rows = [{"conversation": each.session_id, "title": each.title} for each in found[:LISTED]]
        return {"rows": rows, "more": len(found) > LISTED, "kept": not visitor.startswith("page:")}

    # ── changing ─────────────────────────────────────────────────────────────────────────────────────────────────────

    async def _begin(self, asked: Begin, visitor: str, connection: HTTPConnection) -> Any:
        if await asyncio.to_thread(self._begun_before, asked, visitor) is not None:
            return {"version": None, "admitted": False}
        await asyncio.to_thread(self._admit, connection)  # it may have to ask a shared counter
        if not asked.message.strip():
            raise InvalidRequest("Type a message first.", param="message")
        reply = await asyncio.to_thread(self._begun, asked, visitor, connection)
        if not isinstance(reply, LiveReply):
            return {"version": None, "admitted": False}
        admitted = await asyncio.to_thread(reply.wait_for_first, FIRST_EVENT_SECONDS)
        if reply.discarded:
            async with aclosing(reply.aevents()) as events:
                async for _ in events:  # there is none: it raises what it was refused with
                    pass
            raise InvalidRequest(_STOPPED_EARLY)
        return {"version": reply.version, "admitted": admitted}

    def _begun_before(self, asked: Begin, visitor: str) -> Reply | None:
        return self._sessions.begun(asked.conversation, asked.message, stream_id=asked.stream, owner=visitor)

    def _begun(self, asked: Begin, visitor: str, connection: HTTPConnection) -> Reply:
        options = asked.options
        self._choice.check(asked.model, connection)
        can_switch = self._choice.can_switch_thinking(asked.model or "")
        return self._sessions.begin_once(
            asked.conversation,
            asked.message,
            owner=visitor,
            stream_id=asked.stream,
            version=asked.version,
            replaces=asked.replaces,
            model=asked.model,
            system_prompt=options.system_prompt,
            temperature=options.temperature,
            top_p=options.top_p,
            max_tokens=options.max_tokens,
            thinking=options.thinking if can_switch else None,
            tools=Controls.tools_named(options.tools),
            overflow="drop_oldest",
        )

    async def _stop(self, asked: Stop, visitor: str, _connection: HTTPConnection) -> Any:
        await asyncio.to_thread(lambda: self._sessions.attach(asked.stream, owner=visitor).cancel())
        return {}

    async def _pace(self, asked: Pace, visitor: str, _connection: HTTPConnection) -> Any:
        """Only of what is being shown."""
        if (visitor, asked.stream) in self._paces:
            self._paces[visitor, asked.stream] = asked.seconds
        return {}

    async def _take_back(self, asked: TakeBack, visitor: str, connection: HTTPConnection) -> Any:
        def forget() -> Conversation:
            self._sessions.forget_from(asked.conversation, asked.stream, version=asked.version, owner=visitor)
            return self._conversation(visitor, connection, asked.conversation)

        return {"now": await asyncio.to_thread(forget)}

    async def _rename(self, asked: Rename, visitor: str, _connection: HTTPConnection) -> Any:
        await asyncio.to_thread(self._sessions.rename, asked.conversation, asked.title, owner=visitor)
        return {}

    async def _delete(self, asked: Delete, visitor: str, _connection: HTTPConnection) -> Any:
        """Stops and forgets a conversation. One that is not there any more is as it should be."""

        def delete() -> None:
            try:
                running = _running(self._sessions.get(asked.conversation, owner=visitor).turns)
                if running is not None:
                    _end(self._sessions.attach(running.stream_id, owner=visitor))
                self._sessions.delete(asked.conversation, owner=visitor)
            except (SessionNotFound, StreamNotFound):
                pass

        await asyncio.to_thread(delete)
        return {}

    # ── a reply ──────────────────────────────────────────────────────────────────────────────────────────────────────

    async def show(self, data: Any, connection: HTTPConnection) -> AsyncGenerator[dict[str, Any]]:
        """The reply of a turn as it grows, in numbered updates, labelled with the opening that they are made for.

        An update has what has changed: the first `keep` messages of the reply stay, and `add` follows them. The last
        one has `ended` or, where the turn is not in the store, `refused` with the reason, or `gone`. `version` is the
        conversation's from when on the turn is in it; None where another process, or none any more, makes the reply:
        then the last update has the conversation as it is `now`.
        """
        asked = read(Show, data)
        visitor = page_visitor(connection, asked.key)
        label = {"conversation": asked.conversation, "generation": asked.generation, "stream": asked.stream}
        self._paces[visitor, asked.stream] = UPDATE_SECONDS
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
            self._paces.pop((visitor, asked.stream), None)

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
            keep = common_prefix(before, drawn)
            version = running.version if isinstance(running, LiveReply) else None
            news = {"keep": keep, "add": drawn[keep:], "admitted": admitted, "version": version}
            return {"number": next(numbers)} | news | more

        def interval() -> float:
            return self._paces.get((visitor, asked.stream), UPDATE_SECONDS)

        try:
            async with aclosing(paced(unnumbered(running), interval=interval, heartbeat=BEAT_SECONDS)) as groups:
                async for group in groups:
                    for event in group:
                        shown.add(event)
                        admitted = admitted or not isinstance(event, (Done, Loading))
                    yield update()
        except LLMError as error:
            if isinstance(running, LiveReply) and running.discarded:
                yield update(refused=error.message)
                return
            shown.fail(error.message)
        if not isinstance(running, LiveReply):
            now = await asyncio.to_thread(self._conversation, visitor, connection, asked.conversation)
            yield update(ended=True, now=now)
        elif running.discarded:
            yield update(refused=_STOPPED_EARLY)
        else:
            yield update(ended=True)


def _running(turns: tuple[Turn, ...]) -> Turn | None:
    return next((turn for turn in turns if turn.status == "running"), None)


def _end(reply: Reply) -> None:
    """Stops a reply, and waits until it is saved where this process makes it."""
    reply.cancel()
    if isinstance(reply, LiveReply):
        reply.wait(STOP_SECONDS)
