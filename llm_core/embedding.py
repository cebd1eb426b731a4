"""What is asked of a model that makes vectors, or ranks, and what comes of it; every number is bounded here."""

from __future__ import annotations

from collections.abc import Iterable, Mapping, Sequence
from dataclasses import dataclass
from typing import Annotated, Any, TypedDict

import numpy as np
import numpy.typing as npt
from pydantic import BaseModel, ConfigDict, Field, PlainValidator, TypeAdapter, ValidationError

from llm_core.complaints import Misplaced, invalid_request
from llm_core.messages import Text
from llm_core.numbers import Whole, are_whole, whole
from llm_core.request import ModelName, Timeout
from llm_core.task import Task

MAX_TEXTS = 2048  # as at OpenAI
MAX_TOTAL_TOKENS = 300_000
MAX_DIMENSIONS = 65_536
_MAX_TOKEN = 2**31 - 1

Floats = npt.NDArray[np.float32]
Input = str | tuple[int, ...]
"""A text, or the ids of a model's tokens, which are taken as they are."""
Inputs = str | Sequence[int] | Sequence[str | Sequence[int]]
"""One of them, or several."""

_text = TypeAdapter(Text)


def _inputs(given: Any) -> tuple[Input, ...]:
    several = [given] if isinstance(given, str) or _is_tokens(given) else given
    if not isinstance(several, (list, tuple)):
        raise ValueError("it must be a text, token ids, or a list of such")
    if not several:
        raise ValueError("there is no text in it")
    if len(several) > MAX_TEXTS:
        raise ValueError(f"it has {len(several)} texts; at most {MAX_TEXTS} may be sent at a time")
    return tuple(_input(place, each) for place, each in enumerate(several))


def _input(place: int, given: Any) -> Input:
    if _is_tokens(given):
        if wrong := next((token for token in given if not 0 <= token <= _MAX_TOKEN), None):
            raise Misplaced((place,), f"{wrong} is no token id")
        return tuple(map(whole, given))
    if not isinstance(given, str):
        raise Misplaced((place,), "it must be a text or token ids, at least one")
    return _checked(place, given)


def _is_tokens(given: Any) -> bool:
    return isinstance(given, (list, tuple)) and bool(given) and are_whole(given)


def _documents(given: Any) -> tuple[str, ...]:
    if not isinstance(given, (list, tuple)):
        raise ValueError("it must be a list of texts")
    if not 1 <= len(given) <= MAX_TEXTS:
        raise ValueError(f"it has {len(given)} texts; from 1 to {MAX_TEXTS} may be sent at a time")
    return tuple(_checked(place, each) for place, each in enumerate(given))


def _checked(place: int, text: Any) -> str:
    try:
        checked = _text.validate_python(text, strict=True)
    except ValidationError as error:
        raise Misplaced((place,), error.errors(include_url=False)[0]["msg"].removeprefix("Value error, ")) from None
    if not checked:
        raise Misplaced((place,), "it is empty")
    return checked


CheckedInputs = Annotated[tuple[Input, ...], PlainValidator(_inputs)]
CheckedDocuments = Annotated[tuple[str, ...], PlainValidator(_documents)]
Dimensions = Annotated[int, Field(ge=1, le=MAX_DIMENSIONS, strict=True), Whole]


class _Asked(BaseModel):
    """
    Attributes:
        model: The name or an alias of the model; empty: the first that can.
        truncate: The end of a text that is too long is cut off; else such a text is refused.
        timeout: Seconds from submission.
        owner: Whose request this is: owners get their texts computed in turns.
    """

    model_config = ConfigDict(frozen=True, extra="forbid")

    model: ModelName = ""
    truncate: bool = False
    timeout: Timeout
    owner: Annotated[str, Field(max_length=200)] = ""


class EmbedRequest(_Asked):
    """Texts whose vectors are wanted.

    Attributes:
        dimensions: The first so many numbers of each vector, brought to length 1 again; None: all of them.
    """

    input: CheckedInputs
    dimensions: Dimensions | None = None

    @property
    def tasks(self) -> tuple[Task, ...]:
        """The kinds of models that can do it."""
        return ("embedding",)


class RankRequest(_Asked):
    """Texts that may answer a query, of which it is wanted how well they do."""

    query: Annotated[Text, Field(min_length=1)]
    documents: CheckedDocuments

    @property
    def tasks(self) -> tuple[Task, ...]:
        """The kinds of models that can do it, the best first."""
        return ("rerank", "embedding")


VectorRequest = EmbedRequest | RankRequest


class VectorOptions(TypedDict, total=False):
    """What both may have; None is the default."""

    model: str | None
    truncate: bool | None
    timeout: float | None
    owner: str


class EmbedOptions(VectorOptions, total=False):
    """Of `embed`."""

    dimensions: int | None


@dataclass(frozen=True, slots=True)
class Computed:
    """Comes to a request's sink before `Done`.

    Attributes:
        values: Vectors of length 1, shape (texts, dimensions); of a `RankRequest` scores, shape (documents,).
    """

    values: Floats


@dataclass(frozen=True, slots=True)
class Embeddings:
    """Vectors of texts.

    Attributes:
        vectors: One for each text, in their order, each of length 1; shape (texts, dimensions).
        model: That made them.
        prompt_tokens: Of all texts.
    """

    vectors: Floats
    model: str
    prompt_tokens: int


@dataclass(frozen=True, slots=True)
class Ranked:
    """How well a document answers the query.

    Attributes:
        index: Its place in what was sent.
        score: 0 to 1 from a model that ranks; from one that makes vectors their cosine, -1 to 1.
    """

    index: int
    score: float


@dataclass(frozen=True, slots=True)
class Ranking:
    """Documents, the best first.

    Attributes:
        results: As many as were wanted.
        model: That ranked them.
        prompt_tokens: Of all pairs, or of all texts.
    """

    results: tuple[Ranked, ...]
    model: str
    prompt_tokens: int


def checked(kind: type[VectorRequest], fields: Mapping[str, Any]) -> VectorRequest:
    """A request with these fields.

    Raises:
        InvalidRequest: A field is not allowed; the message names it.
    """
    try:
        return kind(**fields)
    except ValidationError as error:
        raise invalid_request(error) from None


def unit(rows: Floats) -> Floats:
    """The rows, each brought to length 1; one of zeros stays."""
    lengths = np.linalg.norm(rows, axis=-1, keepdims=True)
    return np.asarray(rows / np.where(lengths > 0, lengths, 1), np.float32)


def ranked(scores: Iterable[float], top_n: int | None) -> tuple[Ranked, ...]:
    """The places of scores, the highest first; of equal ones in their order."""
    results = [Ranked(index, float(score)) for index, score in enumerate(scores)]
    return tuple(sorted(results, key=lambda each: -each.score)[:top_n])
