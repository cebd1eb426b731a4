"""What MCP clients may do: chat, and look at their own sessions."""

from __future__ import annotations

import asyncio
import json
import logging
import time
from collections.abc import AsyncGenerator, Awaitable, Callable, Mapping
from contextlib import aclosing
from typing import Annotated, Any

from mcp import types
from mcp.server.lowlevel import Server
from pydantic import BaseModel, ConfigDict, Field, ValidationError
from starlette.requests import Request

from llm_core.access.gate import owner_of
from llm_core.client import LLMClient
from llm_core.complaints import invalid_request
from llm_core.errors import SERVER_FAILED, LLMError
from llm_core.events import ChatEvent, ContentDelta
from llm_core.http.bodies import SessionId
from llm_core.http.given import ready
from llm_core.messages import MAX_MESSAGES, Text
from llm_core.reply_builder import ReplyBuilder
from llm_core.request import ModelName
from llm_core.sessions.export import session_dict, summary_dict
from llm_core.sessions.history import MAX_LISTED, MAX_SEARCH_CHARS

log = logging.getLogger(__name__)

PROGRESS_SECONDS = 0.25  # between two notifications of a reply that grows

Tool = Callable[["_Call", Any], Awaitable[dict[str, Any]]]


class _Asked(BaseModel):
    model_config = ConfigDict(extra="forbid")


class Chat(_Asked):
    """The language model's reply to a message. With a session_id the conversation is remembered, and gone on with."""

    message: Annotated[Text, Field(description="What is said")]
    session_id: SessionId | None = None
    model: Annotated[ModelName | None, Field(description="Which model answers; left out, the first one")] = None
    system: Annotated[
        Text | None, Field(description="A system prompt; a session keeps its own until another comes")
    ] = None


class Sessions(_Asked):
    """Your sessions, the one used last first."""

    limit: Annotated[int, Field(ge=1, le=MAX_LISTED)] = 50


class History(_Asked):
    """What was said in a session, oldest first."""

    session_id: SessionId
    limit: Annotated[int, Field(ge=1, le=MAX_MESSAGES, description="How many of the newest messages")] = 50


class Search(_Asked):
    """Messages of your sessions that have a text, in any case, the newest first."""

    text: Annotated[str, Field(min_length=1, max_length=MAX_SEARCH_CHARS)]
    limit: Annotated[int, Field(ge=1, le=100)] = 20


class _Call:
    """One call: who makes it, and the way to tell how far it is."""

    def __init__(self, client: LLMClient, server: Server[Any, Request]) -> None:
        context = server.request_context
        assert context.request is not None
        self.client, self.request = client, context.request
        self.owner = owner_of(context.request)
        self._token = context.meta.progressToken if context.meta else None
        self._session, self._id = context.session, str(context.request_id)
        self._told, self._told_at = 0, 0.0

    async def progress(self, text: str, chars: int) -> bool:
        """Tells the next piece of a reply, once in a while, to a client that wants to know.

        Args:
            chars: How many there are with it.

        Returns:
            Whether it was told.
        """
        now = time.monotonic()
        if self._token is None or now < self._told_at + PROGRESS_SECONDS:
            return False
        self._told_at = now
        await self._session.send_progress_notification(self._token, chars, None, text, self._id)
        return True


async def _chat(call: _Call, asked: Chat) -> dict[str, Any]:
    call.request.app.state.rate_limit.check_caller(call.request)
    await ready(call.client, asked.model)
    events = _events(call, asked)
    builder, pending, chars = ReplyBuilder(), "", 0
    async with aclosing(events):
        async for event in events:
            builder.add(event)
            if isinstance(event, ContentDelta):
                pending, chars = pending + event.text, chars + len(event.text)
                if await call.progress(pending, chars):
                    pending = ""
    reply = builder.reply().to_dict()
    return reply | ({"session_id": asked.session_id} if asked.session_id is not None else {})


def _events(call: _Call, asked: Chat) -> AsyncGenerator[ChatEvent]:
    if asked.session_id is not None:
        return call.client.achat_session_stream(
            asked.session_id, asked.message, system_prompt=asked.system, model=asked.model, owner=call.owner
        )
    system = [] if asked.system is None else [{"role": "system", "content": asked.system}]
    messages = [*system, {"role": "user", "content": asked.message}]
    return call.client.achat_stream(messages, model=asked.model, owner=call.owner)


async def _sessions(call: _Call, asked: Sessions) -> dict[str, Any]:
    found = await asyncio.to_thread(call.client.sessions.list, owner=call.owner, limit=asked.limit)
    return {"sessions": [summary_dict(each) for each in found]}


async def _history(call: _Call, asked: History) -> dict[str, Any]:
    session = session_dict(await asyncio.to_thread(call.client.sessions.get, asked.session_id, owner=call.owner))
    return session | {"messages": session["messages"][-asked.limit :]}


async def _search(call: _Call, asked: Search) -> dict[str, Any]:
    found = await asyncio.to_thread(call.client.sessions.search, asked.text, owner=call.owner, limit=asked.limit)
    return {"found": found}


_TOOLS: Mapping[str, tuple[type[_Asked], Tool]] = {
    "chat": (Chat, _chat),
    "sessions": (Sessions, _sessions),
    "history": (History, _history),
    "search": (Search, _search),
}


def make_server(client: LLMClient) -> Server[Any, Request]:
    """The tools as a server of the protocol."""
    server: Server[Any, Request] = Server("llm-core")

    async def listed(_asked: types.ListToolsRequest) -> types.ServerResult:
        tools = [
            types.Tool(
                name=name,
                description=" ".join((asked.__doc__ or "").split()),
                inputSchema=asked.model_json_schema(),
                annotations=types.ToolAnnotations(readOnlyHint=name != "chat", openWorldHint=False),
            )
            for name, (asked, _) in _TOOLS.items()
        ]
        return types.ServerResult(types.ListToolsResult(tools=tools))

    async def called(asked: types.CallToolRequest) -> types.ServerResult:
        return types.ServerResult(await _answer(_Call(client, server), asked.params))

    server.request_handlers |= {types.ListToolsRequest: listed, types.CallToolRequest: called}
    return server


async def _answer(call: _Call, params: types.CallToolRequestParams) -> types.CallToolResult:
    """What came of a call; what went wrong is told as a sentence, as the protocol has it for tools."""
    try:
        if params.name not in _TOOLS:
            return _told(f"There is no tool {params.name[:100]!r}. There is: {', '.join(_TOOLS)}.", failed=True)
        kind, run = _TOOLS[params.name]
        answer = await run(call, kind.model_validate(params.arguments or {}))
    except ValidationError as error:
        return _told(invalid_request(error).message, failed=True)
    except LLMError as error:
        return _told(error.message, failed=True)
    except Exception:
        log.exception("the MCP tool %s failed", params.name)
        return _told(SERVER_FAILED, failed=True)
    text = answer["content"] if params.name == "chat" else json.dumps(answer, ensure_ascii=False)
    return _told(text, answer)


def _told(text: str, data: dict[str, Any] | None = None, *, failed: bool = False) -> types.CallToolResult:
    content: list[types.ContentBlock] = [types.TextContent(type="text", text=text)]
    return types.CallToolResult(content=content, structuredContent=data, isError=failed)
