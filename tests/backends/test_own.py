"""What a model has of its own, from the settings to the reply: adapters, a chat template, biases of tokens."""

from __future__ import annotations

from collections.abc import Iterator
from pathlib import Path
from typing import Any

import httpx
import pytest

from llm_core.client import LLMClient
from llm_core.errors import InvalidRequest, ModelError, SessionNotFound, SettingsError
from llm_core.settings import Settings
from tests.engine import random_model
from tests.engine.conftest import model_path as model_path
from tests.models.gguf_file import model_file
from tests.served import loaded_client, served

HELLO = [{"role": "user", "content": "Tell me about the sea."}]
COUNT = "1, 2, 3, 4, 5, 6,"

pytestmark = pytest.mark.local_engine


@pytest.fixture(scope="module")
def adapters(tmp_path_factory: pytest.TempPathFactory) -> str:
    """As in `LLM_LORA`: one that applies unless a request says otherwise, and one that does where a request does."""
    folder = tmp_path_factory.mktemp("adapters")
    law, poems = (random_model.lora(folder / f"{name}.gguf", seed=seed) for seed, name in enumerate(("law", "poems")))
    return f"law={law}, poems={poems}:0"


@pytest.fixture(scope="module")
def client(adapters: str, tmp_path_factory: pytest.TempPathFactory) -> Iterator[LLMClient]:
    folder = tmp_path_factory.mktemp("data")
    with loaded_client(folder, lora=adapters, max_tokens=12, temperature=0, context_tokens=512) as client:
        yield client


@pytest.fixture(scope="module")
def http(client: LLMClient) -> Iterator[httpx.Client]:
    with served(client) as url, httpx.Client(base_url=url, timeout=120) as http:
        yield http


def settings(tmp_path: Path, **own: Any) -> Settings:
    return Settings(parallel=1, context_tokens=256, temperature=0, max_tokens=4, data_dir=tmp_path, **own)


# ── adapters ─────────────────────────────────────────────────────────────────────────────────────────────────────────


@pytest.fixture(scope="module")
def plain(client: LLMClient) -> str:
    return client.generate(HELLO, lora=[])


@pytest.fixture(scope="module")
def law(client: LLMClient) -> str:
    return client.generate(HELLO, lora=[{"name": "law"}])


def test_who_asks_for_none_gets_those_that_the_operator_has_chosen(client: LLMClient, law: str, plain: str) -> None:
    assert client.generate(HELLO) == law
    assert law != plain


@pytest.mark.parametrize(
    "lora", [[{"name": "law", "scale": 0}], [{"id": 0, "scale": 0}, {"name": "poems", "scale": 0}]]
)
def test_a_scale_of_0_is_as_good_as_none(client: LLMClient, plain: str, lora: list[dict[str, Any]]) -> None:
    assert client.generate(HELLO, lora=lora) == plain


def test_who_asks_for_one_gets_no_other(client: LLMClient, plain: str, law: str) -> None:
    poems = client.generate(HELLO, lora=[{"name": "poems"}])
    both = client.generate(HELLO, lora=[{"name": "poems"}, {"name": "law"}])
    assert len({plain, law, poems, both}) == 4


@pytest.mark.parametrize("path", ["api/llm/chat", "v1/chat/completions"])
@pytest.mark.parametrize("one", [{"name": "poems"}, {"id": 1}, {"id": 1, "scale": 1.0}], ids=str)
def test_over_http_too_by_name_and_as_llama_server_has_it(
    client: LLMClient, http: httpx.Client, path: str, one: dict[str, Any]
) -> None:
    answer = http.post(path, json={"messages": HELLO, "lora": [one]}).json()
    text = answer["content"] if path.startswith("api") else answer["choices"][0]["message"]["content"]
    assert text == client.generate(HELLO, lora=[{"name": "poems"}])


@pytest.mark.parametrize("path", ["api/llm/chat", "v1/chat/completions"])
@pytest.mark.parametrize("stream", [False, True])
def test_a_name_that_the_model_does_not_have_is_refused_with_those_that_it_has(
    http: httpx.Client, path: str, stream: bool
) -> None:
    asked = {"messages": HELLO, "lora": [{"name": "prose"}]}
    streamed = {"stream": True} if path.startswith("v1") and stream else {}
    answer = http.post(path + "/stream" * (stream and not streamed), json=asked | streamed)

    error = answer.json()["error"]
    assert (answer.status_code, error["param"]) == (400, "lora")
    assert "'prose'. There is: law, poems." in error["message"]


