"""Vectors and ranks in Python, on real models beside a chat model."""

from __future__ import annotations

import asyncio
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import numpy as np
import pytest

from llm_core.client import LLMClient
from llm_core.embedding import MAX_TEXTS, MAX_TOTAL_TOKENS
from llm_core.errors import ContextOverflow, InvalidRequest, LLMError, ModelNotFound, ShuttingDown, TimedOut
from llm_core.settings import Settings
from tests import embedding_model
from tests.embedding_model import minilm_path as minilm_path
from tests.embedding_model import ranker_path as ranker_path
from tests.waiting import is_idle, stats_of, wait_until

pytestmark = pytest.mark.local_engine

SAME = 0.999
CHAT, EMBEDS, RANKS = "SmolLM2-135M-Instruct", "minilm", "ranker"
QUERY = "What is a tide?"
DOCUMENTS = ["Bread is baked in an oven.", "The sea rises and falls twice a day: that is the tide.", "A cat sleeps."]
LONG = "The quick brown fox jumps over the lazy dog. " * 60


@pytest.fixture(scope="module")
def client(minilm_path: Path, ranker_path: Path, tmp_path_factory: pytest.TempPathFactory) -> Iterator[LLMClient]:
    settings: dict[str, Any] = {"parallel": 2, "context_tokens": 512, "system_prompt": "", "kv_host_mb": 0}
    models = f"bundled, {minilm_path}, {ranker_path}"
    with LLMClient(Settings(model=models, data_dir=tmp_path_factory.mktemp("data"), **settings)) as client:
        yield client


def original(text: str) -> embedding_model.Floats:
    return embedding_model.vector(embedding_model.token_ids(text))


# ── vectors ──────────────────────────────────────────────────────────────────────────────────────────────────────────


def test_vectors_are_the_originals(client: LLMClient) -> None:
    made = client.embed([QUERY, *DOCUMENTS])

    assert made.vectors.shape == (4, 384)
    assert made.vectors.dtype == np.float32
    for text, vector in zip([QUERY, *DOCUMENTS], made.vectors, strict=True):
        assert vector @ original(text) > SAME
        assert np.linalg.norm(vector) == pytest.approx(1, abs=1e-5)
    assert made.model == EMBEDS
    assert made.prompt_tokens == sum(len(embedding_model.token_ids(text)) for text in [QUERY, *DOCUMENTS])


async def test_the_async_twins_give_the_same(client: LLMClient) -> None:
    embedded, ranked = await asyncio.gather(client.aembed(QUERY), client.arerank(QUERY, DOCUMENTS))

    assert embedded.vectors[0] @ client.embed(QUERY).vectors[0] > SAME
    assert [each.index for each in ranked.results] == [each.index for each in client.rerank(QUERY, DOCUMENTS).results]


def test_token_ids_are_taken_as_they_are(client: LLMClient) -> None:
    ids = embedding_model.token_ids(QUERY)
    one, several = client.embed(ids), client.embed([ids, QUERY, ids[1:-1]])

    assert one.vectors[0] @ original(QUERY) > SAME
    assert several.vectors[1] @ original(QUERY) > SAME
    assert several.vectors[2] @ embedding_model.vector(ids[1:-1]) > SAME


def test_fewer_dimensions_are_the_first_ones_of_length_one(client: LLMClient) -> None:
    whole, short = client.embed(QUERY), client.embed(QUERY, dimensions=64)
    first = whole.vectors[0][:64]

    assert short.vectors.shape == (1, 64)
    assert short.vectors[0] == pytest.approx(first / np.linalg.norm(first), abs=1e-3)


def test_a_text_that_is_too_long_is_refused_or_cut_at_its_end(client: LLMClient) -> None:
    ids = embedding_model.token_ids(LONG)
    with pytest.raises(
        ContextOverflow, match=rf"input.1: this text has {len(ids)} tokens; minilm takes 512"
    ) as refused:
        client.embed(["a", LONG])
    made = client.embed(["a", LONG], truncate=True)

    assert refused.value.param == "input.1"
    assert made.vectors[1] @ embedding_model.vector([*ids[:511], ids[-1]]) > SAME
    assert made.prompt_tokens == 3 + 512
    loaded: Any = client.models.member(EMBEDS).backend
    assert loaded._loaded._fit(ids, "", cut=True).tolist() == [*ids[:511], ids[-1]]  # the mark of its end stays


def test_what_a_text_says_becomes_no_control_token(client: LLMClient) -> None:
    assert client.embed("[SEP] [CLS]").prompt_tokens > 4


# ── ranks ────────────────────────────────────────────────────────────────────────────────────────────────────────────


def pair_ids(document: str) -> list[int]:
    return embedding_model.token_ids(QUERY) + embedding_model.token_ids(document)[1:]


def test_a_model_that_ranks_scores_each_pair(client: LLMClient) -> None:
    ranking = client.rerank(QUERY, DOCUMENTS)
    scores = [1 / (1 + np.exp(-embedding_model.score(pair_ids(document)))) for document in DOCUMENTS]

    assert ranking.model == RANKS
    assert ranking.prompt_tokens == sum(len(pair_ids(document)) for document in DOCUMENTS)
    assert [each.index for each in ranking.results] == sorted(range(3), key=lambda place: -scores[place])
    for each in ranking.results:
        assert each.score == pytest.approx(scores[each.index], abs=0.005)


