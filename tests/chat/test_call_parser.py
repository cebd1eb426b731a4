"""A reply's content becomes calls and text, the same however it was cut, and what only looked like a call is text."""

from __future__ import annotations

import json
from dataclasses import dataclass

import pytest
from hypothesis import given
from hypothesis import strategies as st

from llm_core.chat.formats import DEFAULT_REASONING
from llm_core.chat.parser import ReplyParser
from llm_core.chat.tool_formats import HERMES, TOOL_FORMATS, ToolFormat, tool_format
from llm_core.events import ContentDelta, ReasoningDelta, TokenLogprob, ToolCallDelta
from llm_core.reply_builder import CallBuilder

FORMATS = {row.name: row for row in TOOL_FORMATS}
TOOLS = ("get_weather", "now")
WEATHER = '{"city": "Paris", "days": 3}'

# What models of each format write, as their model cards and templates show it.
RECORDED = {
    "hermes": f'<tool_call>\n{{"name": "get_weather", "arguments": {WEATHER}}}\n</tool_call>',
    "mistral": f'[TOOL_CALLS] [{{"name": "get_weather", "arguments": {WEATHER}}}]',
    "mistral-args": f"[TOOL_CALLS]get_weather[ARGS]{WEATHER}",
    "llama": f'{{"name": "get_weather", "parameters": {WEATHER}}}',
    "json": f'{{"name": "get_weather", "parameters": {WEATHER}}}',
}
TWO = {
    "hermes": RECORDED["hermes"] + '\n<tool_call>\n{"name": "now", "arguments": {}}\n</tool_call>',
    "mistral": f'[TOOL_CALLS][{{"name": "get_weather", "arguments": {WEATHER}}}, {{"name": "now", "arguments": {{}}}}]',
    "mistral-args": RECORDED["mistral-args"] + "[TOOL_CALLS]now[CALL_ID]a1b2c3d4e[ARGS]{}",
    "llama": RECORDED["llama"] + '; {"name": "now", "parameters": {}}',
    "json": RECORDED["json"] + '\n{"name": "now", "parameters": {}}',
}
EACH = pytest.mark.parametrize("form", TOOL_FORMATS, ids=lambda row: row.name)


@dataclass(frozen=True)
class Parsed:
    text: str
    calls: tuple[tuple[str, str], ...]
    is_whole: bool


def parse(*pieces: str, form: ToolFormat = HERMES, is_cut: bool = False) -> Parsed:
    parser = ReplyParser(DEFAULT_REASONING, False, form, TOOLS)
    deltas = [delta for piece in pieces for delta in parser.feed(piece)]
    deltas += parser.finish(is_cut=is_cut)
    calls = CallBuilder()
    for delta in deltas:
        if isinstance(delta, ToolCallDelta):
            calls.add(delta)
    return Parsed(
        "".join(delta.text for delta in deltas if isinstance(delta, ContentDelta)),
        tuple((call.name, call.arguments) for call in calls.calls()),
        parser.has_called,
    )


@EACH
def test_a_call_is_found_with_its_arguments_as_they_were_written(form: ToolFormat) -> None:
    assert parse(RECORDED[form.name], form=form) == Parsed("", (("get_weather", WEATHER),), True)


@EACH
def test_several_calls_are_found(form: ToolFormat) -> None:
    assert parse(TWO[form.name], form=form) == Parsed("", (("get_weather", WEATHER), ("now", "{}")), True)


@EACH
def test_what_the_form_itself_says_is_a_call(form: ToolFormat) -> None:
    call = form.call_open + "now" + form.call_middle + "{}" + form.call_close
    written = form.group_open + call + form.separator + call + form.group_close

    assert parse(written, form=form).calls == (("now", "{}"), ("now", "{}"))


@EACH
@pytest.mark.parametrize("name", ["", "x" * 201], ids=["empty", "long"])
def test_a_name_that_no_message_can_have_is_text(form: ToolFormat, name: str) -> None:
    written = RECORDED[form.name].replace("get_weather", name)

    assert parse(written, form=form) == Parsed(written, (), False)


def test_a_name_that_is_no_text_is_text() -> None:
    written = RECORDED["hermes"].replace("get_weather", "\\ud800")

    assert parse(written) == Parsed(written, (), False)


