"""A model that makes vectors beside one that writes: both work on, share the memory, and leave and come back."""

from __future__ import annotations

from collections.abc import Iterator
from concurrent.futures import ThreadPoolExecutor
from pathlib import Path
from typing import Any

import pytest

from llm_core.backends.remote.engines import remote_info
from llm_core.client import LLMClient
from llm_core.errors import InvalidRequest, ModelError, SettingsError
from llm_core.settings import Settings
from tests.embedding_model import minilm_path as minilm_path
from tests.waiting import wait_until

CHAT, EMBEDS = "SmolLM2-135M-Instruct", "minilm"
MIB = 1 << 20
HELLO = [{"role": "user", "content": "Say hello."}]
LONG = "The quick brown fox jumps over the lazy dog. " * 45

pytestmark = pytest.mark.local_engine


@pytest.fixture
def both(minilm_path: Path, tmp_path: Path) -> dict[str, Any]:
    return {
        "model": f"bundled, {minilm_path}",
        "parallel": 2,
        "context_tokens": 512,
        "kv_host_mb": 0,
        "system_prompt": "",
        "data_dir": tmp_path,
    }


@pytest.fixture
def client(both: dict[str, Any]) -> Iterator[LLMClient]:
    with LLMClient(Settings(**both)) as client:
        yield client


def test_a_chat_goes_on_while_vectors_are_made(client: LLMClient) -> None:
    client.wait_ready()
    client.embed("a")
    with ThreadPoolExecutor(1) as pool:
        embedding = pool.submit(client.embed, [LONG] * 30)
        wait_until(lambda: client.models.member(EMBEDS).replies == 1, "it has begun")
        reply = client.chat(HELLO, max_tokens=4, temperature=0)
        was_done = embedding.done()
        made = embedding.result()

    assert reply.usage.completion_tokens > 1
    assert not was_done
    assert made.vectors.shape == (30, 384)


def test_a_bound_that_holds_one_of_them_has_them_take_the_memory_in_turns(both: dict[str, Any]) -> None:
    with LLMClient(Settings(**both)) as client:
        needs = [entry.need_bytes or 0 for entry in client.catalog.entries() if entry.name in (CHAT, EMBEDS)]
    bound = max(needs) // MIB + 20
    assert sum(needs) > bound * MIB

    with LLMClient(Settings(**both, memory_mb=bound)) as client:
        for _ in range(2):
            assert client.chat(HELLO, max_tokens=1).model == CHAT
            assert client.models.member(EMBEDS).state == "absent"
            assert client.embed("a").model == EMBEDS
            assert client.models.member(CHAT).state == "absent"
            assert sum(member.reserved for member in client.models.members) <= bound * MIB


def test_too_little_memory_is_said(both: dict[str, Any], minilm_path: Path) -> None:
    alone = both | {"model": str(minilm_path)}
    with LLMClient(Settings(**alone, memory_mb=100)) as client, pytest.raises(ModelError, match=r"minilm.gguf needs"):
        client.embed("a")


def test_one_that_nobody_asks_for_leaves_and_comes_back(both: dict[str, Any]) -> None:
    with LLMClient(Settings(**both, model_idle_minutes=0.005)) as client:
        first = client.embed("a").vectors
        wait_until(lambda: client.models.member(EMBEDS).state == "absent", "it has left")

        assert client.embed("a").vectors == pytest.approx(first, abs=1e-3)


def test_what_it_is_for_is_known_before_it_is_loaded(client: LLMClient) -> None:
    assert [member.task for member in client.models.members] == ["chat", "embedding"]
    with pytest.raises(InvalidRequest, match="is an embedding model"):
        client.chat(HELLO, model=EMBEDS)
    with pytest.raises(InvalidRequest, match="is a chat model"):
        client.embed("a", model=CHAT)

    assert [member.state for member in client.models.members] == ["absent", "absent"]


def test_one_that_stands_alone_says_what_to_do(both: dict[str, Any], minilm_path: Path) -> None:
    with LLMClient(Settings(**both | {"model": str(minilm_path)})) as client:
        assert client.wait_ready().task == "embedding"
        with pytest.raises(InvalidRequest, match="Serve a chat model beside it: LLM_MODEL takes several"):
            client.chat(HELLO)
        client.clear_cache()  # there is none
        client.models.forget("ann", "one")


def test_adapters_are_refused(both: dict[str, Any], minilm_path: Path) -> None:
    adapter = both["data_dir"] / "adapter.gguf"
    adapter.write_bytes(b"GGUF")
    with (
        LLMClient(Settings(**both | {"model": str(minilm_path), "lora": f"law={adapter}"})) as client,
        pytest.raises(SettingsError, match="has no adapters"),
    ):
        client.embed("a")


@pytest.mark.parametrize(
    ("told", "task"),
    [("embedding", "embedding"), ("rerank", "rerank"), ("text-generation", None), (None, None), ([], None)],
)
def test_an_engine_elsewhere_may_say_what_its_model_is_for(told: Any, task: str | None) -> None:
    assert remote_info("http://gpu:8000", {"id": "x", "task": told}).task == task
