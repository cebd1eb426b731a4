"""Ollama's routes of models, with its own client: on a real server and a hub on loopback."""

from __future__ import annotations

from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path
from typing import Any

import httpx
import ollama
import pytest

from llm_core.client import LLMClient
from llm_core.http.ollama.models import source_of
from tests.engine import random_model
from tests.engine.conftest import model_path as model_path
from tests.models.conftest import Hub, Repository
from tests.models.conftest import cache as cache
from tests.models.conftest import hub as hub
from tests.served import loaded_client, served
from tests.waiting import wait_until

pytestmark = pytest.mark.local_engine

SMOL, TINY = "SmolLM2-135M-Instruct", "tiny-Q4_K_M"
PULLED = "hf.co/makers/tiny-GGUF:q4_k_m"
HELLO: list[Any] = [{"role": "user", "content": "Say hello."}]
SHORT: dict[str, Any] = {"num_predict": 4}


@contextmanager
def server(folder: Path, **settings: Any) -> Iterator[tuple[LLMClient, str]]:
    with loaded_client(folder, **settings) as client, served(client) as url:
        yield client, url


@pytest.fixture
def repository(hub: Hub, cache: Path, model_path: Path, tmp_path: Path) -> Repository:
    """A real model with random weights, on the hub."""
    data = random_model.lfm2(model_path, tmp_path / "tiny.gguf").read_bytes()
    (tmp_path / "tiny.gguf").unlink()
    hub.repositories["makers/tiny-GGUF"] = Repository({"tiny-Q4_K_M.gguf": data})
    return hub.repositories["makers/tiny-GGUF"]


@pytest.fixture
def client(repository: Repository, tmp_path: Path) -> Iterator[LLMClient]:
    with loaded_client(tmp_path / "data") as client:
        yield client


@pytest.fixture
def url(client: LLMClient) -> Iterator[str]:
    with served(client) as url:
        yield url


@pytest.fixture
def llama(url: str) -> ollama.Client:
    return ollama.Client(host=url)


def names(llama: ollama.Client) -> list[str | None]:
    return [model.model for model in llama.list().models]


def test_what_is_served_is_listed_and_shown(llama: ollama.Client, url: str) -> None:
    first = llama.list().models[0]
    shown = llama.show(SMOL)

    assert first.model == f"{SMOL}:latest"
    assert first.size is not None
    assert first.size > 10**6
    assert len(first.digest or "") == 64
    assert first.details is not None
    assert shown.details == first.details
    assert (first.details.family, first.details.quantization_level, first.details.format) == ("llama", "Q4_1", "gguf")
    assert (first.details.parameter_size or "").endswith("M")
    assert (shown.license, shown.capabilities) == ("apache-2.0", ["completion", "tools"])
    assert shown.modelinfo is not None
    assert shown.modelinfo["llama.context_length"] == 8192
    assert llama.show(f"{SMOL}:latest") == shown
    (running,) = llama.ps().models
    assert running.model == f"{SMOL}:latest"
    assert (running.size or 0) > first.size, "its weights, and room for conversations"
    assert (running.size_vram, running.context_length) == (0, 1024)
    assert httpx.get(f"{url}api/version").json()["version"].count(".") == 2


def test_a_model_must_be_named(url: str) -> None:
    for body in ({}, {"name": ""}):
        answer = httpx.post(f"{url}api/show", json=body)
        assert (answer.status_code, answer.json()) == (400, {"error": "model: which model is missing."})
    assert httpx.post(f"{url}api/show", json={"name": SMOL}).is_success


def test_clients_that_probe_the_server_find_it(url: str) -> None:
    for path in ("", "api/tags", "api/version"):
        assert httpx.head(f"{url}{path}").status_code == 200, path


