"""The list of conversations: what is in it, and what is done with one of them as a whole."""

from __future__ import annotations

import asyncio
from typing import Annotated, Any

from pydantic import Field, StringConstraints
from starlette.requests import HTTPConnection

from llm_core.client import LLMClient
from llm_core.errors import SessionNotFound, StreamNotFound
from llm_core.page.answers import Answer, Command, answering
from llm_core.sessions.history import MAX_LISTED, MAX_SEARCH_CHARS
from llm_core.sessions.imported import MAX_TITLE_CHARS
from llm_core.sessions.live import LiveReply
from llm_core.sessions.records import SessionSummary, Turn
from llm_core.sessions.sessions import Reply

LISTED, MOST_LISTED = 200, 20_000
RESTORE_SECONDS = 60.0  # longer than the page offers it, as a press may take a while to arrive
STOP_SECONDS = 10.0  # a stopped reply takes one step of the engine to end, and a moment to be saved


class Pin(Command):
    pinned: bool


class Rename(Command):
    title: Annotated[str, StringConstraints(max_length=4 * MAX_TITLE_CHARS)]


class List(Command):
    """The conversations.

    Attributes:
        count: How many of them, the first ones of the list.
    """

    count: Annotated[int, Field(ge=1, le=MOST_LISTED)] = LISTED
    search: Annotated[str, StringConstraints(max_length=MAX_SEARCH_CHARS)] = ""


class ListCommands:
    """The commands of the list, of all visitors."""

    def __init__(self, client: LLMClient) -> None:
        self._sessions = client.sessions

    def all(self) -> dict[str, Answer]:
        """By the names under which the page's script calls them."""
        return {
            "list": answering(self._list, List),
            "pin": answering(self._pin, Pin),
            "rename": answering(self._rename, Rename),
            "remove": answering(self._delete, Command),
            "restore": answering(self._restore, Command),
        }

    async def _list(self, asked: List, visitor: str, _connection: HTTPConnection) -> Any:
        found = await asyncio.to_thread(self._listed, visitor, asked.search.strip(), asked.count + 1)
        rows = [
            {
                "conversation": each.session_id,
                "title": each.title,
                "busy": each.busy,
                "pinned": each.pinned,
                "at": round(each.updated_at),
            }
            for each in found[: asked.count]
        ]
        return {"rows": rows, "more": len(found) > asked.count, "kept": not visitor.startswith("page:")}

    def _listed(self, visitor: str, search: str, count: int) -> list[SessionSummary]:
        """The first conversations of a visitor's list."""
        found: list[SessionSummary] = []
        while len(found) < count:
            limit = min(count - len(found), MAX_LISTED)
            more = self._sessions.list(owner=visitor, search=search, limit=limit, offset=len(found))
            found += more
            if len(more) < limit:
                break
        return found

    async def _pin(self, asked: Pin, visitor: str, _connection: HTTPConnection) -> Any:
        await asyncio.to_thread(self._sessions.pin, asked.conversation, asked.pinned, owner=visitor)
        return {}

    async def _rename(self, asked: Rename, visitor: str, _connection: HTTPConnection) -> Any:
        await asyncio.to_thread(self._sessions.rename, asked.conversation, asked.title, owner=visitor)
        return {}

    async def _delete(self, asked: Command, visitor: str, _connection: HTTPConnection) -> Any:
        return {"restorable": await asyncio.to_thread(self.delete, visitor, asked.conversation)}

    def delete(self, visitor: str, conversation: str) -> bool:
        """Stops and deletes a conversation. Whether that can be taken back: one that is not there any more is as it
        should be."""
        try:
            running = _running(self._sessions.get(conversation, owner=visitor).turns)
            if running is not None:
                _end(self._sessions.attach(running.stream_id, owner=visitor))
            self._sessions.delete(conversation, restorable_seconds=RESTORE_SECONDS, owner=visitor)
        except (SessionNotFound, StreamNotFound):
            return False
        return True

    async def _restore(self, asked: Command, visitor: str, _connection: HTTPConnection) -> Any:
        await asyncio.to_thread(self._sessions.restore, asked.conversation, owner=visitor)
        return {}


def _running(turns: tuple[Turn, ...]) -> Turn | None:
    return next((turn for turn in turns if turn.status == "running"), None)


def _end(reply: Reply) -> None:
    """Stops a reply, and waits until it is saved where this process makes it."""
    reply.cancel()
    if isinstance(reply, LiveReply):
        reply.wait(STOP_SECONDS)
