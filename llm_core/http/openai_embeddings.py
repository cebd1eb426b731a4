"""OpenAI's embeddings: `/v1/embeddings`."""

from __future__ import annotations

import asyncio
import base64
import json
from typing import Annotated, Any, Literal

from fastapi import APIRouter, Request
from pydantic import BaseModel, ConfigDict, Field, WithJsonSchema
from starlette.responses import Response

from llm_core.access.problems import describe
from llm_core.embedding import MAX_DIMENSIONS, MAX_TEXTS, CheckedInputs, Dimensions, Embeddings, Floats
from llm_core.http.given import ADMITTED, Client, Owner, ready
from llm_core.http.whole import unless_reader_leaves
from llm_core.request import ModelName

_TEXT: dict[str, Any] = {"type": "string", "minLength": 1}
_TOKENS: dict[str, Any] = {"type": "array", "items": {"type": "integer", "minimum": 0}, "minItems": 1}
_SEVERAL: dict[str, Any] = {"type": "array", "minItems": 1, "maxItems": MAX_TEXTS}
_INPUT = {"anyOf": [_TEXT, _TOKENS, {**_SEVERAL, "items": _TEXT}, {**_SEVERAL, "items": _TOKENS}]}
_EXAMPLE: dict[str, Any] = {"input": ["A text", "Another one"], "model": "any"}


class EmbeddingsBody(BaseModel):
    """Texts, or the ids of the model's own tokens. Fields that are not known here are ignored, as OpenAI does."""

    model_config = ConfigDict(frozen=True, extra="ignore", json_schema_extra={"example": _EXAMPLE})

    input: Annotated[CheckedInputs, WithJsonSchema(_INPUT)]
    model: ModelName | None = Field(None, description="Which one; left out, the first that makes vectors")
    dimensions: Dimensions | None = Field(None, description=f"Numbers of a vector, 1 to {MAX_DIMENSIONS}")
    encoding_format: Literal["float", "base64"] | None = Field(None, description="`float` where it is left out")
    truncate: Annotated[bool, Field(strict=True)] | None = Field(None, description="Cut off what is too long")


class EmbeddingAnswer(BaseModel):
    object: Literal["embedding"]
    index: int
    embedding: list[float] | str


class UsedAnswer(BaseModel):
    prompt_tokens: int
    total_tokens: int


class EmbeddingsAnswer(BaseModel):
    """Vectors, in the order of the texts, each of length 1."""

    object: Literal["list"]
    data: list[EmbeddingAnswer]
    model: str
    usage: UsedAnswer


_ANSWERS: dict[int | str, dict[str, Any]] = {200: {"model": EmbeddingsAnswer}}

router = APIRouter(prefix="/v1", tags=["OpenAI"])


@router.post(
    "/embeddings",
    responses=_ANSWERS | describe(400, 401, 404, 413, 429, 503, 504),
    response_class=Response,
    dependencies=[ADMITTED],
)
async def embeddings(body: EmbeddingsBody, request: Request, client: Client, owner: Owner) -> Response:
    """Makes vectors of texts."""
    await ready(client, client.models.member_for(body.model or "", "embedding").name)
    is_base64 = body.encoding_format == "base64"

    async def work() -> bytes:
        made = await client.aembed(
            body.input,
            model=body.model,
            dimensions=body.dimensions,
            truncate=body.truncate,
            owner=owner,
        )
        return await asyncio.to_thread(_written, made, is_base64=is_base64)

    return await unless_reader_leaves(request, work(), lambda written: Response(written, media_type="application/json"))


def _written(made: Embeddings, *, is_base64: bool) -> bytes:
    """The whole answer. Each vector is written by itself: a million numbers take a second, in which nothing else of
    this process could run."""
    rows = (
        f'{{"object":"embedding","index":{index},"embedding":{_base64(vector) if is_base64 else numbers(vector)}}}'
        for index, vector in enumerate(made.vectors)
    )
    rest = {"model": made.model, "usage": used(made.prompt_tokens)}
    return f'{{"object":"list","data":[{",".join(rows)}],{json.dumps(rest)[1:]}'.encode()


def _base64(vector: Floats) -> str:
    """As OpenAI: numbers of 32 bits, the least byte first."""
    return f'"{base64.b64encode(vector.astype("<f4").tobytes()).decode()}"'


def numbers(vector: Floats) -> str:
    """A vector as JSON."""
    return json.dumps(vector.tolist(), separators=(",", ":"))


def used(tokens: int) -> dict[str, int]:
    """OpenAI's usage of a request that has no reply."""
    return {"prompt_tokens": tokens, "total_tokens": tokens}
