"""What is done with several conversations of the list at once, and with files of them."""

from __future__ import annotations

import asyncio
import json
from collections.abc import Callable
from typing import Annotated, Any

from pydantic import Field, StringConstraints
from starlette.requests import HTTPConnection

from llm_core.client import LLMClient
from llm_core.errors import SessionNotFound
from llm_core.page.answers import Answer, Command, ConversationId, answering
from llm_core.page.list_commands import MOST_LISTED, ListCommands
from llm_core.sessions.export import to_json
from llm_core.sessions.imported import sessions_of_file

MAX_FILE_CHARS = 4_000_000  # the body of a request is no longer


class Several(Command):
    """Conversations of the list."""

    conversations: Annotated[list[ConversationId], Field(min_length=1, max_length=MOST_LISTED)]


class PinSeveral(Several):
    pinned: bool


class OpenConversations(Command):
    """A file of exported conversations."""

    text: Annotated[str, StringConstraints(max_length=MAX_FILE_CHARS)]


class SelectionCommands:
    """The commands for several conversations, of all visitors. One that has gone meanwhile is left out."""

    def __init__(self, client: LLMClient, one: ListCommands) -> None:
        self._sessions, self._one = client.sessions, one

    def all(self) -> dict[str, Answer]:
        """By the names under which the page's script calls them."""
        return {
            "remove_several": self._for_each("restorable", self._one.delete, Several),
            "restore_several": self._for_each("restored", self._restore, Several),
            "pin_several": answering(self._pin, PinSeveral),
            "export_several": answering(self._export, Several),
            "open_conversations": answering(self._open, OpenConversations),
        }

    def _for_each(self, told: str, does: Callable[[str, str], bool], kind: type[Several]) -> Answer:
        """The answer has those with which it was done."""

        async def command(asked: Several, visitor: str, _connection: HTTPConnection) -> Any:
            def done() -> list[str]:
                return [each for each in asked.conversations if does(visitor, each)]

            return {told: await asyncio.to_thread(done)}

        return answering(command, kind)

    def _restore(self, visitor: str, conversation: str) -> bool:
        try:
            self._sessions.restore(conversation, owner=visitor)
        except SessionNotFound:
            return False
        return True

    async def _pin(self, asked: PinSeveral, visitor: str, _connection: HTTPConnection) -> Any:
        def pin() -> None:
            for conversation in asked.conversations:
                try:
                    self._sessions.pin(conversation, asked.pinned, owner=visitor)
                except SessionNotFound:
                    continue

        await asyncio.to_thread(pin)
        return {}

    async def _export(self, asked: Several, visitor: str, _connection: HTTPConnection) -> Any:
        """One is a file as over HTTP; several are one file, which can be opened again too."""
        documents = await asyncio.to_thread(self._documents, visitor, asked.conversations)
        if not documents:
            raise SessionNotFound("These conversations are not there any more.")
        text = documents[0] if len(documents) == 1 else f'{{"sessions": [{", ".join(documents)}]}}'
        return {"text": text, "title": json.loads(documents[0])["title"], "count": len(documents)}

    def _documents(self, visitor: str, conversations: list[str]) -> list[str]:
        documents = []
        for conversation in dict.fromkeys(conversations):
            try:
                documents.append(to_json(*self._sessions.whole(conversation, owner=visitor)))
            except SessionNotFound:
                continue
        return documents

    async def _open(self, asked: OpenConversations, visitor: str, _connection: HTTPConnection) -> Any:
        def keep() -> list[str]:
            exported = sessions_of_file(asked.text)
            for each in exported:  # all of them can be kept, or none is
                each.session("")
            return [self._sessions.add(each, owner=visitor) for each in exported]

        return {"conversations": await asyncio.to_thread(keep)}
