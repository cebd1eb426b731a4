"""OpenAI's own client, unmodified, against the embeddings of a real model; and ranks."""

from __future__ import annotations

import base64
import re
import socket
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import httpx
import numpy as np
import ollama
import openai
import pytest

from llm_core.client import LLMClient
from tests import embedding_model
from tests.embedding_model import minilm_path as minilm_path
from tests.embedding_model import ranker_path as ranker_path
from tests.served import loaded_client, served
from tests.waiting import is_idle, stats_of, wait_until

pytestmark = pytest.mark.local_engine

SAME = 0.999
CHAT, EMBEDS, RANKS = "SmolLM2-135M-Instruct", "minilm", "ranker"
TEXTS = ["A cat sleeps in the sun.", "a", "Naïve café: 東京タワー. " * 30]
QUERY, DOCUMENTS = "What is a tide?", ["Bread is baked.", "The tide is the rise and fall of the sea."]
LONG = "The quick brown fox jumps over the lazy dog. " * 60


@pytest.fixture(scope="module")
def client(minilm_path: Path, ranker_path: Path, tmp_path_factory: pytest.TempPathFactory) -> Iterator[LLMClient]:
    models = f"bundled, {minilm_path}, {ranker_path}"
    with loaded_client(tmp_path_factory.mktemp("data"), model=models, context_tokens=512, kv_host_mb=0) as client:
        yield client


@pytest.fixture(scope="module")
def openai_client(url: str) -> Iterator[openai.OpenAI]:
    with openai.OpenAI(base_url=f"{url}v1", api_key="none", max_retries=0) as client:
        yield client


def post(url: str, path: str, body: Any) -> httpx.Response:
    return httpx.post(f"{url}{path}", json=body, timeout=60)


# ── embeddings ───────────────────────────────────────────────────────────────────────────────────────────────────────


@pytest.mark.parametrize("form", [{}, {"encoding_format": "float"}], ids=["as the client asks", "as numbers"])
def test_vectors_are_the_originals(openai_client: openai.OpenAI, form: Any) -> None:
    answer = openai_client.embeddings.create(input=TEXTS, model=EMBEDS, **form)

    assert [each.index for each in answer.data] == [0, 1, 2]
    for text, each in zip(TEXTS, answer.data, strict=True):
        assert np.array(each.embedding) @ embedding_model.vector(embedding_model.token_ids(text)) > SAME
    tokens = sum(len(embedding_model.token_ids(text)) for text in TEXTS)
    assert (answer.object, answer.model) == ("list", EMBEDS)
    assert (answer.usage.prompt_tokens, answer.usage.total_tokens) == (tokens, tokens)


def test_base64_holds_numbers_of_32_bits(url: str) -> None:
    body = {"input": "a", "model": EMBEDS, "user": "ann", "unknown": 1}
    numbers = post(url, "v1/embeddings", body).json()["data"][0]["embedding"]
    encoded = post(url, "v1/embeddings", body | {"encoding_format": "base64"}).json()["data"][0]["embedding"]

    assert np.frombuffer(base64.b64decode(encoded), "<f4") == pytest.approx(np.array(numbers), abs=1e-3)


@pytest.mark.parametrize("one", [True, False])
def test_token_ids_are_read_too(openai_client: openai.OpenAI, one: bool) -> None:
    ids = embedding_model.token_ids(TEXTS[0])
    answer = openai_client.embeddings.create(input=ids if one else [ids, ids[:3]], model=EMBEDS)

    assert len(answer.data) == (1 if one else 2)
    assert np.array(answer.data[0].embedding) @ embedding_model.vector(ids) > SAME


def test_dimensions_cut_the_vectors(openai_client: openai.OpenAI) -> None:
    (each,) = openai_client.embeddings.create(input="a", model=EMBEDS, dimensions=16).data

    assert len(each.embedding) == 16
    assert np.linalg.norm(each.embedding) == pytest.approx(1, abs=1e-5)


