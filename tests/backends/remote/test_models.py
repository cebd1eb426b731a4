"""Engines elsewhere that have several models, and one beside a model of this process."""

from __future__ import annotations

from collections.abc import Callable
from pathlib import Path
from typing import Any

import pytest

from llm_core.client import LLMClient
from llm_core.settings import Settings
from tests.backends.fake_engine import FakeEngine
from tests.waiting import wait_until

HELLO = [{"role": "user", "content": "Say hello."}]


def test_each_model_of_an_engine_can_be_named(engine: FakeEngine, make_client: Callable[..., LLMClient]) -> None:
    engine.others = ("big-model", "org/other:tag")
    client = make_client(engine)
    client.wait_ready(60)
    wait_until(lambda: len(client.models.members) == 3, "the others are served too")

    replies = [client.chat(HELLO, model=name).model for name in ("", "big-model", "org/other:tag")]

    assert replies == [engine.model, "big-model", "org/other:tag"]
    assert [asked.body["model"] for asked in engine.asked] == replies
    assert client.chat(HELLO, model="whatever").model == engine.model


def test_a_model_of_an_ollama_elsewhere_can_be_named_without_its_tag(
    engine: FakeEngine, make_client: Callable[..., LLMClient]
) -> None:
    engine.others = ("mistral:latest", "llama3:8b")
    client = make_client(engine)
    client.wait_ready(60)
    wait_until(lambda: len(client.models.members) == 3, "the others are served too")

    assert client.chat(HELLO, model="mistral").model == "mistral:latest"
    assert client.chat(HELLO, model="llama3").model == engine.model  # which of its tags is meant, nobody has said


@pytest.mark.local_engine
def test_a_model_here_and_one_elsewhere_are_served_side_by_side(engine: FakeEngine, tmp_path: Path) -> None:
    path = tmp_path / "models.yaml"
    path.write_text(
        f"models: [{{source: bundled}}, {{source: {engine.model}, server_url: ['{engine.url}'], name: far}}]"
    )
    settings: dict[str, Any] = {"parallel": 1, "context_tokens": 512, "data_dir": tmp_path, "models": path}
    with LLMClient(Settings(**settings)) as client:
        here, there = (client.chat(HELLO, model=name, max_tokens=4) for name in ("SmolLM2-135M-Instruct", "far"))

    assert (here.model, there.model) == ("SmolLM2-135M-Instruct", "far")
    assert there.content == "Hello there"