def test_a_model_that_embeds_ranks_by_the_cosine(client: LLMClient) -> None:
    ranking = client.rerank(QUERY, DOCUMENTS, model=EMBEDS, top_n=2)

    assert ranking.model == EMBEDS
    assert len(ranking.results) == 2
    assert ranking.results[0].index == 1
    assert ranking.results[0].score == pytest.approx(float(original(QUERY) @ original(DOCUMENTS[1])), abs=0.002)


# ── refusals ─────────────────────────────────────────────────────────────────────────────────────────────────────────


@pytest.mark.parametrize(
    ("texts", "options", "said"),
    [
        ([], {}, "input: there is no text in it"),
        ("", {}, "input.0: it is empty"),
        (["a", ""], {}, "input.1: it is empty"),
        ([[]], {}, "input.0: it must be a text or token ids"),
        (7, {}, "input: it must be a text, token ids, or a list"),
        ([True], {}, "input.0: it must be a text or token ids"),
        ([1, -1], {}, "input.0: -1 is no token id"),
        ([[1], [99_999]], {}, "input.1: token ids of minilm go from 0 to 30521; 99999 is none"),
        (["a"] * (MAX_TEXTS + 1), {}, f"input: it has {MAX_TEXTS + 1} texts; at most {MAX_TEXTS}"),
        ([[100] * 500] * 700, {}, f"may have {MAX_TOTAL_TOKENS} tokens"),
        ("\ud800", {}, "input.0: "),
        ("a", {"dimensions": 0}, "dimensions: "),
        ("a", {"dimensions": 385}, "dimensions: vectors of minilm have 384 numbers"),
        ("a", {"dimensions": True}, "dimensions: "),
        ("a", {"timeout": 0}, "timeout: "),
        ("a", {"spelling": 1}, "spelling: there is no such field"),
        ("a", {"model": CHAT}, f"{CHAT} is a chat model.* Name an embedding model: {EMBEDS}."),
        ("a", {"model": RANKS}, f"{RANKS} is a model that ranks.* Name an embedding model: {EMBEDS}."),
    ],
)
def test_what_cannot_be_embedded_is_refused(client: LLMClient, texts: Any, options: Any, said: str) -> None:
    with pytest.raises(InvalidRequest, match=said):
        client.embed(texts, **options)


@pytest.mark.parametrize(
    ("query", "documents", "options", "said"),
    [
        ("", ["a"], {}, "query: "),
        ("a", [], {}, "documents: it has 0 texts"),
        ("a", ["b", ""], {}, "documents.1: it is empty"),
        ("a", "b", {}, "documents: it must be a list of texts"),
        ("a", [3], {}, "documents.0: "),
        ("a", ["b"], {"top_n": 0}, "top_n: it must be at least 1"),
        ("a", ["b", LONG], {}, "documents.1: this text has .* tokens; ranker takes 512"),
        (LONG, ["b"], {"model": EMBEDS}, "query: this text has"),
        ("a", ["b"], {"model": CHAT}, f"{CHAT} is a chat model.* Name a model that ranks or embeds: {EMBEDS}, {RANKS}"),
    ],
)
def test_what_cannot_be_ranked_is_refused(
    client: LLMClient, query: str, documents: Any, options: Any, said: str
) -> None:
    with pytest.raises(InvalidRequest, match=said):
        client.rerank(query, documents, **options)


def test_a_model_that_cannot_write_is_not_asked_to(client: LLMClient) -> None:
    hello = [{"role": "user", "content": "Say hello."}]
    asked: list[Any] = [
        lambda: client.chat(hello, model=EMBEDS),
        lambda: client.chat_session("one", "Say hello.", model=EMBEDS),
        lambda: client.count_tokens(hello, model=EMBEDS),
    ]
    for each in asked:
        with pytest.raises(InvalidRequest, match=f"{EMBEDS} is an embedding model.* Name a chat model: {CHAT}."):
            each()
    with pytest.raises(LLMError, match="no session"):
        client.session_history("one")  # nothing was saved


def test_a_name_that_nobody_has_is_refused_with_those_that_there_are(client: LLMClient) -> None:
    with pytest.raises(ModelNotFound, match=f"There is: {CHAT}, {EMBEDS}, {RANKS}"):
        client.embed("a", model="text-embedding-3-small")


def test_a_server_that_is_about_to_end_takes_no_texts(minilm_path: Path, tmp_path: Path) -> None:
    with LLMClient(Settings(model=str(minilm_path), data_dir=tmp_path)) as client:
        assert client.embed("a", model="text-embedding-3-small").model == EMBEDS  # the one model answers to any name
        client.refuse_new()
        with pytest.raises(ShuttingDown):
            client.embed("a")


# ── time ─────────────────────────────────────────────────────────────────────────────────────────────────────────────


def test_what_takes_longer_than_it_may_is_told_so(client: LLMClient) -> None:
    with pytest.raises(TimedOut):
        client.embed([LONG] * 400, truncate=True, timeout=0.3)


async def test_a_task_that_is_cancelled_drops_its_texts(client: LLMClient) -> None:
    client.embed("a")
    task = asyncio.create_task(client.aembed([LONG] * 400, truncate=True))
    await asyncio.to_thread(wait_until, lambda: stats_of(client).running == 1, "it has begun")
    task.cancel()
    with pytest.raises(asyncio.CancelledError):
        await task

    await asyncio.to_thread(wait_until, lambda: is_idle(client), "the rest is dropped")
