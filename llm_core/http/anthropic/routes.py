"""Anthropic's wire format, so that its clients can talk to the model: `/v1/messages`.

It translates and decides nothing: what a request may ask is checked in `llm_core.request`, what is said is made by
`LLMClient`.
"""

from __future__ import annotations

import asyncio
from collections.abc import AsyncGenerator
from typing import Any

from fastapi import APIRouter, Request
from starlette.responses import JSONResponse, Response

from llm_core.access.problems import AnthropicProblemBody, anthropic_problem, describe
from llm_core.events import ChatEvent
from llm_core.http.anthropic.answer import Answer
from llm_core.http.anthropic.bodies import FIELDS, CountBody, MessagesBody
from llm_core.http.dialect import in_their_words
from llm_core.http.given import ADMITTED, Client, Owner, ready
from llm_core.http.shapes import OBJECT, event_stream
from llm_core.http.sse import EventStream, typed_sse
from llm_core.http.whole import unless_reader_leaves
from llm_core.tools.handed import handed_over

_EXAMPLE = (
    'event: content_block_delta\ndata: {"type":"content_block_delta","index":0,'
    '"delta":{"type":"text_delta","text":"Hello"}}\n\n'
)
_ANSWERS: dict[int | str, dict[str, Any]] = {
    200: {
        "description": "Anthropic's message; with `stream` its events",
        "content": OBJECT | event_stream({"type": "object"}, _EXAMPLE, numbered=False),
    }
}
_REFUSED = describe(400, 401, 404, 413, 429, 503, 504, body=AnthropicProblemBody)

router = APIRouter(prefix="/v1/messages", tags=["Anthropic"])


@router.post("", responses=_ANSWERS | _REFUSED, dependencies=[ADMITTED])
async def messages(body: MessagesBody, request: Request, client: Client, owner: Owner) -> Response:
    """Anthropic's messages, streaming and not."""
    await ready(client, body.model)
    answer = Answer(client.models.member(body.model).name)
    said = body.conversation()
    with in_their_words({}, FIELDS):
        options = body.options() | {"owner": owner}
        if not body.stream:
            work = client.achat(said, **options)
            return await unless_reader_leaves(request, work, lambda reply: JSONResponse(answer.whole(reply)))
        events = client.achat_stream(said, **options)
        if body.run_tools:
            events = handed_over(events, {tool.name for tool in body.tools})
        return await _stream(answer, events).begun()


@router.post("/count_tokens", responses=_REFUSED, dependencies=[ADMITTED])
async def count_tokens(body: CountBody, client: Client, owner: Owner) -> dict[str, int]:
    """How many tokens a conversation has, with its system prompt and tools."""
    await ready(client, body.model)
    said = body.conversation()
    with in_their_words({}, FIELDS):
        options = body.options() | {"owner": owner}
        return {"input_tokens": await asyncio.to_thread(client.count_tokens, said, **options)}


def _stream(answer: Answer, events: AsyncGenerator[ChatEvent]) -> EventStream[ChatEvent]:
    def fail(error: Exception) -> str:
        return typed_sse([anthropic_problem(error)[1]])

    return EventStream(events, lambda event: typed_sse(answer.events(event)), fail, head=typed_sse(answer.begin()))
