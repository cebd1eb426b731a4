"""Ollama's routes of vectors: `/api/embed`, and `/api/embeddings` of older clients."""

from __future__ import annotations

import asyncio
import json
import time
from collections.abc import Callable
from typing import Annotated, Any

from fastapi import APIRouter, Request
from pydantic import Field
from starlette.responses import Response

from llm_core.access.problems import OllamaProblemBody, describe
from llm_core.client import LLMClient
from llm_core.embedding import MAX_TEXTS, Dimensions, Embeddings
from llm_core.http.given import ADMITTED, Client, Owner, ready
from llm_core.http.ollama.bodies import KeepAlive, ModelBody
from llm_core.http.ollama.models import asked_name
from llm_core.http.openai_embeddings import numbers
from llm_core.http.whole import unless_reader_leaves
from llm_core.messages import Text

_REFUSED = describe(400, 401, 404, 413, 429, 503, 504, body=OllamaProblemBody)

router = APIRouter(prefix="/api", tags=["Ollama"])


class EmbedBody(ModelBody):
    """Texts whose vectors are wanted."""

    input: Text | Annotated[list[Text], Field(max_length=MAX_TEXTS)]
    truncate: bool | None = Field(None, description="Whether the end of what is too long is cut off; it is")
    dimensions: Dimensions | None = None
    keep_alive: KeepAlive | None = None


class PromptBody(ModelBody):
    """One text, as older clients send it."""

    prompt: Text
    keep_alive: KeepAlive | None = None


@router.post("/embed", responses=_REFUSED, dependencies=[ADMITTED], response_class=Response)
async def embed(body: EmbedBody, request: Request, client: Client, owner: Owner) -> Response:
    """Ollama's vectors of texts."""
    began = time.perf_counter_ns()

    def written(made: Embeddings) -> str:
        about = {"load_duration": 0, "prompt_eval_count": made.prompt_tokens}  # the model was there
        about |= {"total_duration": time.perf_counter_ns() - began}
        head = json.dumps({"model": made.model} | about)
        # Each by itself, as in `openai_embeddings`.
        return f'{head[:-1]}, "embeddings": [{",".join(map(numbers, made.vectors))}]}}'

    options = {"truncate": body.truncate is not False, "dimensions": body.dimensions, "owner": owner}
    return await _answered(body, body.input, request, client, written, options)


@router.post("/embeddings", responses=_REFUSED, dependencies=[ADMITTED], response_class=Response)
async def embeddings(body: PromptBody, request: Request, client: Client, owner: Owner) -> Response:
    """Ollama's vector of one text."""

    def written(made: Embeddings) -> str:
        return f'{{"embedding": {numbers(made.vectors[0])}}}'

    return await _answered(body, body.prompt, request, client, written, {"truncate": True, "owner": owner})


async def _answered(
    body: ModelBody,
    texts: str | list[str],
    request: Request,
    client: LLMClient,
    written: Callable[[Embeddings], str],
    options: dict[str, Any],
) -> Response:
    name = await asyncio.to_thread(asked_name, client, body.named())
    name = client.models.member_for(name, "embedding").name
    await ready(client, name)

    async def work() -> str:
        return await asyncio.to_thread(written, await client.aembed(texts, model=name, **options))

    return await unless_reader_leaves(request, work(), lambda said: Response(said, media_type="application/json"))
