"""The doorway of chat over HTTP: `/api/llm/chat` with and without a session, streaming and whole, and its streams.

It translates and decides nothing: what a request may ask is checked in `bodies` and below, what is said is made by
`LLMClient`.
"""

from __future__ import annotations

import asyncio
import uuid
from typing import Annotated, Any

from fastapi import APIRouter, Header, Request
from pydantic import Field
from starlette.responses import JSONResponse, Response, StreamingResponse

from llm_core.access.problems import describe, problem
from llm_core.cancellation import Cancellation
from llm_core.chat_client import acollect
from llm_core.client import LLMClient
from llm_core.errors import StreamNotFound
from llm_core.events import ChatEvent, Loading, Queued, event_to_dict
from llm_core.http.bodies import ChatBody, DeletedAnswer, ReplyAnswer, SessionBody, SessionReplyAnswer
from llm_core.http.given import ADMITTED, Client, Owner, Streams, ready
from llm_core.http.shapes import EVENT, event_stream
from llm_core.http.sse import EventStream, sse
from llm_core.http.whole import unless_reader_leaves
from llm_core.sessions.once import stream_of_key
from llm_core.sessions.records import NumberedEvent
from llm_core.sessions.sessions import STREAM_ID_PATTERN, Reply, unnumbered

StreamId = Annotated[str, Field(pattern=STREAM_ID_PATTERN)]
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
    '"completion_tokens":2,"cache_miss":null,"draft_tokens":0,"accepted_tokens":0,"reasoning_tokens":0},"timings":{"queue_ms":0.1,"ttft_ms":52.0,'
    '"tokens_per_second":61.3}}\n\n'
)
_STREAM: dict[int | str, dict[str, Any]] = {
    200: {
        "description": "Server-sent events, one JSON object each; the last one has `done` or `error`",
        "content": event_stream(EVENT, _EXAMPLE, numbered=True),
    }
}
_REFUSED = describe(400, 401, 404, 413, 422, 429, 503)
_CONFLICT = "A reply is being made in this session, or the `Idempotency-Key` was sent with another message or session"
_SESSION_REFUSED = _REFUSED | describe(507) | {409: describe(409)[409] | {"description": _CONFLICT}}


router = APIRouter(prefix="/api/llm", tags=["chat"])


@router.post("/chat", responses=_REFUSED, dependencies=[ADMITTED], response_model=ReplyAnswer)
async def chat(body: ChatBody, request: Request, client: Client, owner: Owner) -> Response:
    """The whole reply to a conversation."""
    await ready(client, body.model)
    work = client.achat(body.messages, owner=owner, **body.options())
    return await unless_reader_leaves(request, work, lambda reply: JSONResponse(reply.to_dict()))


@router.post("/chat/stream", responses=_REFUSED | _STREAM, dependencies=[ADMITTED], response_class=StreamingResponse)
async def chat_stream(body: ChatBody, client: Client, owner: Owner, streams: Streams) -> Response:
    """The reply to a conversation, as it is made. When the reader leaves, it stops."""
    await ready(client, body.model)
    stream_id, cancellation = uuid.uuid4().hex, Cancellation()
    events = client.achat_stream(body.messages, owner=owner, cancellation=cancellation, **body.options())
    writer = _Writer({"stream_id": stream_id}, {})
    stream = EventStream(events, writer.next, writer.fail, ended=lambda: streams.pop(stream_id))
    await stream.begun()
    streams[stream_id] = owner, cancellation
    return stream


@router.post(
    "/chat/session",
    responses=_SESSION_REFUSED,
    dependencies=[ADMITTED],
    response_model=SessionReplyAnswer,
)
async def chat_session(
    body: SessionBody, request: Request, client: Client, owner: Owner, key: IdempotencyKey = None
) -> Response:
    """The whole reply in a session. Should the reader leave, the reply is made to its end all the same."""
    reply = await _begin(body, client, owner, key)

    async def whole() -> dict[str, Any]:
        return (await acollect(unnumbered(reply))).to_dict() | {"session_id": reply.session_id}

    return await unless_reader_leaves(request, whole(), JSONResponse)


@router.post(
    "/chat/session/stream",
    responses=_SESSION_REFUSED | _STREAM,
    dependencies=[ADMITTED],
    response_class=StreamingResponse,
)
async def chat_session_stream(body: SessionBody, client: Client, owner: Owner, key: IdempotencyKey = None) -> Response:
    """The reply in a session, as it is made. It goes on for a time without a reader, who can come back to it."""
    reply = await _begin(body, client, owner, key)
    return await _stream_of(reply).begun()


async def _begin(body: SessionBody, client: LLMClient, owner: str, key: str | None) -> Reply:
    await ready(client, body.model)
    options = body.options() | body.begins() | {"owner": owner}
    if key is None:
        return await asyncio.to_thread(client.sessions.begin, body.session_id, **options)
    stream_id = stream_of_key(key, owner)
    return await asyncio.to_thread(client.sessions.begin_once, body.session_id, stream_id=stream_id, **options)


@router.get(
    "/streams/{stream_id}",
    responses=describe(401, 404, 422, 503) | _STREAM | {204: {"description": "Nothing comes after `Last-Event-ID`"}},
    response_class=StreamingResponse,
    tags=["streams"],
)
async def resume(
    stream_id: StreamId, client: Client, owner: Owner, last_event_id: Annotated[LastEventId, Header()] = 0
) -> Response:
    """The events of a session's reply after the one in the header `Last-Event-ID`; up to an hour after its end.
    204 where it has ended with that one."""
    reply = await asyncio.to_thread(client.sessions.attach, stream_id, owner=owner)
    if reply.is_over(last_event_id):
        return Response(status_code=204)  # what tells EventSource not to come back again
    return _stream_of(reply, last_event_id)


@router.delete("/streams/{stream_id}", responses=describe(401, 404, 422, 503), tags=["streams"])
async def cancel(stream_id: StreamId, client: Client, owner: Owner, streams: Streams) -> DeletedAnswer:
    """Stops a reply. Its stream ends with the finish reason `cancelled`."""
    whose, cancellation = streams.get(stream_id, (None, None))
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


def _stream_of(reply: Reply, after: int = 0) -> EventStream[NumberedEvent]:
    """A session's reply, from the event after number `after` on."""
    writer = _Writer({"stream_id": reply.stream_id}, {"session_id": reply.session_id}, after)
    return EventStream(reply.aevents(after), writer.numbered, writer.fail)


class _Writer:
    """Writes the events of one stream.

    Args:
        stream: Added to events that tell the place in the queue.
        session: Added to every event.
        last: Number of the event before the first.
    """

    def __init__(self, stream: dict[str, str], session: dict[str, str], last: int = 0) -> None:
        self._stream, self._session = stream, session
        self._last = last

    def numbered(self, numbered: NumberedEvent) -> str:
        self._last, event = numbered
        data = event_to_dict(event)
        return sse((self._stream | data if isinstance(event, (Queued, Loading)) else data) | self._session, self._last)

    def next(self, event: ChatEvent) -> str:
        return self.numbered((self._last + 1, event))

    def fail(self, error: Exception) -> str:
        said = problem(error)[1]["error"]
        return sse({"error": said["message"], "code": said["code"]} | self._session, self._last + 1)