def test_a_model_is_pulled_asked_unloaded_loaded_and_deleted(
    llama: ollama.Client, client: LLMClient, cache: Path
) -> None:
    steps = list(llama.pull(PULLED, stream=True))
    assert steps[-1].status == "success"
    assert all(0 <= (step.completed or 0) <= (step.total or 0) for step in steps)
    assert [step.status for step in llama.pull(PULLED, stream=True)] == ["success"]
    (tiny,) = set(names(llama)) - {f"{SMOL}:latest"}

    for name in (tiny, PULLED, (tiny or "").removesuffix(":latest")):
        reply = llama.chat(name, messages=HELLO, options=SHORT)
        assert f"{reply.model}:latest" == tiny
    gone = llama.generate(PULLED, keep_alive=0)
    assert (gone.response, gone.done, gone.done_reason) == ("", True, "unload")
    wait_until(lambda: len(llama.ps().models) == 1, "it has left")
    there = llama.chat(PULLED)
    assert (there.message.content, there.done, there.done_reason) == ("", True, "load")
    assert len(llama.ps().models) == 2

    assert llama.delete(PULLED).status == "success"
    assert names(llama) == [f"{SMOL}:latest"]
    assert not list(cache.rglob("*.gguf"))


def test_a_pull_that_is_not_streamed_ends_with_the_model(llama: ollama.Client) -> None:
    assert llama.pull(PULLED).status == "success"
    assert llama.pull(SMOL).status == "success"


@pytest.mark.parametrize("streaming", [False, True], ids=["whole", "streaming"])
def test_a_pull_that_fails_is_an_error(llama: ollama.Client, hub: Hub, streaming: bool) -> None:
    hub.sends_damaged = True
    with pytest.raises(ollama.ResponseError, match="damaged"):
        list(llama.pull(PULLED, stream=streaming))  # type: ignore[call-overload]


@pytest.mark.parametrize(
    ("name", "source"),
    [
        ("hf.co/a/b", "hf:a/b"),
        ("hf.co/a/b:latest", "hf:a/b"),
        ("https://huggingface.co/a/b:Q8_0", "hf:a/b:*[qQ]8_0*.gguf"),
        ("hf.co/a/b:b-Q8_0.gguf", "hf:a/b:b-Q8_0.gguf"),
        ("hf:a/b:*Q8*@main", "hf:a/b:*Q8*@main"),
        ("llama3.2", None),
        ("hf.co/a", None),
        ("/etc/passwd", None),
    ],
)
def test_names_of_the_hub(name: str, source: str | None) -> None:
    assert source_of(name) == source


def test_an_unknown_model_is_not_found(llama: ollama.Client) -> None:
    for ask in (llama.show, llama.delete):
        with pytest.raises(ollama.ResponseError, match="model 'nobody' not found") as missing:
            ask("nobody")
        assert missing.value.status_code == 404
    with pytest.raises(ollama.ResponseError, match=r"hf\.co/OWNER/REPO") as refused:
        llama.pull("llama3.2")
    assert refused.value.status_code == 400


def test_where_there_are_several_models_an_unknown_one_is_not_found(
    repository: Repository, tmp_path: Path, cache: Path
) -> None:
    with server(tmp_path / "data", model="bundled,hf:makers/tiny-GGUF") as (_, url):
        llama = ollama.Client(host=url)
        for streaming in (False, True):
            with pytest.raises(ollama.ResponseError, match="nobody") as missing:
                list(llama.chat("nobody", messages=HELLO, stream=streaming))  # type: ignore[call-overload]
            assert missing.value.status_code == 404
        assert llama.chat(f"{SMOL}:latest", messages=HELLO, options=SHORT).model == SMOL


def test_who_may_not_administer_is_refused(repository: Repository, tmp_path: Path) -> None:
    with server(tmp_path / "data", api_tokens="ann:secret", admin_tokens="root:master") as (_, url):
        ann, root = (
            ollama.Client(host=url, headers={"Authorization": f"Bearer {token}"}) for token in ("secret", "master")
        )
        for ask in (lambda: ann.pull(PULLED), lambda: ann.delete(SMOL), lambda: ann.generate(SMOL, keep_alive="0s")):
            with pytest.raises(ollama.ResponseError, match="LLM_ADMIN_TOKENS") as refused:
                ask()
            assert refused.value.status_code == 403
        assert ann.generate(SMOL).done_reason == "load"
        assert root.pull(PULLED).status == "success"
        assert len(names(ann)) == 2
