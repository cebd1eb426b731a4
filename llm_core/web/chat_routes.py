"""The doorway of chat over HTTP: `/api/llm/chat` with and without a session, streaming and whole, and its streams.

It translates and decides nothing: what a request may ask is checked in `bodies` and below, what is said is made by
`LLMClient`.
"""

from __future__ import annotations

import asyncio
import uuid
from collections.abc import AsyncGenerator, Awaitable, Callable
from contextlib import aclosing
from typing import Annotated, Any

from fastapi import APIRouter, Depends, Header, Request
from pydantic import Field
from starlette.responses import JSONResponse, Response, StreamingResponse

from llm_core.cancellation import Cancellation
from llm_core.client import LLMClient
from llm_core.errors import StreamNotFound
from llm_core.events import Queued, ReplyBuilder, event_to_dict
from llm_core.sessions.records import NumberedEvent
from llm_core.sessions.sessions import Reply, stream_of_key
from llm_core.web.bodies import ChatBody, DeletedAnswer, ReplyAnswer, SessionBody, SessionReplyAnswer
from llm_core.web.gate import owner_of
from llm_core.web.problems import describe, problem
from llm_core.web.ready import ready
from llm_core.web.shapes import EVENT, event_stream
from llm_core.web.sse import EventStream, after_first, lines, sse
from llm_core.web.whole import unless_reader_leaves

StreamId = Annotated[str, Field(pattern="^[0-9a-f]{32}$")]
LastEventId = Annotated[int, Field(ge=0, le=10**12)]
IdempotencyKey = Annotated[
    str | None,
    Header(
        alias="Idempotency-Key",
        pattern="^[!-~]{1,255}$",
        description="A name of your choosing for this turn, such as a UUID. Sent again with the same message, it comes "
        "back to the same reply, from its beginning; nothing is said twice.",
    ),
]

_EXAMPLE = (
    'id: 1\ndata: {"stream_id":"…","queue_position":0}\n\nid: 2\ndata: {"content":"Hello"}\n\n'
    'id: 3\ndata: {"done":true,"finish_reason":"stop","usage":{"prompt_tokens":31,"cached_tokens":18,'
    '"completion_tokens":2},"timings":{"queue_ms":0.1,"ttft_ms":52.0,"tokens_per_second":61.3}}\n\n'
)
_STREAM: dict[int | str, dict[str, Any]] = {
    200: {
        "description": "Server-sent events, one JSON object each; the last one has `done` or `error`",
        "content": event_stream(EVENT, _EXAMPLE, numbered=True),
    }
}
_REFUSED = describe(400, 401, 413, 422, 429, 503)
_CONFLICT = "A reply is being made in this session, or the `Idempotency-Key` was sent with another message or session"
_SESSION_REFUSED = _REFUSED | describe(404, 507) | {409: describe(409)[409] | {"description": _CONFLICT}}


