"""Whatever form of conversation a template takes, every conversation is told to it without losing a word."""

from __future__ import annotations

from typing import Any

import pytest

from llm_core.chat.template import CHATML, ChatTemplate
from llm_core.engine.llama.model import Model
from llm_core.errors import InvalidRequest
from llm_core.messages import parse_messages
from llm_core.tool_spec import ToolSpec
from tests.chat.test_template import text_of

SYSTEM_FIRST = """
{%- for m in messages %}
    {%- if m.role == 'system' and not loop.first %}
        {{- raise_exception('System message must be at the beginning.') }}
    {%- endif %}
    {{- '[' + m.role + ']' + m.content }}
{%- endfor %}"""
DROPS_LATER_SYSTEM = """
{%- for m in messages %}{% if m.role != 'system' or loop.first %}{{ '[' + m.role + ']' + m.content }}{% endif %}
{%- endfor %}"""
TAKES_LAST_SYSTEM = """
{%- set ns = namespace(system='') %}
{%- for m in messages if m.role == 'system' %}{% set ns.system = m.content %}{% endfor %}
{{- '[system]' + ns.system }}
{%- for m in messages if m.role != 'system' %}{{ '[' + m.role + ']' + m.content }}{% endfor %}"""
TURNS = """
{%- if messages[0].role == 'system' %}{{ '[system]' + messages[0].content }}{% set messages = messages[1:] %}{% endif %}
{%- for m in messages %}
    {%- if (m.role == 'user') != (loop.index0 % 2 == 0) %}{{ raise_exception('Roles must alternate') }}{% endif %}
    {{- '[' + m.role + ']' + m.content }}
{%- endfor %}"""
ONE_CALL = """
{%- set known = tools %}
{%- for m in messages %}
    {%- if m.tool_calls and m.tool_calls | length != 1 %}{{ raise_exception('Single tool-calls only') }}{% endif %}
    {{- '[' + m.role + ']' + m.content }}
    {%- for c in m.tool_calls or [] %}{{ c.function.name + c.function.arguments | tojson }}{% endfor %}
{%- endfor %}"""
STRICT_TOOLS = """
{%- set known = tools %}
{%- for m in messages %}
    {%- if m.role == 'user' and not loop.first and messages[loop.index0 - 1].role == 'tool' %}
        {{- raise_exception('Roles must alternate') }}
    {%- endif %}
    {{- '[' + m.role + ']' + m.content }}
{%- endfor %}"""
WALKS_NO_TOOLS = (
    "{% for t in tools %}{{ t.function.name }}{% endfor %}{% for m in messages %}{{ m.content }}{% endfor %}"
)
WALKS_ARGUMENTS = """
{%- set known = tools %}
{%- for m in messages %}
    {{- '[' + m.role + ']' + m.content }}
    {%- for c in m.tool_calls or [] %}
        {%- for name, value in c.function.arguments.items() %}{{ '<' + name + '>' + value | string }}{% endfor %}
    {%- endfor %}
{%- endfor %}"""
TEXT_ARGUMENTS = """
{%- set known = tools %}
{%- for m in messages %}
    {{- m.content }}{% for c in m.tool_calls or [] %}{{ c.function.name + ': ' + c.function.arguments }}{% endfor %}
{%- endfor %}"""
PRINTS_ARGUMENTS = TEXT_ARGUMENTS.replace("+ c.function.arguments", "~ c.function.arguments")


def call(id: str, arguments: str = '{"city": "Rome"}') -> dict[str, Any]:
    return {"id": id, "type": "function", "function": {"name": "weather", "arguments": arguments}}


def message(role: str, content: str = "", **fields: Any) -> dict[str, Any]:
    return {"role": role, "content": content, **fields}


def told(source: str, vocabulary: Model, *messages: dict[str, Any], tools: bool = False) -> str:
    """What the template makes of a conversation."""
    specs = [ToolSpec(name="weather")] if tools else []
    return text_of(ChatTemplate(source, vocabulary).render(parse_messages(messages), tools=specs).tokens, vocabulary)