def test_what_is_too_long_is_refused_by_its_name_or_cut(openai_client: openai.OpenAI) -> None:
    with pytest.raises(openai.BadRequestError, match=r"input.1: this text has 602 tokens") as refused:
        openai_client.embeddings.create(input=["a", LONG], model=EMBEDS)

    assert (refused.value.code, refused.value.param) == ("context_length_exceeded", "input.1")
    answer = openai_client.embeddings.create(input=["a", LONG], model=EMBEDS, extra_body={"truncate": True})
    assert answer.usage.prompt_tokens == 3 + 512


@pytest.mark.parametrize(
    ("wrong", "status", "said"),
    [
        ({"input": []}, 400, "input: there is no text"),
        ({"input": ""}, 400, "input.0: it is empty"),
        ({"input": None}, 400, "input: "),
        ({"input": {"text": "a"}}, 400, "input: it must be"),
        ({"input": [1.5]}, 400, "input.0: it must be"),
        ({"input": [-1]}, 400, "input.0: -1 is no token id"),
        ({"input": [2**40]}, 400, "is no token id"),
        ({"input": ["a"] * 2049}, 400, "2049 texts; at most 2048"),
        ({"encoding_format": "int8"}, 400, "encoding_format: "),
        ({"dimensions": 0}, 400, "dimensions: "),
        ({"dimensions": "16"}, 400, "dimensions: "),
        ({"dimensions": 385}, 400, "dimensions: vectors of minilm have 384 numbers"),
        ({"truncate": "yes"}, 400, "truncate: "),
        ({"model": "m" * 201}, 400, "model: "),
        ({"model": CHAT}, 400, f"{CHAT} is a chat model.* Name an embedding model: {EMBEDS}"),
        ({"model": "text-embedding-3-small"}, 404, "is not here. There is: "),
    ],
)
def test_what_cannot_be_done_is_refused_in_openais_shape(url: str, wrong: Any, status: int, said: str) -> None:
    answer = post(url, "v1/embeddings", {"input": "a", "model": EMBEDS} | wrong)

    assert answer.status_code == status, answer.text
    assert set(answer.json()["error"]) == {"message", "type", "param", "code"}
    assert re.search(said, answer.json()["error"]["message"])


def test_a_chat_cannot_be_had_from_a_model_that_embeds(openai_client: openai.OpenAI) -> None:
    hello: Any = [{"role": "user", "content": "Say hello."}]
    for name, what in ((EMBEDS, "an embedding model"), (RANKS, "a model that ranks")):
        with pytest.raises(openai.BadRequestError, match=f"{name} is {what}.* Name a chat model: {CHAT}"):
            openai_client.chat.completions.create(messages=hello, model=name)


def test_lists_say_what_each_model_is_for(url: str, openai_client: openai.OpenAI) -> None:
    listed = {model.id: model.model_dump()["task"] for model in openai_client.models.list()}
    own = {each["name"]: each["task"] for each in httpx.get(f"{url}api/llm/models").json()["models"]}

    assert listed == {CHAT: "chat", EMBEDS: "embedding", RANKS: "rerank"}
    assert listed.items() <= own.items()


def test_a_reader_who_leaves_has_the_rest_dropped(url: str, client: LLMClient) -> None:
    post(url, "v1/embeddings", {"input": "a", "model": EMBEDS})
    before = stats_of(client).prefilled_tokens
    host, port = httpx.URL(url).host, httpx.URL(url).port
    body = httpx.Request("POST", url, json={"input": [LONG] * 500, "model": EMBEDS, "truncate": True}).read()
    head = f"POST /v1/embeddings HTTP/1.1\r\nHost: {host}:{port}\r\nContent-Type: application/json\r\n"
    with socket.create_connection((host, port or 80)) as connection:
        connection.sendall(f"{head}Content-Length: {len(body)}\r\n\r\n".encode() + body)
        wait_until(lambda: stats_of(client).prefilled_tokens > before, "it has begun")
    wait_until(lambda: is_idle(client), "the rest is dropped")

    assert stats_of(client).prefilled_tokens - before < 400 * 512


# ── ranks ────────────────────────────────────────────────────────────────────────────────────────────────────────────


