"""A model of this process that makes vectors, or ranks: texts become tokens here, and what it makes of them is told."""

from __future__ import annotations

from collections.abc import Callable, Iterator
from dataclasses import dataclass
from typing import Any

import numpy as np

from llm_core.embedding import (
    MAX_TOTAL_TOKENS,
    Computed,
    EmbedRequest,
    Floats,
    Input,
    RankRequest,
    VectorRequest,
    unit,
)
from llm_core.engine.embedder import Embedder
from llm_core.engine.llama.arrays import Tokens
from llm_core.engine.llama.model import Model
from llm_core.engine.texts import TextsEvent, TextsJob
from llm_core.errors import OVERFLOW_CODE, ContextOverflow, InvalidRequest, LLMError
from llm_core.models.info import ModelInfo
from llm_core.reading import Sink

_RERANK_TEMPLATE = "tokenizer.chat_template.rerank"
_QUERY, _DOCUMENT = "{query}", "{document}"


@dataclass(frozen=True, slots=True)
class VectorSubmission:
    """A request on its way through the embedder."""

    _embedder: Embedder
    _job: TextsJob
    _finish: Callable[[Floats], Floats]

    def translate(self, event: TextsEvent) -> list[Any]:
        if isinstance(event, LLMError):
            raise event
        if event.finish_reason != "stop":
            return [event]
        made = np.stack([self._job.vectors[number] for number in range(len(self._job.texts))])
        return [Computed(self._finish(made)), event]

    def cancel(self) -> None:
        self._embedder.cancel(self._job)


@dataclass(frozen=True, slots=True)
class LoadedEmbedder:
    """A model that is ready."""

    info: ModelInfo
    model: Model
    embedder: Embedder

    @property
    def longest(self) -> int:
        """The most tokens of a text."""
        return self.embedder.options.longest

    def submit(self, request: VectorRequest, sink: Sink[TextsEvent]) -> VectorSubmission:
        """Makes tokens of the texts and hands them to the embedder.

        Raises:
            InvalidRequest, ContextOverflow: A text, or a number, is not what this model can take.
            QueueFull: As many requests wait as may.
        """
        texts = _bounded(self._texts(request))
        finish = self._finish_of(request)
        job = TextsJob(texts, sink, request.timeout, request.owner)
        self.embedder.submit(job)
        return VectorSubmission(self.embedder, job, finish)

    def close(self) -> None:
        """Stops the embedder; the model stays open."""
        self.embedder.close()

    def _texts(self, request: VectorRequest) -> Iterator[Tokens]:
        model = self.model
        if isinstance(request, EmbedRequest):
            for number, text in enumerate(request.input):
                yield self._fit(self._tokens(text, f"input.{number}"), f"input.{number}", cut=request.truncate)
            return
        if model.task == "embedding":
            yield self._fit(self._tokens(request.query, "query"), "query", cut=request.truncate)
            for number, text in enumerate(request.documents):
                yield self._fit(self._tokens(text, ""), f"documents.{number}", cut=request.truncate)
            return
        pair = _pair_of(model)
        for number, document in enumerate(request.documents):
            yield self._fit(pair(request.query, document), f"documents.{number}", cut=request.truncate)

    def _tokens(self, text: Input, param: str) -> list[int]:
        if isinstance(text, str):
            return self.model.tokenize(text, add_special=True, parse_special=False)
        last = self.model.vocab_size - 1
        if max(text) > last:
            message = f"{param}: token ids of {self.info.name} go from 0 to {last}; {max(text)} is none."
            raise InvalidRequest(message, param="input")
        return list(text)

    def _fit(self, tokens: list[int], param: str, *, cut: bool) -> Tokens:
        """Tokens as far as they fit. What is cut off stands before the last one, which marks the end."""
        if not tokens:
            raise InvalidRequest(f"{param}: there is nothing in this text for {self.info.name}.", param=param)
        if len(tokens) <= self.longest:
            return np.array(tokens, np.int32)
        if not cut:
            raise ContextOverflow(
                f"{param}: this text has {len(tokens)} tokens; {self.info.name} takes {self.longest} "
                f"({OVERFLOW_CODE}). Split it, or have its end cut off with `truncate`.",
                param=param,
            )
        kept = tokens[: self.longest]
        if self.model.is_control(tokens[-1]):
            kept[-1] = tokens[-1]
        return np.array(kept, np.int32)

    def _finish_of(self, request: VectorRequest) -> Callable[[Floats], Floats]:
        """What becomes of what the model makes of the texts.

        Raises:
            InvalidRequest: Vectors are not so long.
        """
        if isinstance(request, RankRequest):
            return _cosines if self.model.task == "embedding" else _probabilities
        width, wanted = self.model.vector_width, request.dimensions or self.model.vector_width
        if wanted > width:
            message = f"dimensions: vectors of {self.info.name} have {width} numbers; ask for at most so many."
            raise InvalidRequest(message, param="dimensions")
        return lambda made: unit(made[:, :wanted])


def _bounded(texts: Iterator[Tokens]) -> list[Tokens]:
    total, bounded = 0, []
    for text in texts:
        total += len(text)
        if total > MAX_TOTAL_TOKENS:
            raise InvalidRequest(f"The texts of a request may have {MAX_TOTAL_TOKENS} tokens. Send them in several.")
        bounded.append(text)
    return bounded


def _cosines(made: Floats) -> Floats:
    """Those of the first vector with the others."""
    rows = unit(made)
    return np.asarray(rows[1:] @ rows[0])


def _probabilities(made: Floats) -> Floats:
    """From 0 to 1: the head's one number by the logistic function; of several, which are shares already, the first."""
    first = made[:, 0]
    return first if made.shape[1] > 1 else np.asarray(1 / (1 + np.exp(-first)), np.float32)


def _pair_of(model: Model) -> Callable[[str, str], list[int]]:
    """How a query and a document become one text: by the model's own template, or as encoders have it, with what ends a
    text after each. Nothing in them becomes a control token."""
    template = model.metadata.get(_RERANK_TEMPLATE)
    if template is None:
        before, between, after = model.around_pairs

        def pair(query: str, document: str) -> list[int]:
            return [*before, *_plain(model, query), *between, *_plain(model, document), *after]

        return pair
    head, _, rest = template.partition(_QUERY)
    middle, _, tail = rest.partition(_DOCUMENT)

    def filled(query: str, document: str) -> list[int]:
        tokens = []
        for words, text in ((head, query), (middle, document)):
            stripped = words.rstrip(" ")  # a space is part of the word after it
            tokens += model.tokenize(stripped, add_special=False, parse_special=True)
            tokens += _plain(model, words[len(stripped) :] + text)
        return tokens + model.tokenize(tail, add_special=False, parse_special=True)

    return filled


def _plain(model: Model, text: str) -> list[int]:
    return model.tokenize(text, add_special=False, parse_special=False)
