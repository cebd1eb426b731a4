"""The head of the page says which model it is and how far it has loaded, whatever a model file calls itself."""

from __future__ import annotations

from dataclasses import replace
from pathlib import Path

from llm_core.backends.backend import LoadStatus
from llm_core.models.info import ModelInfo
from llm_core.page.header import header_html

READY = LoadStatus("ready", 1.0, "It is ready.")
INFO = ModelInfo(
    name="SmolLM2",
    source="bundled",
    path=Path("model.gguf"),
    revision=None,
    architecture="llama",
    quantization="Q4_1",
    parameters=135_000_000,
    size_bytes=98_000_000,
    context_train=8192,
    license="apache-2.0",
    has_chat_template=True,
    can_switch_thinking=False,
)


def test_a_model_that_is_ready_is_named_with_its_licence_and_nothing_else() -> None:
    html = header_html("Chat", READY, INFO)

    assert "SmolLM2 · apache-2.0" in html
    assert "notice" not in html


def test_the_form_that_it_is_computed_in_is_told_where_it_is_not_the_file_s() -> None:
    html = header_html("Chat", READY, replace(INFO, computed_as="Q8_0"))

    assert "SmolLM2 · apache-2.0 · Q4_1, computed as Q8_0" in html


def test_a_missing_licence_is_told() -> None:
    assert "SmolLM2 · no licence stated" in header_html("Chat", READY, replace(INFO, license=None))


def test_loading_shows_its_sentence_and_a_bar() -> None:
    html = header_html("Chat", LoadStatus("downloading", 0.25, "Downloading the model: 25 %"))

    assert "Downloading the model: 25 %" in html
    assert 'value="0.250"' in html


def test_a_failure_is_an_alert_with_its_reason_and_no_bar() -> None:
    html = header_html("Chat", LoadStatus("failed", 0.0, "There is no such file."))

    assert 'role="alert"' in html
    assert "There is no such file." in html
    assert "progress" not in html


def test_names_from_a_model_file_are_text_and_never_markup() -> None:
    html = header_html("Chat", READY, replace(INFO, name="<img src=x onerror=alert(1)>", license="<b>"))

    assert "<img" not in html
    assert "&lt;img src=x onerror=alert(1)&gt; · &lt;b&gt;" in html


def test_a_failures_reason_is_text_and_never_markup() -> None:
    assert "<script>" not in header_html("Chat", LoadStatus("failed", 0.0, "No file <script>.gguf"))


def test_what_people_should_know_of_the_model_and_of_their_conversations_is_said() -> None:
    fallback = LoadStatus("ready", 1.0, "It is ready.", notice="The bundled model serves <for now>.")
    html = header_html("Chat", fallback, INFO, storage="Kept until the restart.")

    assert "The bundled model serves &lt;for now&gt;." in html
    assert "Kept until the restart." in html
    assert "notice" not in header_html("Chat", READY, INFO)
