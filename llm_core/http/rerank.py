"""Ranking: `/v1/rerank` and `/rerank`, in the shape that Jina, Cohere, llama-server and vLLM have in common."""

from __future__ import annotations

from typing import Annotated, Any

from fastapi import APIRouter, Request
from pydantic import BaseModel, BeforeValidator, ConfigDict, Field, WithJsonSchema
from starlette.responses import JSONResponse, Response

from llm_core.access.problems import describe
from llm_core.embedding import MAX_TEXTS, CheckedDocuments, Ranking
from llm_core.http.given import ADMITTED, Client, Owner, ready
from llm_core.http.openai_embeddings import UsedAnswer, used
from llm_core.http.whole import unless_reader_leaves
from llm_core.messages import Text
from llm_core.numbers import Whole
from llm_core.request import ModelName

_TEXT: dict[str, Any] = {"type": "string", "minLength": 1}
_OBJECT: dict[str, Any] = {"type": "object", "properties": {"text": _TEXT}, "required": ["text"]}
_DOCUMENTS = {"type": "array", "minItems": 1, "maxItems": MAX_TEXTS, "items": {"anyOf": [_TEXT, _OBJECT]}}
_EXAMPLE: dict[str, Any] = {
    "query": "What is a tide?",
    "documents": ["The sea rises twice a day.", "Bread is baked."],
    "top_n": 1,
}


def _texts(given: Any) -> Any:
    """Documents that are objects are their `text`."""
    if not isinstance(given, (list, tuple)):
        return given
    return [each["text"] if isinstance(each, dict) and "text" in each else each for each in given]


class RerankBody(BaseModel):
    """A query, and the documents that may answer it. Fields that are not known here are ignored."""

    model_config = ConfigDict(frozen=True, extra="ignore", json_schema_extra={"example": _EXAMPLE})

    query: Annotated[Text, Field(min_length=1, strict=True)]
    documents: Annotated[CheckedDocuments, BeforeValidator(_texts), WithJsonSchema(_DOCUMENTS)]
    model: ModelName | None = Field(None, description="Which one; left out, the first that ranks, or that embeds")
    top_n: Annotated[int, Field(ge=1, strict=True), Whole] | None = Field(None, description="How many are wanted; all")
    return_documents: Annotated[bool, Field(strict=True)] | None = Field(None, description="Whether they come back")
    truncate: Annotated[bool, Field(strict=True)] | None = Field(None, description="Cut off what is too long")


class DocumentAnswer(BaseModel):
    text: str


class RankedAnswer(BaseModel):
    index: int
    relevance_score: float
    document: DocumentAnswer | None = None


class RerankAnswer(BaseModel):
    """Documents, the best first."""

    object: str
    model: str
    usage: UsedAnswer
    results: list[RankedAnswer]


_ANSWERS: dict[int | str, dict[str, Any]] = {200: {"model": RerankAnswer}}
_REFUSED = (400, 401, 404, 413, 429, 503, 504)

router = APIRouter(tags=["reranking"])


@router.post("/v1/rerank", responses=_ANSWERS | describe(*_REFUSED), dependencies=[ADMITTED])
@router.post("/rerank", responses=_ANSWERS | describe(*_REFUSED, 422), dependencies=[ADMITTED])
async def rerank(body: RerankBody, request: Request, client: Client, owner: Owner) -> Response:
    """Says how well documents answer a query: from a model that ranks a score of 0 to 1, from one that makes vectors
    their cosine."""
    await ready(client, client.models.member_for(body.model or "", "rerank", "embedding").name)
    work = client.arerank(
        body.query,
        body.documents,
        top_n=body.top_n,
        model=body.model,
        truncate=body.truncate,
        owner=owner,
    )
    return await unless_reader_leaves(request, work, lambda ranking: JSONResponse(_answer(ranking, body)))


def _answer(ranking: Ranking, body: RerankBody) -> dict[str, Any]:
    results: list[dict[str, Any]] = [{"index": each.index, "relevance_score": each.score} for each in ranking.results]
    if body.return_documents:
        results = [each | {"document": {"text": body.documents[each["index"]]}} for each in results]
    return {
        "object": "list",
        "model": ranking.model,
        "usage": used(ranking.prompt_tokens),
        "results": results,
    }
