"""What people can choose: served, on this machine, and named by whom."""

from __future__ import annotations

import shutil
import subprocess
import sys
from concurrent.futures import ThreadPoolExecutor
from pathlib import Path
from typing import Any

import pytest

from llm_core.backends import pool
from llm_core.client import LLMClient
from llm_core.errors import InvalidRequest, ModelError, ModelNotFound
from llm_core.settings import Settings
from tests.engine import random_model
from tests.engine.conftest import model_path as model_path
from tests.models.conftest import cache as cache
from tests.models.conftest import hub as hub
from tests.waiting import wait_until

HELLO = [{"role": "user", "content": "Say hello."}]

pytestmark = pytest.mark.local_engine


@pytest.fixture
def settings(model_path: Path, cache: Path, tmp_path: Path) -> dict[str, Any]:
    """Those of a server with a folder of models: one that can be used, and one that cannot."""
    folder = tmp_path / "models"
    (folder / "sub").mkdir(parents=True)
    random_model.lfm2(model_path, folder / "sub" / "tiny-Q8_0.gguf")
    (folder / "broken.gguf").write_bytes(b"GGUF" + bytes(100))
    return {"models_dir": folder, "parallel": 1, "context_tokens": 512, "data_dir": tmp_path}


def test_what_lies_in_the_folder_can_be_chosen_by_its_name(settings: dict[str, Any]) -> None:
    with LLMClient(Settings(**settings)) as client:
        entries = {entry.name: entry for entry in client.catalog.entries()}

        assert client.catalog.entries()[0].is_default
        assert (entries["tiny"].state, entries["tiny"].is_served, entries["tiny"].fit) == ("here", False, "fits")
        assert entries["broken"].state == "failed"
        assert client.chat(HELLO, model="tiny", max_tokens=2).model == "tiny"
        assert client.catalog.entry("tiny").state == "ready"


@pytest.mark.parametrize("others", [{"api_tokens": "ann:secret"}, {"admin_tokens": "root:x"}, {"public": True}])
def test_where_others_can_call_only_what_is_served_can_be_named(
    settings: dict[str, Any], others: dict[str, Any]
) -> None:
    with LLMClient(Settings(**settings | others | {"model": "bundled,bundled2.gguf"})) as client:
        with pytest.raises(ModelNotFound):
            client.chat(HELLO, model="tiny")
        client.catalog.load("tiny")  # who may has it served
        assert client.chat(HELLO, model="tiny", max_tokens=2).model == "tiny"


def test_a_file_that_is_gone_since_the_last_look_at_the_folder_is_left_out(settings: dict[str, Any]) -> None:
    with LLMClient(Settings(**settings)) as client:
        assert "tiny" in {entry.name for entry in client.catalog.entries()}
        (settings["models_dir"] / "sub" / "tiny-Q8_0.gguf").unlink()

        assert "tiny" not in {entry.name for entry in client.catalog.entries()}


def test_a_model_that_could_not_be_loaded_is_tried_again_a_while_later(
    settings: dict[str, Any], monkeypatch: pytest.MonkeyPatch
) -> None:
    file = settings["models_dir"] / "sub" / "tiny-Q8_0.gguf"
    with LLMClient(Settings(**settings | {"model": f"bundled,{file}"})) as client:
        file.rename(file.with_suffix(".away"))
        with pytest.raises(ModelError, match="There is no file"):
            client.chat(HELLO, model="tiny")
        file.with_suffix(".away").rename(file)
        with pytest.raises(ModelError, match="There is no file"):  # nobody has it looked for with every request
            client.chat(HELLO, model="tiny")

        monkeypatch.setattr(pool, "_RETRY_SECONDS", 0)
        assert client.chat(HELLO, model="tiny", max_tokens=2).model == "tiny"


def test_a_default_model_that_could_not_be_loaded_is_tried_again_by_who_waits_for_it(
    settings: dict[str, Any], monkeypatch: pytest.MonkeyPatch
) -> None:
    file = settings["models_dir"] / "later.gguf"
    monkeypatch.setattr(pool, "_RETRY_SECONDS", 0)
    with LLMClient(Settings(**settings | {"model": str(file)})) as client:
        with pytest.raises(ModelError, match="There is no file"):
            client.wait_ready()
        shutil.copy(settings["models_dir"] / "sub" / "tiny-Q8_0.gguf", file)

        assert client.wait_ready().name


def test_a_model_that_could_not_be_loaded_is_listed_once(settings: dict[str, Any]) -> None:
    with LLMClient(Settings(**settings)) as client:
        with pytest.raises(ModelError):
            client.chat(HELLO, model="broken")

        assert [entry.state for entry in client.catalog.entries() if entry.name == "broken"] == ["failed"]


def test_a_model_of_the_folder_is_removed_with_its_file_and_others_are_not(settings: dict[str, Any]) -> None:
    with LLMClient(Settings(**settings)) as client:
        client.chat(HELLO, model="tiny", max_tokens=2)

        assert client.catalog.remove("tiny") > 0
        assert "tiny" not in {entry.name for entry in client.catalog.entries()}
        with pytest.raises(InvalidRequest, match="default model"):
            client.catalog.remove("SmolLM2-135M-Instruct")


def test_a_model_that_is_being_loaded_is_removed_when_that_is_over(settings: dict[str, Any]) -> None:
    file = settings["models_dir"] / "sub" / "tiny-Q8_0.gguf"
    with LLMClient(Settings(**settings)) as client, ThreadPoolExecutor(1) as threads:
        with client.models._memory._loading:
            member = client.catalog.load("tiny")
            removing = threads.submit(client.catalog.remove, "tiny")
            wait_until(lambda: member.is_leaving, "it is told to leave")
            assert file.exists()
        assert removing.result(60) > 0

    assert not file.exists()


def test_a_model_elsewhere_on_the_disk_is_not_removed(settings: dict[str, Any], tmp_path: Path) -> None:
    elsewhere = tmp_path / "mine.gguf"
    shutil.copy(settings["models_dir"] / "sub" / "tiny-Q8_0.gguf", elsewhere)
    with LLMClient(Settings(**settings | {"model": f"bundled,{elsewhere}"})) as client:
        with pytest.raises(InvalidRequest, match="not removed"):
            client.catalog.remove("mine")
        assert client.chat(HELLO, model="mine", max_tokens=2).model == "mine"
    assert elsewhere.exists()


def test_the_hub_s_library_is_imported_where_it_is_needed_and_not_by_every_program() -> None:
    program = "import sys, llm_core.client; print('huggingface_hub' in sys.modules)"
    said = subprocess.run([sys.executable, "-c", program], capture_output=True, text=True, check=True, timeout=60)

    assert said.stdout.split() == ["False"]
