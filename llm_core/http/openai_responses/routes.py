"""OpenAI's responses, so that clients of that format can talk to the model: `/v1/responses`.

It translates and decides nothing: what a request may ask is checked in `llm_core.request`, what is said is made by
`LLMClient`, and what is kept is a session's.
"""

from __future__ import annotations

import asyncio
import time
import uuid
from collections.abc import AsyncGenerator
from contextlib import aclosing, suppress
from typing import Annotated, Any

from fastapi import APIRouter, Path, Query, Request
from starlette.responses import JSONResponse, Response

from llm_core.access.problems import describe
from llm_core.errors import LLMError
from llm_core.events import ChatEvent
from llm_core.http.dialect import in_their_words
from llm_core.http.given import ADMITTED, Client, Owner, ready
from llm_core.http.openai_responses import kept
from llm_core.http.openai_responses.answer import Answer, response_of
from llm_core.http.openai_responses.bodies import FIELDS, InputTokensBody, ResponsesBody
from llm_core.http.openai_responses.items import JSON, ListPart, items_of, listed
from llm_core.http.shapes import OBJECT, event_stream
from llm_core.http.sse import EventStream, typed_sse
from llm_core.http.whole import unless_reader_leaves
from llm_core.sessions.following import events_for_door
from llm_core.sessions.sessions import unnumbered

_EXAMPLE = (
    'event: response.output_text.delta\ndata: {"type":"response.output_text.delta","sequence_number":4,'
    '"item_id":"msg_…","output_index":0,"content_index":0,"delta":"Hello","logprobs":[]}\n\n'
)
_ANSWERS: dict[int | str, dict[str, Any]] = {
    200: {
        "description": "OpenAI's response; with `stream` its events",
        "content": OBJECT | event_stream({"type": "object"}, _EXAMPLE, numbered=False),
    }
}
_KEPT = describe(400, 401, 404, 409, 503)
ResponseId = Annotated[str, Path(max_length=128)]
Part = Annotated[ListPart, Query()]

router = APIRouter(prefix="/v1/responses", tags=["OpenAI"])


@router.post("", responses=_ANSWERS | _KEPT | describe(413, 429, 504, 507), dependencies=[ADMITTED])
async def create_response(body: ResponsesBody, request: Request, client: Client, owner: Owner) -> Response:
    """OpenAI's responses: streaming, whole, or in the background."""
    await ready(client, body.model)
    model = client.models.member(body.model or "").name
    head = {"id": f"{kept.PREFIX}{uuid.uuid4().hex}", "created_at": int(time.time()), "model": model} | body.said()
    options = body.options()
    with in_their_words(body.model_extra or {}, FIELDS):
        opening = await asyncio.to_thread(kept.opening_of, client.sessions, owner, body.input)
        answer = Answer(head, first=_count_items(opening))
        if body.store is False:
            messages = await asyncio.to_thread(kept.messages_without_trace, client.sessions, owner, body, opening)
            events = client.achat_stream(messages, owner=owner, **options)
        else:
            reply = await asyncio.to_thread(kept.begin, client.sessions, body, opening, head, owner=owner, **options)
            goes_on = bool(body.background)
            events = events_for_door(client.sessions, owner, reply, new_id=f"{head['id']}", goes_on=goes_on)
        if body.stream:
            return await _stream(answer, events).begun()
        if not body.background:
            return await unless_reader_leaves(request, _whole(answer, events), JSONResponse)
        async with aclosing(events):
            await anext(events)  # a request that is refused must still get its own status
        return JSONResponse(answer.response)


@router.post("/input_tokens", responses=_KEPT | describe(413, 429, 504), dependencies=[ADMITTED])
async def count_input_tokens(body: InputTokensBody, client: Client, owner: Owner) -> JSON:
    """How many tokens a response would read, with its instructions, its tools and what was said before."""
    await ready(client, body.model)
    with in_their_words(body.model_extra or {}, FIELDS):
        opening = await asyncio.to_thread(kept.opening_of, client.sessions, owner, body.input)
        messages = await asyncio.to_thread(kept.messages_without_trace, client.sessions, owner, body, opening)
        count = await asyncio.to_thread(client.count_tokens, messages, owner=owner, **body.options())
    return {"object": "response.input_tokens", "input_tokens": count}


@router.get("/{response_id}", responses=_ANSWERS | _KEPT)
async def get_response(
    response_id: ResponseId,
    client: Client,
    owner: Owner,
    stream: bool = False,
    starting_after: Annotated[int, Query(ge=-1, le=10**12)] = -1,
) -> Response:
    """A response as it is now; or, with `stream`, its events after the one with the number `starting_after`, up to an
    hour after its end."""
    found, head, inputs = await asyncio.to_thread(kept.find_response, client.sessions, owner, response_id)
    if not stream:
        return JSONResponse(response_of(found.turn, head, inputs))
    reply = await asyncio.to_thread(client.sessions.attach, found.turn.stream_id, owner=owner)
    answer = Answer(head, first=_count_items(found.turn.messages[:inputs]))
    return _stream(answer, unnumbered(reply), starting_after)


@router.delete("/{response_id}", responses=_KEPT)
async def delete_response(response_id: ResponseId, client: Client, owner: Owner) -> JSON:
    """Forgets a response. What was said in it stays for responses that go on from it, until they are forgotten too."""
    found, *_ = await asyncio.to_thread(kept.find_response, client.sessions, owner, response_id)
    await asyncio.to_thread(client.sessions.turns.forget, owner, found.turn.stream_id)
    return {"id": response_id, "object": "response", "deleted": True}


@router.post("/{response_id}/cancel", responses=_KEPT)
async def cancel_response(response_id: ResponseId, client: Client, owner: Owner) -> JSON:
    """Stops a response that is being made. One that has ended stays as it is."""
    found, head, inputs = await asyncio.to_thread(kept.find_response, client.sessions, owner, response_id)
    if found.turn.status == "running":
        reply = await asyncio.to_thread(client.sessions.attach, found.turn.stream_id, owner=owner)
        reply.cancel()
        with suppress(LLMError):  # what it ended with is in the response
            async with aclosing(unnumbered(reply)) as events:
                async for _ in events:
                    pass
        found, *_ = await asyncio.to_thread(kept.find_response, client.sessions, owner, response_id)
    return response_of(found.turn, head, inputs)


@router.get("/{response_id}/input_items", responses=_KEPT)
async def list_input_items(response_id: ResponseId, client: Client, owner: Owner, part: Part) -> JSON:
    """What a response began with."""
    found, _, inputs = await asyncio.to_thread(kept.find_response, client.sessions, owner, response_id)
    return listed(items_of(found.turn.messages[:inputs], found.turn.stream_id), part)


def _count_items(messages: Any) -> int:
    return len(items_of(messages, ""))


async def _whole(answer: Answer, events: AsyncGenerator[ChatEvent]) -> JSON:
    async with aclosing(events):
        async for event in events:
            answer.events(event)
    return answer.response


def _stream(answer: Answer, events: AsyncGenerator[ChatEvent], after: int = -1) -> EventStream[ChatEvent]:
    """The events of a response after the one with the number `after`."""

    def written(told: list[JSON]) -> str:
        return typed_sse(event for event in told if event["sequence_number"] > after)

    return EventStream(
        events,
        lambda event: written(answer.events(event)),
        lambda error: written(answer.fail(error)),
        head=written(answer.begin()),
    )