LATE = (
    message("system", "S"),
    message("user", "Hi"),
    message("assistant", "Hello"),
    message("system", "T"),
    message("user", "Bye"),
)


class TestSystemMessages:
    @pytest.mark.parametrize("source", [SYSTEM_FIRST, DROPS_LATER_SYSTEM, TAKES_LAST_SYSTEM, TURNS])
    def test_one_that_may_not_be_where_it_is_stands_before_the_next_users_text(
        self, source: str, vocabulary: Model
    ) -> None:
        assert told(source, vocabulary, *LATE) == "[system]S[user]Hi[assistant]Hello[user]T\n\nBye"

    @pytest.mark.parametrize("source", [SYSTEM_FIRST, TURNS])
    def test_several_at_the_start_are_one(self, source: str, vocabulary: Model) -> None:
        messages = (message("system", "S"), message("system", "T"), message("user", "Hi"))

        assert told(source, vocabulary, *messages) == "[system]S\n\nT[user]Hi"

    def test_one_at_the_end_is_a_users(self, vocabulary: Model) -> None:
        messages = (message("system", "S"), message("user", "Hi"), message("system", "T"))

        assert told(SYSTEM_FIRST, vocabulary, *messages) == "[system]S[user]Hi[user]T"
        assert told(TURNS, vocabulary, *messages) == "[system]S[user]Hi\n\nT"

    def test_a_template_that_takes_them_anywhere_gets_them_as_they_come(self, vocabulary: Model) -> None:
        expected = "".join(f"<|im_start|>{each['role']}\n{each['content']}<|im_end|>\n" for each in LATE)

        assert told(CHATML, vocabulary, *LATE) == expected + "<|im_start|>assistant\n"


class TestTurns:
    @pytest.mark.parametrize(
        ("said", "expected"),
        [
            ("uu", "[user]0\n\n1"),
            ("suuau", "[system]0[user]1\n\n2[assistant]3[user]4"),
            ("uaau", "[user]0[assistant]1\n\n2[user]3"),
            ("au", "[user][assistant]0[user]1"),
            ("sau", "[system]0[user][assistant]1[user]2"),
        ],
    )
    def test_speakers_take_turns_where_the_template_insists(self, said: str, expected: str, vocabulary: Model) -> None:
        roles = {"s": "system", "u": "user", "a": "assistant"}
        messages = [message(roles[letter], str(number)) for number, letter in enumerate(said)]

        assert told(TURNS, vocabulary, *messages) == expected

    def test_old_thinking_is_joined_too(self, vocabulary: Model) -> None:
        source = TURNS.replace("m.content }}", "m.content + (m.reasoning_content or '') }}")
        replies = [message("assistant", text, reasoning=f"hm {text}") for text in ("a", "b")]

        said = told(source, vocabulary, message("user", "Hi"), *replies, message("user", "Go on"))
        assert said.endswith("a\n\nbhm a\n\nhm b[user]Go on")

    def test_a_template_that_does_not_insist_gets_them_as_they_come(self, vocabulary: Model) -> None:
        messages = (message("user", "a"), message("user", "b"))

        assert told(SYSTEM_FIRST, vocabulary, *messages) == "[user]a[user]b"

    def test_what_no_form_can_mend_is_refused_in_the_templates_words(self, vocabulary: Model) -> None:
        source = TURNS + "{% if messages[-1].content == 'no' %}{{ raise_exception('I will not') }}{% endif %}"
        with pytest.raises(InvalidRequest, match="Roles must alternate") as refused:
            told(
                source,
                vocabulary,
                message("user", "a"),
                message("user", "b"),
                message("assistant", "c"),
                message("user", "no"),
            )

        assert refused.value.param == "messages"