@given(
    form=st.sampled_from(TOOL_FORMATS),
    raw=st.sampled_from(("call", "two", "around", "cut", "looks")),
    cuts=st.lists(st.integers(0, 400), max_size=12),
)
def test_the_stream_is_the_whole_however_it_is_cut(form: ToolFormat, raw: str, cuts: list[int]) -> None:
    text = {
        "call": RECORDED[form.name],
        "two": TWO[form.name],
        "around": f"Let me see.\n\n{TWO[form.name]}\nThat is all.",
        "cut": RECORDED[form.name][:-12],
        "looks": f"A {form.marker} is how {{it}} is said, {form.group_open}{form.call_open} too, < [ and so on",
    }[raw]
    places = sorted({min(cut, len(text)) for cut in cuts})
    pieces = [text[start:end] for start, end in zip([0, *places], [*places, len(text)], strict=True)]

    assert parse(*pieces, form=form) == parse(text, form=form) == parse(*text, form=form)


def test_the_name_comes_before_the_arguments_and_these_as_they_are_made() -> None:
    parser = ReplyParser(DEFAULT_REASONING, False, HERMES, TOOLS)
    head = parser.feed('<tool_call>\n{"name": "get_weather", "arguments": {"ci')
    middle = parser.feed('ty": "Par')
    end = parser.feed('is"}}\n</tool_call>')

    first, second = head
    assert isinstance(first, ToolCallDelta)
    assert (first.index, first.name, first.arguments) == (0, "get_weather", "")
    assert first.id is not None
    assert [second, *middle, *end] == [
        ToolCallDelta(0, arguments='{"ci'),
        ToolCallDelta(0, arguments='ty": "Par'),
        ToolCallDelta(0, arguments='is"}'),
    ]


def test_text_before_between_and_after_calls_is_kept_and_the_white_space_around_them_is_not() -> None:
    call = RECORDED["hermes"]

    assert parse(f"First.\n\n{call}\n\nThen {call} at last.\n") == Parsed(
        "First.Then" + "at last.\n", (("get_weather", WEATHER), ("get_weather", WEATHER)), True
    )


@pytest.mark.parametrize(
    "text",
    [
        "A <tool_call> is a mark.",
        "<tool_call>",
        "<tool_call>\n{",
        '<tool_call>\n{"name": "get_weather", "argu',
        '<tool_call>{"colour": "red"}</tool_call>',
        '<tool_call>\n{"name": 3, "arguments": {}}\n</tool_call>',
        "x < y, and <tool",
        '{"name": "get_weather", "parameters": {}}',
        "  indented\n\n",
    ],
)
def test_what_only_looks_like_a_call_is_text(text: str) -> None:
    assert parse(text) == parse(*text) == Parsed(text, (), False)


def test_a_call_that_never_closes_has_the_arguments_that_came() -> None:
    assert parse('<tool_call>\n{"name": "now", "arguments": {"zone": "UT') == Parsed(
        "", (("now", '{"zone": "UT'),), False
    )
    assert parse('<tool_call>\n{"name": "now", "arguments": {"zone": "UTC"}') == Parsed(
        "", (("now", '{"zone": "UTC"}'),), True
    )


@EACH
def test_a_call_that_is_cut_anywhere_shows_nothing_of_its_form(form: ToolFormat) -> None:
    before = "Let me see.\n\n" if form.marker else ""
    written = TWO[form.name]

    for end in range(1, len(written)):
        text, calls = before + written[:end], parse(before + written[:end], form=form, is_cut=True)
        assert calls == parse(*text, form=form, is_cut=True)
        assert calls.text in (before, before.rstrip()), text
        assert [name for name, _ in calls.calls] == ["get_weather", "now"][: len(calls.calls)]


@pytest.mark.parametrize("body", ['{"arguments": {"zone": "UT', '{"type": "function", "function": {"name": "no'])
def test_so_does_one_in_another_order(body: str) -> None:
    assert parse(f"<tool_call>\n{body}", is_cut=True) == Parsed("", (), False)
    assert parse(body, form=FORMATS["json"], is_cut=True).text == ("" if "name" in body else body)


@pytest.mark.parametrize("name", ["llama", "json"])
@pytest.mark.parametrize(
    "text", ['{"name": "Alice", "age"', '{"city": "Par', '{"id": 7, "text": "once', '{"name": "nowhere']
)
def test_an_answer_that_is_cut_and_no_call_stays(name: str, text: str) -> None:
    assert parse(text, form=FORMATS[name], is_cut=True) == Parsed(text, (), False)


def test_text_that_is_cut_loses_at_most_what_may_be_a_marker() -> None:
    assert parse("x < y, and <tool", is_cut=True).text == "x < y, and"
    assert parse("x < y, and <tools> ", is_cut=True).text == "x < y, and <tools> "
    assert parse("A <tool_call> is a mark", is_cut=True).text == "A <tool_call> is a mark"


