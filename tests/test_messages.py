"""Messages are checked once, at the door: roles, texts and their number."""

from __future__ import annotations

from typing import Any

import pytest
from hypothesis import given
from hypothesis import strategies as st

from llm_core.errors import InvalidRequest
from llm_core.messages import MAX_MESSAGES, MAX_TEXT_CHARS, Message, parse_messages


def test_dicts_and_messages_may_be_mixed() -> None:
    parsed = parse_messages([{"role": "system", "content": "Be brief."}, Message(role="user", content="Hello")])

    assert parsed == (Message(role="system", content="Be brief."), Message(role="user", content="Hello"))


def test_a_generator_of_messages_is_read_once() -> None:
    parsed = parse_messages({"role": "user", "content": str(number)} for number in range(3))

    assert [message.content for message in parsed] == ["0", "1", "2"]


def test_text_parts_are_joined() -> None:
    parts = [{"type": "text", "text": "one "}, {"type": "text", "text": "two"}]

    (message,) = parse_messages([{"role": "user", "content": parts}])

    assert message.content == "one two"


@pytest.mark.parametrize(
    "part",
    [
        {"type": "image_url", "image_url": {"url": "data:image/png;base64,"}},
        {"type": "text"},
        {"type": "text", "text": 3},
        "bare text",
        None,
    ],
)
def test_a_part_that_is_not_text_is_refused(part: Any) -> None:
    fine = {"type": "text", "text": "fine"}
    with pytest.raises(InvalidRequest, match="a part that is not text") as refused:
        parse_messages([{"role": "user", "content": [fine, part]}])

    assert refused.value.param == "messages.0.content.1"
    assert refused.value.message.startswith("messages.0.content.1: ")


CALL = {"id": "call_1", "type": "function", "function": {"name": "get_time", "arguments": "{}"}}


@pytest.mark.parametrize(
    ("sent", "meant"),
    [
        ({"role": "developer", "content": "Be brief."}, {"role": "system", "content": "Be brief."}),
        ({"role": "user", "content": "Hi", "name": "ada"}, {"role": "user", "content": "Hi"}),
        ({"role": "assistant", "content": None}, {"role": "assistant", "content": ""}),
        ({"role": "assistant", "refusal": "I cannot."}, {"role": "assistant", "content": "I cannot."}),
        (
            {"role": "assistant", "content": [{"type": "refusal", "refusal": "No."}]},
            {"role": "assistant", "content": "No."},
        ),
        (
            {"role": "assistant", "content": "Hi", "reasoning_content": "Hm", "audio": None, "annotations": []},
            {"role": "assistant", "content": "Hi", "reasoning": "Hm"},
        ),
        ({"role": "assistant", "content": "Hi", "tool_calls": []}, {"role": "assistant", "content": "Hi"}),
    ],
    ids=str,
)
def test_messages_as_openais_clients_send_them_are_read(sent: dict[str, Any], meant: dict[str, Any]) -> None:
    assert parse_messages([sent]) == parse_messages([meant])


@pytest.mark.parametrize(
    ("arguments", "text"), [({"city": "Köln"}, '{"city": "Köln"}'), ({}, "{}"), (None, "{}"), ('{"a": ', '{"a": ')]
)
def test_arguments_of_a_call_may_be_an_object_or_nothing(arguments: Any, text: str) -> None:
    call = CALL | {"function": {"name": "get_time", "arguments": arguments}}
    turns = [{"role": "assistant", "content": None, "tool_calls": [call]}]
    result = {"role": "tool", "tool_call_id": "call_1", "content": None}

    asked, answered = parse_messages([*turns, result])

    assert asked.tool_calls is not None
    assert asked.tool_calls[0].arguments == text
    assert answered.content == ""


@pytest.mark.parametrize("messages", ["Hello", b"Hello", {"role": "user", "content": "Hello"}])
def test_what_is_not_a_list_of_messages_is_refused_with_an_example(messages: Any) -> None:
    with pytest.raises(InvalidRequest, match=r"must be a list such as \[") as refused:
        parse_messages(messages)

    assert refused.value.param == "messages"


@pytest.mark.parametrize(
    ("message", "param"),
    [
        ({"role": "robot", "content": "Hello"}, "messages.1.role"),
        ({"content": "Hello"}, "messages.1.role"),
        ({"role": "user"}, "messages.1.content"),
        ({"role": "user", "content": None}, "messages.1.content"),
        ({"role": "user", "content": 7}, "messages.1.content"),
        ({"role": "user", "content": "Hello", "mood": "good"}, "messages.1.mood"),
        ({"role": "user", "content": "x" * (MAX_TEXT_CHARS + 1)}, "messages.1.content"),
        ("Hello", "messages.1"),
        (None, "messages.1"),
    ],
)
def test_a_bad_message_is_refused_by_its_place_and_field(message: Any, param: str) -> None:
    with pytest.raises(InvalidRequest) as refused:
        parse_messages([{"role": "user", "content": "fine"}, message])

    assert refused.value.param == param
    assert refused.value.message.startswith(f"{param}: ")
    assert refused.value.code == "invalid_request"


def test_the_longest_allowed_text_is_allowed() -> None:
    (message,) = parse_messages([{"role": "user", "content": "x" * MAX_TEXT_CHARS}])

    assert len(message.content) == MAX_TEXT_CHARS


@pytest.mark.parametrize("count", [0, MAX_MESSAGES + 1])
def test_no_message_and_too_many_are_refused(count: int) -> None:
    with pytest.raises(InvalidRequest) as refused:
        parse_messages([{"role": "user", "content": "Hello"}] * count)

    assert refused.value.param == "messages"


@pytest.mark.parametrize("field", ["content", "reasoning"])
def test_a_lone_surrogate_is_refused_with_its_place(field: str) -> None:
    message = {"role": "assistant", "content": "fine", field: "abc\ud83d"}

    with pytest.raises(InvalidRequest, match="lone surrogate at character 3") as refused:
        parse_messages([message])

    assert refused.value.param == f"messages.0.{field}"


def test_a_lone_surrogate_that_hides_in_a_part_is_refused() -> None:
    with pytest.raises(InvalidRequest, match="lone surrogate"):
        parse_messages([{"role": "user", "content": [{"type": "text", "text": "\udc00"}]}])


@given(st.text(alphabet=st.characters(exclude_categories=["Cs"])))
def test_every_text_that_has_a_utf8_form_passes_unchanged(text: str) -> None:
    (message,) = parse_messages([{"role": "user", "content": text}])

    assert message.content == text


@given(st.recursive(st.none() | st.booleans() | st.floats() | st.text(), lambda inner: st.lists(inner, max_size=3)))
def test_whatever_is_sent_as_a_message_is_taken_or_refused_and_never_crashes(junk: Any) -> None:
    with pytest.raises(InvalidRequest):
        parse_messages([{"role": "user", "content": "fine"}, junk])