def chat_routes(client: LLMClient, admit: Callable[..., Awaitable[None]]) -> APIRouter:
    """The routes.

    Args:
        admit: Refuses a caller who has asked too often.
    """
    router = APIRouter(prefix="/api/llm", tags=["chat"])
    running: dict[str, tuple[str, Cancellation]] = {}
    asks = [Depends(admit)]

    @router.post("/chat", responses=_REFUSED, dependencies=asks, response_model=ReplyAnswer)
    async def chat(body: ChatBody, request: Request) -> Response:
        """The whole reply to a conversation."""
        await ready(client)
        work = client.achat(body.messages, owner=owner_of(request), **body.options())
        return await unless_reader_leaves(request, work, lambda reply: JSONResponse(reply.to_dict()))

    @router.post("/chat/stream", responses=_REFUSED | _STREAM, dependencies=asks, response_class=StreamingResponse)
    async def chat_stream(body: ChatBody, request: Request) -> Response:
        """The reply to a conversation, as it is made. When the reader leaves, it stops."""
        await ready(client)
        stream_id, owner, cancellation = uuid.uuid4().hex, owner_of(request), Cancellation()
        events = client.achat_stream(body.messages, owner=owner, cancellation=cancellation, **body.options())

        async def registered() -> AsyncGenerator[NumberedEvent]:
            running[stream_id] = owner, cancellation
            number = 0
            try:
                async with aclosing(events):
                    async for event in events:
                        number += 1
                        yield number, event
            finally:
                del running[stream_id]

        return _stream(await after_first(registered()), {"stream_id": stream_id}, {})

    @router.post(
        "/chat/session",
        responses=_SESSION_REFUSED,
        dependencies=asks,
        response_model=SessionReplyAnswer,
    )
    async def chat_session(body: SessionBody, request: Request, key: IdempotencyKey = None) -> Response:
        """The whole reply in a session. Should the reader leave, the reply is made to its end all the same."""
        reply = await _begin(body, request, key)

        async def whole() -> dict[str, Any]:
            builder = ReplyBuilder()
            async with aclosing(reply.aevents()) as events:
                async for _, event in events:
                    builder.add(event)
            return builder.reply().to_dict() | {"session_id": reply.session_id}

        return await unless_reader_leaves(request, whole(), JSONResponse)

    @router.post(
        "/chat/session/stream",
        responses=_SESSION_REFUSED | _STREAM,
        dependencies=asks,
        response_class=StreamingResponse,
    )
    async def chat_session_stream(body: SessionBody, request: Request, key: IdempotencyKey = None) -> Response:
        """The reply in a session, as it is made. It goes on for a time without a reader, who can come back to it."""
        reply = await _begin(body, request, key)
        events = await after_first(reply.aevents())
        return _stream(events, {"stream_id": reply.stream_id}, {"session_id": reply.session_id})

    @router.get(
        "/streams/{stream_id}",
        responses=describe(401, 404, 422, 503)
        | _STREAM
        | {204: {"description": "Nothing comes after `Last-Event-ID`"}},
        response_class=StreamingResponse,
        tags=["streams"],
    )
    async def resume(
        stream_id: StreamId, request: Request, last_event_id: Annotated[LastEventId, Header()] = 0
    ) -> Response:
        """The events of a session's reply after the one in the header `Last-Event-ID`; up to an hour after its end.
        204 where it has ended with that one."""
        reply = await asyncio.to_thread(client.sessions.attach, stream_id, owner=owner_of(request))
        if reply.is_over(last_event_id):
            return Response(status_code=204)  # what tells EventSource not to come back again
        events, session = reply.aevents(last_event_id), {"session_id": reply.session_id}
        return _stream(events, {"stream_id": stream_id}, session, last=last_event_id)

    @router.delete("/streams/{stream_id}", responses=describe(401, 404, 422, 503), tags=["streams"])
    async def cancel(stream_id: StreamId, request: Request) -> DeletedAnswer:
        """Stops a reply. Its stream ends with the finish reason `cancelled`."""
        owner = owner_of(request)
        whose, cancellation = running.get(stream_id, (None, None))
        if cancellation is not None:
            if whose != owner:
                raise StreamNotFound("There is no such stream.")
            cancellation.cancel()
        else:
            reply = await asyncio.to_thread(client.sessions.attach, stream_id, owner=owner)
            if reply.is_over():
                raise StreamNotFound("This reply has ended; there is nothing left to stop.")
            reply.cancel()
        return DeletedAnswer(id=stream_id)

    async def _begin(body: SessionBody, request: Request, key: str | None) -> Reply:
        await ready(client)
        owner = owner_of(request)
        options = body.options() | body.begins() | {"owner": owner}
        if key is None:
            return await asyncio.to_thread(client.sessions.begin, body.session_id, **options)
        stream_id = stream_of_key(key, owner)
        return await asyncio.to_thread(client.sessions.begin_once, body.session_id, stream_id=stream_id, **options)

    return router


def _stream(
    events: AsyncGenerator[NumberedEvent], stream: dict[str, str], session: dict[str, str], *, last: int = 0
) -> EventStream:
    """A response of `events`.

    Args:
        stream: Added to events that tell the place in the queue.
        session: Added to every event.
        last: Number of the event before the first.
    """

    def write(numbered: NumberedEvent) -> str:
        nonlocal last
        last, event = numbered
        data = event_to_dict(event)
        return sse((stream | data if isinstance(event, Queued) else data) | session, last)

    def fail(error: Exception) -> str:
        said = problem(error)[1]["error"]
        return sse({"error": said["message"], "code": said["code"]} | session, last + 1)

    return EventStream(events, lines(events, write, fail))