@pytest.mark.parametrize("path", ["v1/rerank", "rerank"])
def test_documents_are_ranked(url: str, path: str) -> None:
    body = {"query": QUERY, "documents": [DOCUMENTS[0], {"text": DOCUMENTS[1]}], "model": EMBEDS}
    answer = post(url, path, body).json()

    assert [each["index"] for each in answer["results"]] == [1, 0]
    assert answer["results"][0]["relevance_score"] > answer["results"][1]["relevance_score"]
    assert answer["model"] == EMBEDS
    assert answer["usage"]["prompt_tokens"] == answer["usage"]["total_tokens"] > 0
    one = post(url, path, body | {"top_n": 1, "return_documents": True}).json()
    assert one["results"] == [answer["results"][0] | {"document": {"text": DOCUMENTS[1]}}]


def test_the_model_that_ranks_is_asked_where_none_is_named(url: str) -> None:
    answer = post(url, "v1/rerank", {"query": QUERY, "documents": DOCUMENTS}).json()

    assert answer["model"] == RANKS
    assert all(0 <= each["relevance_score"] <= 1 for each in answer["results"])


@pytest.mark.parametrize(
    ("wrong", "said"),
    [
        ({"query": ""}, "query: "),
        ({"query": 7}, "query: "),
        ({"documents": []}, "documents: it has 0 texts"),
        ({"documents": "a"}, "documents: it must be a list"),
        ({"documents": [{"title": "a"}]}, "documents.0: "),
        ({"documents": ["a", ""]}, "documents.1: it is empty"),
        ({"documents": ["a", LONG]}, "documents.1: this text has"),
        ({"top_n": 0}, "top_n: "),
        ({"top_n": True}, "top_n: "),
        ({"return_documents": 1}, "return_documents: "),
        ({"model": CHAT}, "Name a model that ranks or embeds"),
    ],
)
def test_what_cannot_be_ranked_is_refused(url: str, wrong: Any, said: str) -> None:
    answer = post(url, "v1/rerank", {"query": QUERY, "documents": DOCUMENTS} | wrong)

    assert answer.status_code == 400, answer.text
    assert said in answer.json()["error"]["message"]


def test_a_token_is_asked_for_and_each_request_counts(minilm_path: Path, tmp_path: Path) -> None:
    settings: dict[str, Any] = {"model": str(minilm_path), "api_tokens": "ann:secret", "rate_limit": "3/minute"}
    with loaded_client(tmp_path, **settings) as client, served(client) as url:
        bodies = {"v1/embeddings": {"input": "a"}, "v1/rerank": {"query": "a", "documents": ["b"]}}
        bodies["rerank"] = bodies["v1/rerank"]
        for path, body in bodies.items():
            assert post(url, path, body).status_code == 401
            ann = httpx.post(f"{url}{path}", json=body, headers={"Authorization": "Bearer secret"}, timeout=60)
            assert ann.status_code == 200
        ann = httpx.post(f"{url}rerank", json=body, headers={"Authorization": "Bearer secret"}, timeout=60)
        assert ann.status_code == 429


# ── Ollama's door ────────────────────────────────────────────────────────────────────────────────────────────────────


def test_ollamas_client_gets_the_same_vectors(url: str, client: LLMClient) -> None:
    wanted = client.embed(TEXTS, model=EMBEDS)
    asked = ollama.Client(host=url)

    several = asked.embed(f"{EMBEDS}:latest", TEXTS)
    one = asked.embeddings(EMBEDS, TEXTS[0])

    assert min(np.sum(np.array(several.embeddings) * wanted.vectors, axis=1)) > SAME
    assert np.dot(one.embedding, wanted.vectors[0]) > SAME
    assert (several.model, several.prompt_eval_count) == (EMBEDS, wanted.prompt_tokens)


def test_ollamas_client_has_long_texts_cut_off_unless_it_says_otherwise(url: str) -> None:
    asked = ollama.Client(host=url)

    assert len(asked.embed(EMBEDS, LONG).embeddings) == 1
    with pytest.raises(ollama.ResponseError, match="tokens") as refused:
        asked.embed(EMBEDS, LONG, truncate=False)
    assert refused.value.status_code == 400
    with pytest.raises(ollama.ResponseError, match="vectors"):
        asked.embed(CHAT, "A text")