@pytest.mark.parametrize(
    "body",
    [
        f'{{"arguments": {WEATHER}, "name": "get_weather"}}',
        f'{{"type": "function", "function": {{"name": "get_weather", "parameters": {WEATHER}}}}}',
        f'{{"name": "get_weather", "arguments": {json.dumps(WEATHER)}}}',
        f'{{ "name" : "get_weather" ,\n"parameters" : {WEATHER} }}',
    ],
    ids=["order", "wrapped", "string", "spaces"],
)
def test_calls_in_another_order_or_wrapping_are_understood(body: str) -> None:
    for text in (f"<tool_call>{body}</tool_call>", f"<tool_call>\n{body}\n</tool_call>"):
        assert parse(text) == parse(*text) == Parsed("", (("get_weather", WEATHER),), True)


def test_a_call_without_arguments_has_none() -> None:
    assert parse('<tool_call>\n{"name": "now"}\n</tool_call>').calls == (("now", "{}"),)


def test_braces_quotes_and_marks_inside_arguments_do_not_end_them() -> None:
    arguments = r'{"text": "} </tool_call> \" { <|im_end|> \\", "deep": {"a": [{"b": []}]}}'
    text = f'<tool_call>\n{{"name": "now", "arguments": {arguments}}}\n</tool_call>'

    assert parse(text) == parse(*text) == Parsed("", (("now", arguments),), True)


@pytest.mark.parametrize("name", ["llama", "json"])
@pytest.mark.parametrize(
    "text", ['{"name": "Alice", "age": 5}', '{"city": "Paris"}', '{"name": "Alice", "parameters": {}}']
)
def test_without_a_mark_an_object_that_names_no_tool_is_text(name: str, text: str) -> None:
    assert parse(text, form=FORMATS[name]) == parse(*text, form=FORMATS[name]) == Parsed(text, (), False)


def test_without_a_mark_a_call_in_the_middle_of_text_is_text() -> None:
    text = f"It looks so: {RECORDED['json']}"

    assert parse(text, form=FORMATS["json"]).text == text


def test_a_name_is_read_as_json_and_may_be_one_that_no_tool_has() -> None:
    assert parse('<tool_call>\n{"name": "a\\u0062 <|im_start|>", "arguments": {}}\n</tool_call>').calls == (
        ("ab <|im_start|>", "{}"),
    )


def test_a_mark_that_no_call_follows_holds_nothing_back_for_long() -> None:
    parser = ReplyParser(DEFAULT_REASONING, False, FORMATS["mistral-args"], TOOLS)
    deltas = parser.feed("[TOOL_CALLS]" + "word " * 200)

    assert sum(len(delta.text) for delta in deltas if isinstance(delta, ContentDelta)) > 900


def test_calls_after_thinking_are_found_and_calls_in_it_are_not() -> None:
    parser = ReplyParser(DEFAULT_REASONING, False, HERMES, TOOLS)
    deltas = parser.feed(f"<think>{RECORDED['hermes']}</think>\n\n{RECORDED['hermes']}")

    assert "".join(delta.text for delta in deltas if isinstance(delta, ReasoningDelta)) == RECORDED["hermes"]
    assert [delta.name for delta in deltas if isinstance(delta, ToolCallDelta) and delta.id] == ["get_weather"]


def test_log_probabilities_stay_with_their_text() -> None:
    def token(text: str) -> tuple[str, tuple[TokenLogprob, ...]]:
        return text, (TokenLogprob(text, text.encode(), -0.5),)

    parser = ReplyParser(DEFAULT_REASONING, False, HERMES, TOOLS)
    deltas = [
        delta
        for piece in (
            "Yes",
            ".",
            "\n",
            "<tool",
            "_call>",
            '{"name": "now", ',
            '"arguments": {}}',
            "</tool_call>",
            " So",
        )
        for delta in parser.feed(*token(piece))
    ]
    told = [each.token for delta in deltas if isinstance(delta, ContentDelta) for each in delta.logprobs]

    assert told == ["Yes", ".", " So"]


@pytest.mark.parametrize(
    ("source", "name"),
    [
        ("{% if tools %}<tool_call>{% endif %}", "hermes"),
        ("{{ '[TOOL_CALLS]' }}[ARGS]", "mistral-args"),
        ("{{ '[TOOL_CALLS]' }}", "mistral"),
        ("<|python_tag|>", "llama"),
        ("{{ tools }}", "json"),
    ],
)
def test_a_format_is_recognised_by_what_its_template_says(source: str, name: str) -> None:
    assert tool_format(source).name == name
