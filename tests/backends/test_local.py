"""The model in this process: which file is computed with."""

from __future__ import annotations

import threading
from pathlib import Path
from typing import Any

import pytest
from huggingface_hub import constants

from llm_core.backends import local
from llm_core.backends.local import LocalBackend
from llm_core.client import LLMClient
from llm_core.engine.llama import prepared
from llm_core.engine.llama.prepared import Speed
from llm_core.errors import EngineClosed
from llm_core.models.source import ResolvedModel
from llm_core.settings import Settings
from tests.models.conftest import Hub, Repository, gguf
from tests.models.conftest import cache as cache
from tests.models.conftest import hub as hub
from tests.waiting import wait_until


@pytest.fixture
def settings(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Settings:
    monkeypatch.setattr(prepared, "time_both", lambda *_: (Speed(0.2, 0.01), Speed(0.1, 0.01)))
    return Settings(prepare="auto", parallel=1, context_tokens=512, data_dir=tmp_path)


def computed_with(settings: Settings) -> tuple[str | None, str]:
    """The form that the model runs in, and what it says."""
    with LLMClient(settings) as client:
        info = client.wait_ready()
        assert info.quantization == "Q4_1"
        assert str(info.path).endswith("Q4_1.gguf")
        return info.computed_as, client.chat([{"role": "user", "content": "Say hello."}], temperature=0, max_tokens=8)


def test_the_faster_copy_is_computed_with_and_said(settings: Settings) -> None:
    form, text = computed_with(settings)

    assert (form, bool(text)) == ("Q8_0", True)
    assert len(list((settings.data_dir / "prepared").glob("*.gguf"))) == 1
    assert computed_with(settings.model_copy(update={"prepare": "off"}))[0] is None


def test_a_copy_that_cannot_be_loaded_is_made_anew_at_the_next_start(settings: Settings) -> None:
    computed_with(settings)
    (copy,) = (settings.data_dir / "prepared").glob("*.gguf")
    copy.write_bytes(bytes(copy.stat().st_size))

    assert computed_with(settings)[0] is None
    assert not copy.exists()
    assert computed_with(settings)[0] == "Q8_0"


def is_loading(backend: LocalBackend) -> bool:
    return backend._thread is not None and backend._thread.is_alive()


def test_closing_does_not_wait_for_a_hub_that_sends_nothing_any_more(
    hub: Hub, cache: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(constants, "HF_HUB_DOWNLOAD_TIMEOUT", 600)
    hub.repositories["o/tiny"] = Repository({"tiny.gguf": gguf()})
    hub.holds_after = 500
    backend = LocalBackend(Settings(model="hf:o/tiny", fallback=False, data_dir=tmp_path))
    waited_for = backend.start()
    wait_until(lambda: hub.bytes_sent > 0, "the download has begun")

    closing = threading.Thread(target=backend.close, daemon=True)
    closing.start()
    wait_until(lambda: not closing.is_alive(), "it is closed")
    with pytest.raises(EngineClosed):
        waited_for.result(0)
    hub.go_on.set()
    wait_until(lambda: not is_loading(backend), "the thread that was left behind ends when bytes come")


def test_a_download_that_ends_after_all_when_its_client_is_closed_is_not_loaded(
    hub: Hub, cache: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    resolve, is_here, may_go_on = local.resolve, threading.Event(), threading.Event()

    def resolve_late(*args: Any, **options: Any) -> ResolvedModel:
        resolved = resolve(*args, **options)
        is_here.set()
        assert may_go_on.wait(60)
        return resolved

    monkeypatch.setattr(local, "resolve", resolve_late)
    read = list[Path]()
    monkeypatch.setattr(local, "read_model_header", read.append)
    hub.repositories["o/tiny"] = Repository({"tiny.gguf": gguf()})
    backend = LocalBackend(Settings(model="hf:o/tiny", fallback=False, data_dir=tmp_path))
    backend.start()
    assert is_here.wait(60)
    backend.close()
    may_go_on.set()

    wait_until(lambda: not is_loading(backend), "its thread ends")
    assert (read, backend.status().state) == ([], "failed")
