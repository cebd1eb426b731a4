"""Vectors and ranks from engines elsewhere: passed through, and refused in their own words."""

from __future__ import annotations

import json
from collections.abc import Callable
from typing import Any

import numpy as np
import pytest

from llm_core.client import LLMClient
from llm_core.errors import EngineFailed, InvalidRequest, LLMError, TimedOut
from tests.backends.fake_engine import FakeEngine, refuses, writes

USAGE = {"prompt_tokens": 5, "total_tokens": 5}


def says(answer: Any) -> Any:
    return writes(json.dumps(answer), "application/json")


def rows(*vectors: list[float]) -> dict[str, Any]:
    data = [{"object": "embedding", "index": place, "embedding": each} for place, each in enumerate(vectors)]
    return {"object": "list", "data": data[::-1], "usage": USAGE}


def test_vectors_are_passed_through(engine: FakeEngine, client: LLMClient) -> None:
    engine.answers = [says(rows([3.0, 4.0], [0.0, 2.0]))]
    made = client.embed(["a", [1, 2]], dimensions=2)

    (asked,) = engine.asked
    assert asked.path == "/v1/embeddings"
    assert asked.body == {"model": engine.model, "input": ["a", [1, 2]], "encoding_format": "float", "dimensions": 2}
    assert made.vectors == pytest.approx(np.array([[0.6, 0.8], [0, 1]]))
    assert (made.model, made.prompt_tokens) == (engine.model, 5)


def test_ranks_are_passed_through(engine: FakeEngine, client: LLMClient) -> None:
    results = [{"index": 1, "relevance_score": 0.9}, {"index": 0, "relevance_score": 0.1}]
    engine.answers = [says({"results": results, "usage": {"total_tokens": 5}})]
    ranking = client.rerank("a", ["b", "c"], top_n=1, truncate=True)

    (asked,) = engine.asked
    assert asked.path == "/v1/rerank"
    assert asked.body == {
        "model": engine.model,
        "query": "a",
        "documents": ["b", "c"],
        "top_n": 2,
        "truncate": True,
    }
    assert [(each.index, each.score) for each in ranking.results] == [(1, pytest.approx(0.9))]
    assert ranking.prompt_tokens == 5


@pytest.mark.parametrize(
    ("answer", "error", "said"),
    [
        (refuses(400, {"error": {"message": "input is too long"}}), InvalidRequest, "input is too long"),
        (refuses(501, {"error": {"message": "Start it with --embeddings"}}), InvalidRequest, "--embeddings"),
        (refuses(404), LLMError, "no such route"),
        (says({"data": []}), EngineFailed, "cannot be read"),
        (says(rows([1.0])), EngineFailed, "cannot be read"),
        (says(rows([1.0], [1.0, 2.0])), EngineFailed, "cannot be read"),
        (says([]), EngineFailed, "cannot be read"),
    ],
)
def test_a_refusal_is_told_in_the_engines_words(
    engine: FakeEngine, client: LLMClient, answer: Any, error: type[LLMError], said: str
) -> None:
    engine.answers = [answer]
    with pytest.raises(error, match=said):
        client.embed(["a", "b"])


def test_another_engine_is_asked_where_one_fails(
    engine: FakeEngine, second_engine: FakeEngine, make_client: Callable[..., LLMClient]
) -> None:
    for each in (engine, second_engine):
        each.answers = [refuses(500), says(rows([1.0]))]
    client = make_client(engine, second_engine)
    client.wait_ready(60)

    assert client.embed("a").vectors.tolist() == [[1.0]]


def test_the_time_of_a_request_counts(engine: FakeEngine, client: LLMClient) -> None:
    engine.answers = [refuses(500, after=30)]
    with pytest.raises(TimedOut):
        client.embed("a", timeout=0.2)
