"""OpenAI's completions of raw prompts, `/v1/completions`: no template is applied, and all that comes is text.

It translates and decides nothing: what a request may ask is checked in `llm_core.completion_request`, what is said is
made by `LLMClient`.
"""

from __future__ import annotations

import asyncio
from collections.abc import AsyncGenerator
from typing import Any

from fastapi import APIRouter, Request
from starlette.responses import JSONResponse, Response

from llm_core.access.problems import describe, problem
from llm_core.client import LLMClient
from llm_core.http.choices import Numbered, admit, collected, seeds, side_by_side
from llm_core.http.dialect import in_their_words
from llm_core.http.given import ADMITTED, Client, Owner, ready
from llm_core.http.openai_completions.answer import Answer
from llm_core.http.openai_completions.bodies import Prompt, RawBody
from llm_core.http.shapes import OBJECT, event_stream
from llm_core.http.sse import EventStream, sse
from llm_core.http.whole import unless_reader_leaves

_EXAMPLE = (
    'data: {"id":"cmpl-…","object":"text_completion","created":1700000000,"model":"…","choices":[{"index":0,'
    '"text":" Paris","logprobs":null,"finish_reason":null}]}\n\ndata: [DONE]\n\n'
)
_ANSWERS: dict[int | str, dict[str, Any]] = {
    200: {
        "description": "OpenAI's completion; with `stream` its chunks as server-sent events, `[DONE]` after the last",
        "content": OBJECT | event_stream({"type": "object"}, _EXAMPLE, numbered=False),
    }
}

router = APIRouter(prefix="/v1", tags=["OpenAI"])


@router.post("/completions", responses=_ANSWERS | describe(400, 401, 404, 413, 429, 503, 504), dependencies=[ADMITTED])
async def completions(body: RawBody, request: Request, client: Client, owner: Owner) -> Response:
    """OpenAI's completions of a raw prompt, streaming and not."""
    await ready(client, body.model)
    member, n, prompts = client.models.member(body.model or ""), body.n or 1, body.prompts
    with in_their_words(body.model_extra or {}):
        options = body.options() | {"owner": owner}
        admit(request, member, n=n, prompts=len(prompts))
        echoes = [await _text(client, body, prompt) if body.echo else "" for prompt in prompts for _ in range(n)]
        events = side_by_side(
            [
                client.acomplete_stream(prompt, **options | {"seed": seed})
                for prompt in prompts
                for seed in seeds(options["seed"], n)
            ]
        )
        answer = Answer(member.name, echoes, n)
        if not body.stream:
            return await unless_reader_leaves(
                request, collected(events, len(echoes)), lambda whole: JSONResponse(answer.whole(whole))
            )
        return await _stream(answer, events, with_usage=body.wants_usage).begun()


async def _text(client: LLMClient, body: RawBody, prompt: Prompt) -> str:
    if isinstance(prompt, str):
        return prompt
    return await asyncio.to_thread(lambda: client.vocabulary(body.model or "").detokenize(prompt))


def _stream(answer: Answer, events: AsyncGenerator[Numbered], *, with_usage: bool) -> EventStream[Numbered]:
    def write(numbered: Numbered) -> str:
        return "".join(map(sse, answer.chunks(*numbered, with_usage=with_usage)))

    def fail(error: Exception) -> str:
        return sse(problem(error, openai=True)[1])

    head = "".join(map(sse, answer.begin(with_usage=with_usage)))
    return EventStream(events, write, fail, head=head, tail="data: [DONE]\n\n")
