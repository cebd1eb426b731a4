"""Vectors and ranks from an engine elsewhere: `/v1/embeddings` as OpenAI has it, `/v1/rerank` as Jina, llama-server and
vLLM do."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from typing import Any

import numpy as np

from llm_core.backends.remote.engines import Engine, Engines
from llm_core.backends.remote.errors import fault_of
from llm_core.embedding import EmbedRequest, Floats, VectorRequest, unit
from llm_core.events import Usage


async def compute(engines: Engines, engine: Engine, request: VectorRequest) -> tuple[Floats, Usage]:
    """What an engine makes of texts, and how many tokens they were by its account.

    Raises:
        EngineFault: It failed, or refused.
    """
    try:
        path, body = _asked(request, engine.model or "")
        async with engines.request(engine, path, body) as response:
            await response.aread()
            told = response.json()
        return _values(request, told), Usage(prompt_tokens=_tokens(told))
    except Exception as error:
        raise fault_of(error, engine.name) from error


def _asked(request: VectorRequest, model: str) -> tuple[str, dict[str, Any]]:
    body: dict[str, Any] = {"model": model}
    if request.truncate:
        body["truncate"] = True
    if not isinstance(request, EmbedRequest):
        documents = list(request.documents)
        return "/rerank", body | {"query": request.query, "documents": documents, "top_n": len(documents)}
    body |= {"input": list(request.input), "encoding_format": "float"}
    if request.dimensions is not None:
        body["dimensions"] = request.dimensions
    return "/embeddings", body


def _values(request: VectorRequest, told: Mapping[str, Any]) -> Floats:
    if isinstance(request, EmbedRequest):
        rows = _in_order(told["data"], len(request.input))
        vectors = np.array([row["embedding"] for row in rows], np.float32)
        if vectors.ndim != 2:
            raise ValueError("the vectors are not all of one length")
        return unit(vectors)
    rows = _in_order(told["results"], len(request.documents))
    return np.array([row["relevance_score"] for row in rows], np.float32)


def _in_order(rows: Sequence[Mapping[str, Any]], count: int) -> list[Mapping[str, Any]]:
    ordered = sorted(rows, key=lambda row: int(row["index"]))
    if [row["index"] for row in ordered] != list(range(count)):
        raise ValueError(f"there are {len(rows)} rows of {count}")
    return ordered


def _tokens(told: Mapping[str, Any]) -> int:
    usage = told.get("usage")
    tokens = usage.get("prompt_tokens", usage.get("total_tokens")) if isinstance(usage, Mapping) else None
    return tokens if isinstance(tokens, int) else 0
