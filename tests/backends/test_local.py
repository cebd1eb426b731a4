"""The model in this process: which file is computed with."""

from __future__ import annotations

from pathlib import Path

import pytest

from llm_core.client import LLMClient
from llm_core.engine.llama import prepared
from llm_core.engine.llama.prepared import Speed
from llm_core.settings import Settings


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
