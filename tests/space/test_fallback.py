"""A model that cannot be downloaded: on a Space the bundled one answers, and says so."""

from __future__ import annotations

from pathlib import Path

import pytest

from llm_core.backends.local import LocalBackend
from llm_core.client import LLMClient
from llm_core.errors import ModelError
from llm_core.models.served import BUNDLED_NAME
from llm_core.settings import Settings
from tests.engine import random_model
from tests.engine.conftest import model_path as model_path
from tests.models.conftest import Hub, Repository
from tests.models.conftest import cache as cache
from tests.models.conftest import hub as hub  # the Hub of models, in place of the one of Spaces
from tests.waiting import wait_until

HELLO = [{"role": "user", "content": "Say hello."}]


def loaded(**settings: object) -> LocalBackend:
    backend = LocalBackend(Settings(parallel=1, **settings))  # type: ignore[arg-type]
    try:
        backend.start().result(60)
    finally:
        backend.close()
    return backend


def test_the_bundled_model_answers_and_says_why(hub: Hub, cache: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("SPACE_ID", "owner/name")

    status = loaded(model="hf:o/none", context_tokens=1_000_000).status()

    assert status.state == "ready"
    assert status.notice == (
        "The bundled model answers in place of hf:o/none, until a restart. "
        "There is no repository o/none on the Hub, or it is private and HF_TOKEN does not open it."
    )


def test_elsewhere_it_is_an_error(hub: Hub, cache: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.delenv("SPACE_ID", raising=False)

    with pytest.raises(ModelError, match="There is no repository o/none"):
        loaded(model="hf:o/none")


def test_a_file_that_is_not_there_is_an_error_on_a_space_too(tmp_path: Path) -> None:
    with pytest.raises(ModelError, match="There is no file"):
        loaded(model=str(tmp_path / "a.gguf"), fallback=True)


def test_where_nothing_went_wrong_there_is_nothing_to_say() -> None:
    assert loaded(fallback=True, context_tokens=512).status().notice == ""


def test_until_the_model_is_there_the_bundled_one_answers(
    hub: Hub, cache: Path, model_path: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setenv("SPACE_ID", "owner/name")
    tiny = random_model.lfm2(model_path, tmp_path / "tiny.gguf").read_bytes()
    hub.repositories["o/tiny"] = Repository({"tiny.gguf": tiny})
    hub.holds_after = len(tiny) // 2
    settings = Settings(model="hf:o/tiny:tiny.gguf", parallel=1, context_tokens=512, data_dir=tmp_path)
    with LLMClient(settings) as client:
        client.start()
        wait_until(lambda: client.status().state == "downloading", "it is on its way")

        assert client.chat(HELLO, max_tokens=2).model == BUNDLED_NAME
        hub.go_on.set()
        client.wait_ready(60)
        assert client.chat(HELLO, max_tokens=2).model == "tiny"
