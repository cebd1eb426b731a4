"""The engine that makes vectors, on a real model: they are the original's, however texts come together."""

from __future__ import annotations

import queue
import random
import threading
from collections.abc import Iterator
from pathlib import Path

import numpy as np
import pytest

from llm_core.engine import embedder as embedder_module
from llm_core.engine.embedder import Embedder, EmbedderOptions
from llm_core.engine.llama import embedding_context
from llm_core.engine.llama.context import DecodeFailed
from llm_core.engine.llama.embedding_context import EmbeddingContext
from llm_core.engine.llama.model import Model
from llm_core.engine.texts import Rotation, TextsEvent, TextsJob
from llm_core.engine.turns import TURNS
from llm_core.errors import EngineClosed, EngineFailed, LLMError, QueueFull
from llm_core.events import Done
from tests import embedding_model
from tests.embedding_model import minilm_path as minilm_path
from tests.embedding_model import ranker_path as ranker_path
from tests.engine.conftest import WAIT
from tests.engine.random_model import with_number

SAME = 0.999
TEXTS = [
    "A cat sleeps in the sun.",
    "Tides rise and fall twice a day, since the moon pulls at the sea.",
    "Naïve café: 東京タワー, $5.00 and C++!",
    "a",
    "The quick brown fox jumps over the lazy dog. " * 45,
    "What is a tide?",
    "One sentence follows another. " * 20,
]
OPTIONS = EmbedderOptions(longest=512, requests=2, queue_limit=2, threads=2, step_seconds=0.1)


@pytest.fixture(scope="module")
def minilm(minilm_path: Path) -> Iterator[Model]:
    model = Model.load(minilm_path)
    yield model
    model.close()


@pytest.fixture(scope="module")
def decoder(model_path: Path, tmp_path_factory: pytest.TempPathFactory) -> Iterator[Model]:
    """A decoder whose last token has it all, as in Qwen3-Embedding."""
    last = 3
    path = with_number(model_path, tmp_path_factory.mktemp("decoder") / "x.gguf", b"llama.pooling_type", last)
    model = Model.load(path)
    yield model
    model.close()
    path.unlink()


@pytest.fixture
def embedder(minilm: Model) -> Iterator[Embedder]:
    embedder = Embedder(minilm, OPTIONS)
    yield embedder
    embedder.close()


class Asked:
    """A request, and what came of it."""

    def __init__(self, embedder: Embedder, texts: list[list[int]], *, timeout: float = WAIT, owner: str = "") -> None:
        self.events: queue.SimpleQueue[TextsEvent] = queue.SimpleQueue()
        self.job = TextsJob([np.array(each, np.int32) for each in texts], self.events.put, timeout, owner)
        embedder.submit(self.job)

    def vectors(self) -> list[embedding_model.Floats]:
        assert self.done().finish_reason == "stop"
        made = [self.job.vectors[number] for number in range(len(self.job.texts))]
        return [vector / np.linalg.norm(vector) for vector in made]

    def done(self) -> Done:
        event = self.events.get(timeout=WAIT)
        if isinstance(event, LLMError):
            raise event
        return event


def ids_of(texts: list[str]) -> list[list[int]]:
    return [embedding_model.token_ids(text) for text in texts]


# ── what it makes ────────────────────────────────────────────────────────────────────────────────────────────────────


@pytest.mark.parametrize("text", TEXTS)
def test_a_text_becomes_the_tokens_that_the_original_makes_of_it(minilm: Model, text: str) -> None:
    assert minilm.tokenize(text, add_special=True, parse_special=False) == embedding_model.token_ids(text)


def test_vectors_are_the_originals_in_batches_of_mixed_lengths(embedder: Embedder) -> None:
    texts = ids_of([*TEXTS, *random.Random(1).choices(TEXTS, k=40)])
    asked = Asked(embedder, texts)

    for tokens, vector in zip(texts, asked.vectors(), strict=True):
        assert vector @ embedding_model.vector(tokens) > SAME


def test_several_texts_are_computed_in_one_call(embedder: Embedder) -> None:
    before = embedder.stats().steps
    Asked(embedder, ids_of(["A short text."] * 100)).vectors()

    assert embedder.stats().steps - before < 50


def test_a_decoders_long_text_is_computed_in_parts_and_comes_out_the_same(
    decoder: Model, monkeypatch: pytest.MonkeyPatch
) -> None:
    texts = [decoder.tokenize(text, add_special=True, parse_special=False) for text in TEXTS]
    options = EmbedderOptions(longest=1024, requests=2, queue_limit=2, threads=2, step_seconds=0.1)
    assert (decoder.task, max(map(len, texts)) > embedding_context.PART_TOKENS) == ("embedding", True)

    def made() -> list[embedding_model.Floats]:
        embedder = Embedder(decoder, options)
        try:
            return Asked(embedder, texts).vectors()
        finally:
            embedder.close()

    in_parts = made()
    monkeypatch.setattr(embedding_context, "PART_TOKENS", 1024)
    monkeypatch.setattr(embedder_module, "_LEAST_TOKENS", 1024)
    monkeypatch.setattr(embedder_module, "_LEAST_BURST", 1024)
    whole = made()

    assert all(a @ b > SAME for a, b in zip(in_parts, whole, strict=True))
    assert in_parts[0] @ in_parts[1] < SAME


