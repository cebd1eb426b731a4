"""A call in the page's form: one line, and all of it when it is unfolded."""

from __future__ import annotations

import re

import pytest

from llm_core.page.steps import Step
from llm_core.texts.told import english


def step(arguments: str, result: str | None = None, *, name: str = "calculate", failed: bool = False) -> Step:
    return Step("one", name, [arguments], result, failed, is_over=result is not None)


def test_arguments_and_result_are_shown_and_json_is_set_out() -> None:
    assert step('{"expression":"6 * 7"}', "42").called == {
        "arguments": '```json\n{\n  "expression": "6 * 7"\n}\n```',
        "result": "```text\n42\n```",
        "failed": False,
    }


def test_arguments_are_shown_as_they_come() -> None:
    assert step('{"expression": "6').called["arguments"] == '```text\n{"expression": "6\n```'


def test_a_failure_says_so_in_the_line_and_inside() -> None:
    failed = step("{}", "Error: ValueError: division by zero", failed=True)
    assert english(failed.brief) == "failed"
    assert failed.called["failed"]
    assert failed.called["result"] == "```text\nError: ValueError: division by zero\n```"


@pytest.mark.parametrize("hostile", ["```\n<b>", "a ```` b", "`", "~~~\n![](http://elsewhere.invalid/x.png)"])
def test_nothing_in_a_result_ends_its_block(hostile: str) -> None:
    text = step("{}", hostile).called["result"] or ""
    fence = max(re.findall(r"^`{3,}", text, re.MULTILINE), key=len)
    assert text.endswith(f"{fence}text\n{hostile}\n{fence}")
    assert fence not in hostile


@pytest.mark.parametrize(
    ("arguments", "brief"),
    [
        ('{"expression": "6 * 7"}', "6 * 7"),
        ('{"value": 5, "from_unit": "mile", "to_unit": "km"}', "5, mile, km"),
        ('{"text": "one\\n two"}', "one two"),
        ("{}", ""),
        ('{"deep": {"a": 1}, "list": [1]}', ""),
        ('{"expression": "6', ""),
        ("[1, 2]", ""),
        ('{"text": "' + "long " * 50 + '"}', f"{'long ' * 12}".rstrip() + "…"),
    ],
)
def test_the_line_has_the_arguments_in_a_few_words(arguments: str, brief: str) -> None:
    assert english(step(arguments).brief) == brief


@pytest.mark.parametrize(
    ("name", "title"),
    [
        ("calculate", "Calculator"),
        ("convert_units", "Unit conversion"),
        ("get_weather", "get weather"),
        ("**bold** <b>[x](y)", "bold b x y"),
        ("`", "Tool"),
        ("a" * 500, "a" * 64),
    ],
)
def test_the_title_is_plain_text_whatever_the_model_calls(name: str, title: str) -> None:
    assert english(step("{}", name=name).title) == title