class TestCalls:
    def test_a_template_of_single_calls_gets_each_with_its_result(self, vocabulary: Model) -> None:
        messages = (
            message("user", "Hi"),
            message("assistant", "Wait", tool_calls=[call("a"), call("b", "{}")]),
            message("tool", "sun", tool_call_id="a"),
            message("tool", "rain", tool_call_id="b"),
        )

        assert told(ONE_CALL, vocabulary, *messages, tools=True) == (
            '[user]Hi[assistant]Waitweather{"city": "Rome"}[tool]sun[assistant]weather{}[tool]rain'
        )

    def test_results_in_a_row_stay_apart_where_speakers_take_turns(self, vocabulary: Model) -> None:
        source = ONE_CALL.replace("| length != 1", "and loop.nextitem.role != 'tool'") + (
            "{% if messages[0].role == messages[1].role %}{{ raise_exception('Roles must alternate') }}{% endif %}"
        )
        messages = (
            message("user", "Hi"),
            message("user", "Ho"),
            message("assistant", tool_calls=[call("a", "{}")]),
            message("tool", "sun", tool_call_id="a"),
            message("tool", "rain", tool_call_id="a"),
            message("assistant", "x"),
        )

        assert told(source, vocabulary, *messages, tools=True) == (
            "[user]Hi\n\nHo[assistant]weather{}[tool]sun[tool]rain[assistant]x"
        )

    def test_calls_are_told_in_words_where_the_template_takes_them_in_no_form(self, vocabulary: Model) -> None:
        messages = (
            message("user", "Hi"),
            message("assistant", tool_calls=[call("a")]),
            message("tool", "sun", tool_call_id="a"),
            message("user", "Bye"),
        )
        said = told(STRICT_TOOLS, vocabulary, *messages, tools=True)

        assert '[assistant]<tool_call>\n{"name": "weather", "arguments": {"city": "Rome"}}\n</tool_call>' in said
        assert said.endswith("[user]<tool_response>\nsun\n</tool_response>\n\nBye")

    def test_a_template_that_walks_through_tools_unasked_gets_an_empty_list(self, vocabulary: Model) -> None:
        assert told(WALKS_NO_TOOLS, vocabulary, message("user", "Hi")) == "Hi"
        assert told(WALKS_NO_TOOLS, vocabulary, message("user", "Hi"), tools=True) == "weatherHi"


class TestArguments:
    @pytest.mark.parametrize(
        ("written", "shown"),
        [
            ('{"city": "Rome"}', "<city>Rome"),
            ("", ""),
            (" ", ""),
            ("null", ""),
            ("{", "<arguments>{"),
            ('{"city": "Ro', '<arguments>{"city": "Ro'),
            ("[1]", "<arguments>[1]"),
            ("3", "<arguments>3"),
            ('"x"', '<arguments>"x"'),
            (r'{"a": "\ud800"}', r'<arguments>{"a": "\ud800"}'),
        ],
    )
    def test_they_are_an_object_whatever_was_written(self, written: str, shown: str, vocabulary: Model) -> None:
        messages = (
            message("user", "Hi"),
            message("assistant", tool_calls=[call("a", written)]),
            message("tool", "sun", tool_call_id="a"),
        )

        assert told(WALKS_ARGUMENTS, vocabulary, *messages, tools=True) == f"[user]Hi[assistant]{shown}[tool]sun"

    @pytest.mark.parametrize("source", [TEXT_ARGUMENTS, PRINTS_ARGUMENTS])
    def test_they_are_text_where_the_template_writes_them_as_they_come(self, source: str, vocabulary: Model) -> None:
        messages = (message("user", "Hi"), message("assistant", tool_calls=[call("a"), call("b", "")]))

        assert told(source, vocabulary, *messages, tools=True) == 'Hiweather: {"city": "Rome"}weather: {}'

    def test_in_words_too_none_are_an_empty_object(self, vocabulary: Model) -> None:
        messages = (message("user", "Hi"), message("assistant", tool_calls=[call("a", "")]))

        assert '{"name": "weather", "arguments": {}}' in told(CHATML, vocabulary, *messages)
