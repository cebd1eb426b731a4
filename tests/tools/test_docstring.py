"""Docstrings in Google's style: what a function does, and what its arguments are."""

from __future__ import annotations

import inspect

import pytest
from hypothesis import given
from hypothesis import strategies as st

from llm_core.tools.docstring import Described, described

WHOLE = inspect.cleandoc(
    """Looks up the weather.

    Also tomorrow's.

    Args:
        city: Its name: as people
            write it.
        unit (str, optional): `c` or `f`.
        limits (dict(str, tuple[int, int])): Both ends.
        *rest: Not looked at.

        days: How many.

    Returns:
        temperature: In degrees.

    Raises:
        ValueError: There is no such city.
    """
)


def test_what_stands_before_the_sections_says_what_the_function_does() -> None:
    assert described(WHOLE).about == "Looks up the weather.\n\nAlso tomorrow's."


def test_each_argument_has_its_words_on_one_line() -> None:
    assert described(WHOLE).arguments == {
        "city": "Its name: as people write it.",
        "unit": "`c` or `f`.",
        "limits": "Both ends.",
        "rest": "Not looked at.",
        "days": "How many.",
    }


@pytest.mark.parametrize("docstring", [None, "", "   \n"])
def test_without_a_docstring_there_are_no_words(docstring: str | None) -> None:
    assert described(docstring) == Described("", {})


def test_a_docstring_of_one_line_is_all_about_the_function() -> None:
    assert described("Adds two numbers.") == Described("Adds two numbers.", {})


def test_a_sentence_with_a_colon_is_no_section() -> None:
    assert described("Note: this is slow.\nArgs: none").about == "Note: this is slow.\nArgs: none"


@pytest.mark.parametrize("heading", ["Args", "Arguments", "Parameters", "Params"])
def test_the_section_of_the_arguments_has_several_names(heading: str) -> None:
    assert described(f"Adds.\n\n{heading}:\n    a: One.").arguments == {"a": "One."}


def test_what_follows_deeper_is_no_argument_of_its_own() -> None:
    assert described("Adds.\n\nArgs:\n    a: One.\n        b: two").arguments == {"a": "One. b: two"}


@given(st.text())
def test_any_text_can_be_read(docstring: str) -> None:
    described(docstring)
