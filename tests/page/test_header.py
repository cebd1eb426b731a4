"""The head of the page says how far the model has loaded, whatever a model file calls itself."""

from __future__ import annotations

from llm_core.backends.backend import LoadStatus
from llm_core.page.header import header_html

READY = LoadStatus("ready", 1.0, "It is ready.")


def test_of_a_model_that_is_ready_there_is_nothing_to_say() -> None:
    assert "notice" not in header_html(READY)


def test_loading_shows_its_sentence_and_a_bar() -> None:
    html = header_html(LoadStatus("downloading", 0.25, "Downloading the model: 25 %"))

    assert "Downloading the model: 25 %" in html
    assert 'value="0.250"' in html


def test_a_failure_is_an_alert_with_its_reason_and_no_bar() -> None:
    html = header_html(LoadStatus("failed", 0.0, "There is no such file."))

    assert 'role="alert"' in html
    assert "There is no such file." in html
    assert "progress" not in html


def test_a_failures_reason_is_text_and_never_markup() -> None:
    assert "<script>" not in header_html(LoadStatus("failed", 0.0, "No file <script>.gguf"))


def test_what_people_should_know_of_the_model_and_of_their_conversations_is_said() -> None:
    fallback = LoadStatus("ready", 1.0, "It is ready.", notice="The bundled model serves <for now>.")
    html = header_html(fallback, storage="Kept until the restart.")

    assert "The bundled model serves &lt;for now&gt;." in html
    assert "Kept until the restart." in html
