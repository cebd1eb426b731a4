"""The tables of what people read: each language has all of it, and nothing that nobody says."""

from __future__ import annotations

import re
from pathlib import Path

import pytest

import llm_core
from llm_core.errors import LLMError, error_of
from llm_core.texts.told import ENGLISH, LANGUAGES, PLACE, Forms, Text, english, table, told

PACKAGE = Path(llm_core.__file__).parent
# As Intl.PluralRules has them, but for what only a million has in French and Spanish.
PLURALS = {
    **{language: {"one", "other"} for language in ("en", "de", "fr", "es")},
    **{language: {"other"} for language in ("zh-CN", "ja")},
    "ar": {"zero", "one", "two", "few", "many", "other"},
}
OTHERS = [language for language in LANGUAGES if language != ENGLISH]


def places(forms: Forms) -> set[str]:
    return set(PLACE.findall(forms if isinstance(forms, str) else forms["other"]))


def test_each_file_is_of_a_language_of_the_page() -> None:
    assert {file.stem for file in (PACKAGE / "texts").glob("*.yaml")} == set(LANGUAGES) == set(PLURALS)


@pytest.mark.parametrize("language", OTHERS)
def test_a_language_has_the_same_texts_with_the_same_places(language: str) -> None:
    texts, model = table(language), table(ENGLISH)

    assert [*texts] == [*model]
    assert {key for key in model if places(texts[key]) != places(model[key])} == set()
    assert {key for key in model if isinstance(texts[key], str) != isinstance(model[key], str)} == set()


@pytest.mark.parametrize("language", LANGUAGES)
def test_a_text_with_a_number_has_a_form_for_each_plural_of_the_language(language: str) -> None:
    plural = {key: set(forms) for key, forms in table(language).items() if not isinstance(forms, str)}

    assert plural
    assert {key for key, forms in plural.items() if forms != PLURALS[language]} == set()


@pytest.mark.parametrize("language", LANGUAGES)
def test_no_text_is_empty_or_has_space_around_it(language: str) -> None:
    forms = [each for text in table(language).values() for each in ([text] if isinstance(text, str) else text.values())]

    assert all(isinstance(form, str) and form and form == form.strip() for form in forms)


def test_every_text_is_said_somewhere() -> None:
    """By its key, by the beginning of its key with what follows worked out, or as a widget's."""
    files = [*(PACKAGE / "page").rglob("*.py"), *(PACKAGE / "page").rglob("*.js"), PACKAGE / "figures.py"]
    code = "\n".join(file.read_text(encoding="utf-8") for file in files)
    begun = tuple(re.findall(r'["`](\w+\.\w*)\$?\{', code))
    silent = {key for key in table(ENGLISH) if f'"{key}"' not in code and not key.startswith(begun)}
    names = {key.removeprefix("widgets.").removesuffix("_info").removeprefix("example_") for key in silent}

    assert {name for name in names if f'"{name}"' not in code and f"'{name}'" not in code} == set()


def test_a_refusal_in_the_tables_has_the_code_of_an_error_or_is_the_page_s_own() -> None:
    codes = {key.partition(".")[2] for key in table(ENGLISH) if key.startswith("errors.")}

    assert {code for code in codes if type(error_of(code, "")) is LLMError} == {
        "internal_error",
        "stopped_early",
        "empty_message",
    }


@pytest.mark.parametrize(
    ("text", "said"),
    [
        ("As it is", "As it is"),
        (told("list.today"), "Today"),
        (told("reply.ahead", count=1), "Waiting: 1 request ahead of yours"),
        (told("reply.ahead", count=1200), "Waiting: 1,200 requests ahead of yours"),
        (told("models.size", size=98_400_000), "98.4 MB"),
        (told("header.loading", percent=0.25), "Loading the model: 25%"),
        (told("errors.queue_full", "All 64 places are taken."), "All 64 places are taken."),
    ],
)
def test_what_is_told_is_said_in_english_where_no_browser_says_it(text: Text, said: str) -> None:
    assert english(text) == said