def test_a_session_is_not_begun_with_a_name_that_is_refused(client: LLMClient) -> None:
    with pytest.raises(InvalidRequest, match="'prose'"):
        client.chat_session("refused", "Hello", lora=[{"name": "prose"}])
    with pytest.raises(SessionNotFound):
        client.session_history("refused")


def test_a_session_goes_on_under_whatever_adapters_its_turns_ask_for(client: LLMClient, plain: str, law: str) -> None:
    assert client.chat_session("sea", HELLO[0]["content"], lora=[]).content == plain
    assert client.chat_session("sea", "And the moon?", lora=[{"name": "poems"}]).content
    assert client.chat_session("other", HELLO[0]["content"]).content == law


def test_an_adapter_of_another_model_is_refused_when_the_model_is_loaded(tmp_path: Path) -> None:
    path = random_model.lora(tmp_path / "x.gguf", architecture="qwen2")
    with (
        LLMClient(settings(tmp_path, lora=f"x={path}")) as client,
        pytest.raises(ModelError, match=r"x\.gguf is no adapter of"),
    ):
        client.wait_ready()


def test_adapters_are_of_the_memory_that_models_share(tmp_path: Path) -> None:
    def reserved(**own: Any) -> int:
        with LLMClient(settings(tmp_path, kv_host_mb=0, **own)) as client:
            client.wait_ready()
            return client.models.members[0].reserved

    path = random_model.lora(tmp_path / "x.gguf")
    assert reserved(lora=f"x={path}") - reserved() == path.stat().st_size


# ── a chat template ──────────────────────────────────────────────────────────────────────────────────────────────────


def test_the_operators_template_writes_the_prompt(tmp_path: Path) -> None:
    path = tmp_path / "plain.jinja"
    path.write_text("{{ messages[-1].content }}{% if enable_thinking %} {% endif %}")
    with LLMClient(settings(tmp_path, chat_template=path)) as client:
        info = client.wait_ready()
        usage = client.chat([{"role": "user", "content": COUNT}]).usage

    assert (info.has_chat_template, info.can_switch_thinking) == (True, True)
    assert usage.prompt_tokens == len(COUNT), "each sign is a token, and there is nothing else"


def test_a_template_that_fails_is_refused_when_the_model_is_loaded(tmp_path: Path) -> None:
    path = tmp_path / "bad.jinja"
    path.write_text("{{ messages[0].role }}")
    with (
        LLMClient(settings(tmp_path, chat_template=path)) as client,
        pytest.raises(ModelError, match=r"bad\.jinja cannot be used: .*leaves out what the user says"),
    ):
        client.wait_ready()


def test_a_model_that_is_not_loaded_yet_is_told_to_have_one(tmp_path: Path) -> None:
    (tmp_path / "bare.gguf").write_bytes(model_file())
    (tmp_path / "own.jinja").write_text("{{ messages }}")
    own = f"models:\n  - source: bundled\n  - source: {tmp_path}/bare.gguf\n    chat_template: {tmp_path}/own.jinja\n"
    (tmp_path / "models.yaml").write_text(own)
    with LLMClient(settings(tmp_path, models=tmp_path / "models.yaml")) as client:
        info = client.catalog.entry("bare").info
        assert info is not None
        assert info.has_chat_template


# ── biases ───────────────────────────────────────────────────────────────────────────────────────────────────────────


def test_the_operators_biases_are_those_of_requests_that_bring_none(tmp_path: Path) -> None:
    with LLMClient(settings(tmp_path, logit_bias="33=100")) as client:
        biased = client.generate(HELLO)
        assert biased == client.generate(HELLO, logit_bias={33: 100})
        assert client.generate(HELLO, logit_bias={}) != biased
        assert client.generate(HELLO, logit_bias={34: 100}) != biased


def test_a_bias_of_a_token_that_there_is_not_is_refused_when_the_model_is_loaded(tmp_path: Path) -> None:
    with (
        LLMClient(settings(tmp_path, logit_bias="49152=1")) as client,
        pytest.raises(SettingsError, match=r"names the token 49152; those of .* go from 0 to 49151"),
    ):
        client.wait_ready()