def test_a_head_scores_pairs_as_the_original_would(ranker_path: Path) -> None:
    model = Model.load(ranker_path)
    embedder = Embedder(model, OPTIONS)
    try:
        texts = ids_of(TEXTS)
        asked = Asked(embedder, texts)
        assert asked.done().finish_reason == "stop"
        scores = [float(asked.job.vectors[number][0]) for number in range(len(texts))]
    finally:
        embedder.close()
        model.close()

    assert model.task == "rerank"
    assert scores == pytest.approx([embedding_model.score(tokens) for tokens in texts], abs=0.01)


# ── whose turn it is ─────────────────────────────────────────────────────────────────────────────────────────────────


def job_of(owner: str, texts: int) -> TextsJob:
    return TextsJob([np.zeros(1, np.int32)] * texts, lambda _event: None, WAIT, owner)


def test_texts_are_taken_in_turns_of_owners_and_of_an_owners_requests() -> None:
    rotation = Rotation()
    many, few, others = job_of("ann", 5), job_of("ann", 1), job_of("bob", 2)
    for job in (many, few, others):
        rotation.add(job)

    taken = []
    while rotation.first is not None:
        taken.append(rotation.take())

    assert taken[:4] == [(many, 0), (others, 0), (few, 0), (others, 1)]
    assert taken[4:] == [(many, number) for number in range(1, 5)]


def test_a_request_of_one_text_does_not_wait_for_one_of_thousands(embedder: Embedder) -> None:
    large = Asked(embedder, ids_of([TEXTS[4]] * 1000))
    small = Asked(embedder, ids_of(["a"]))
    small.vectors()

    assert len(large.job.vectors) < 500
    embedder.cancel(large.job)
    assert large.done().finish_reason == "cancelled"


def test_who_leaves_has_the_rest_dropped(embedder: Embedder) -> None:
    asked = Asked(embedder, ids_of([TEXTS[4]] * 2000))
    embedder.cancel(asked.job)

    assert asked.done().finish_reason == "cancelled"
    assert len(asked.job.vectors) < 200
    assert (embedder.stats().running, embedder.stats().waiting) == (0, 0)


def test_what_takes_too_long_ends(embedder: Embedder) -> None:
    assert Asked(embedder, ids_of([TEXTS[4]] * 2000), timeout=0.2).done().finish_reason == "timeout"


def test_no_more_requests_wait_than_may(embedder: Embedder) -> None:
    with TURNS.take(lambda: None):  # so that none ends
        asked = [Asked(embedder, ids_of(["a"])) for _ in range(4)]
        with pytest.raises(QueueFull):
            Asked(embedder, ids_of(["a"]))
        assert (embedder.stats().running, embedder.stats().waiting) == (2, 2)
    for each in asked:
        each.vectors()


def test_a_step_is_shorter_where_a_chat_engine_works(embedder: Embedder, monkeypatch: pytest.MonkeyPatch) -> None:
    Asked(embedder, ids_of(["a"])).vectors()  # it has warmed up
    monkeypatch.setattr(embedder._pace, "tokens_in", lambda seconds: round(1000 * seconds))
    real, calls, over = EmbeddingContext.compute, [], threading.Event()

    def noted(context: EmbeddingContext, parts: list[embedding_context.Part]) -> None:
        calls.append(sum(len(part.tokens) for part in parts))
        real(context, parts)

    def take_turns() -> None:
        while not over.is_set():
            with TURNS.take(lambda: None):
                over.wait(0.001)

    monkeypatch.setattr(EmbeddingContext, "compute", noted)
    other = threading.Thread(target=take_turns)
    other.start()
    Asked(embedder, ids_of(["A short text."] * 40)).vectors()
    over.set()
    other.join()
    beside, calls[:] = calls[1:], []  # before the first one it was alone
    Asked(embedder, ids_of(["A short text."] * 80)).vectors()

    assert max(beside) <= 50
    assert max(calls) > 200


# ── what goes wrong ──────────────────────────────────────────────────────────────────────────────────────────────────


def test_a_call_that_fails_ends_its_requests_and_no_others(embedder: Embedder, monkeypatch: pytest.MonkeyPatch) -> None:
    Asked(embedder, ids_of(["a"])).vectors()  # it has warmed up
    real, failed = EmbeddingContext.compute, threading.Event()

    def fail_once(context: EmbeddingContext, parts: list[embedding_context.Part]) -> None:
        if not failed.is_set():
            failed.set()
            raise DecodeFailed("as the test wants it")
        real(context, parts)

    monkeypatch.setattr(EmbeddingContext, "compute", fail_once)
    with pytest.raises(EngineFailed):
        Asked(embedder, ids_of(["a"])).vectors()

    (vector,) = Asked(embedder, ids_of(["a"])).vectors()
    assert vector @ embedding_model.vector(embedding_model.token_ids("a")) > SAME


def test_the_end_tells_who_still_waits(minilm: Model) -> None:
    embedder = Embedder(minilm, OPTIONS)
    asked = Asked(embedder, ids_of([TEXTS[4]] * 2000))
    embedder.close()

    with pytest.raises(EngineClosed):
        asked.done()
    with pytest.raises(EngineClosed):
        Asked(embedder, ids_of(["a"]))
