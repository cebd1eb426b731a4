"""Consent on the page: the calls that wait in a conversation, and what the visitor decides about them."""

from __future__ import annotations

import asyncio
from typing import Annotated, Any

from pydantic import Field
from starlette.requests import HTTPConnection

from llm_core.client import LLMClient
from llm_core.errors import SessionNotFound
from llm_core.gradio_api.requests import Admit
from llm_core.messages import MAX_CALLS
from llm_core.page.answers import Answer, Command, Count, StreamId, answering, begun
from llm_core.page.controls import Controls
from llm_core.sessions.exchange import Approval, open_calls
from llm_core.sessions.sessions import Reply


class Waiting(Command):
    """The calls that wait."""


class Decide(Command):
    """Whether they are made.

    Attributes:
        version: Of the conversation on the screen.
        stream: Of the reply that goes on, made by the browser: sent twice, it is begun once.
    """

    version: Count
    stream: StreamId
    approvals: Annotated[list[Approval], Field(min_length=1, max_length=MAX_CALLS)]


class Approvals:
    """The commands of all visitors.

    Args:
        admit: Refuses a caller who has asked too often.
    """

    def __init__(self, client: LLMClient, admit: Admit) -> None:
        self._client, self._admit = client, admit

    def all(self) -> dict[str, Answer]:
        """By the names under which the page's script calls them."""
        return {"waiting": answering(self._waiting, Waiting), "decide": answering(self._decide, Decide)}

    async def _waiting(self, asked: Waiting, visitor: str, _connection: HTTPConnection) -> Any:
        try:
            session = await asyncio.to_thread(self._client.sessions.get, asked.conversation, owner=visitor)
        except SessionNotFound:
            return {"calls": []}
        awaiting = {each for turn in session.turns if turn.done for each in turn.done.awaiting_approval}
        calls = [call for call in open_calls(session.turns) if call.id in awaiting]
        return {"calls": [{"id": call.id, "name": call.name, "arguments": call.arguments} for call in calls]}

    async def _decide(self, asked: Decide, visitor: str, connection: HTTPConnection) -> Any:
        await asyncio.to_thread(self._admit, connection)

        def begin() -> Reply:
            # How the turn was asked is kept with it, but for the tools that were switched on.
            kept = self._client.sessions.get(asked.conversation, owner=visitor).settings or {}
            return self._client.sessions.begin_once(
                asked.conversation,
                stream_id=asked.stream,
                version=asked.version,
                approvals=[each.model_dump() for each in asked.approvals],
                run_tools=self._client.tools.server_names(visitor),
                owner=visitor,
                tools=Controls.tools_named(kept.get("tools", ())),
            )

        return await begun(await asyncio.to_thread(begin))
