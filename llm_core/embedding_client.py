"""`EmbeddingClient`: what programs can do with a model that makes vectors, or ranks, sync and async."""

from __future__ import annotations

from abc import ABC, abstractmethod
from collections.abc import Sequence
from typing import Any, Unpack

from llm_core.embedding import (
    Embeddings,
    EmbedOptions,
    EmbedRequest,
    Floats,
    Inputs,
    Ranking,
    RankRequest,
    VectorOptions,
    VectorRequest,
    ranked,
)
from llm_core.errors import InvalidRequest
from llm_core.events import Done
from llm_core.options import given


class EmbeddingClient(ABC):
    """The methods of every client that can. A subclass says how a request is computed."""

    @abstractmethod
    def _compute(self, request: type[VectorRequest], fields: dict[str, Any]) -> tuple[Floats, Done]:
        """What is computed of a request with these fields, and how it ended."""

    @abstractmethod
    async def _acompute(self, request: type[VectorRequest], fields: dict[str, Any]) -> tuple[Floats, Done]:
        """The same for event loops."""

    def embed(self, texts: Inputs, **options: Unpack[EmbedOptions]) -> Embeddings:
        """Makes vectors of texts.

        Args:
            texts: A text, the ids of a model's tokens, or up to 2048 of either.
            model: Which model; none: the first that makes vectors.
            dimensions: The first so many numbers of each vector, brought to length 1 again, for models that were
                trained for it (Matryoshka).
            truncate: The end of a text that is too long is cut off; else such a text is refused.
            timeout: Seconds for all of them.
            owner: Whose request this is.

        Raises:
            InvalidRequest: A text or an option is not allowed, or the model makes no vectors.
            ContextOverflow: A text is longer than the model takes.
            ModelNotFound, ModelError, QueueFull, TimedOut, EngineFailed: As of every request.
        """
        return _embeddings(*self._compute(EmbedRequest, {"input": texts} | options))

    async def aembed(self, texts: Inputs, **options: Unpack[EmbedOptions]) -> Embeddings:
        """`embed` for event loops. To cancel it drops the texts that are not computed yet."""
        return _embeddings(*await self._acompute(EmbedRequest, {"input": texts} | options))

    def rerank(
        self, query: str, documents: Sequence[str], *, top_n: int | None = None, **options: Unpack[VectorOptions]
    ) -> Ranking:
        """Says how well documents answer a query, the best first.

        A model that ranks reads query and document together. One that makes vectors can be asked too: then it is their
        cosine.

        Args:
            query: What is looked for.
            documents: Up to 2048 texts.
            top_n: How many are wanted; None: all.
            options: As of `embed`.

        Raises:
            InvalidRequest: As of `embed`.
        """
        return _ranking(*self._compute(RankRequest, _ranks(query, documents, top_n) | options), top_n)

    async def arerank(
        self, query: str, documents: Sequence[str], *, top_n: int | None = None, **options: Unpack[VectorOptions]
    ) -> Ranking:
        """`rerank` for event loops."""
        return _ranking(*await self._acompute(RankRequest, _ranks(query, documents, top_n) | options), top_n)


def fields_of(options: dict[str, Any], timeout: float) -> dict[str, Any]:
    """A request's fields: those that say something, and the settings' time where they do not."""
    return {"timeout": timeout} | given(options)


def _ranks(query: str, documents: Sequence[str], top_n: int | None) -> dict[str, Any]:
    if top_n is not None and top_n < 1:
        raise InvalidRequest("top_n: it must be at least 1", param="top_n")
    return {"query": query, "documents": documents}


def _embeddings(vectors: Floats, done: Done) -> Embeddings:
    return Embeddings(vectors, done.model or "", done.usage.prompt_tokens)


def _ranking(scores: Floats, done: Done, top_n: int | None) -> Ranking:
    return Ranking(ranked(scores, top_n), done.model or "", done.usage.prompt_tokens)
