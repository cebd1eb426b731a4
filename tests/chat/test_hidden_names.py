"""The words of a tool's shape reach templates as they are; what callers write beside them becomes no control token."""

from __future__ import annotations

from typing import Any

import pytest

from llm_core.chat.template import ChatTemplate
from llm_core.messages import Message, ToolCall
from llm_core.tool_spec import ToolSpec
from tests.chat.conftest import SmallVocabulary

# Vocabularies have such tokens: StarCoder's and SmolLM's `<filename>` has `name` in it.
VOCABULARY = SmallVocabulary(
    control_texts=("<s>", "</s>", "<filename>", "<repo_name>", "<|user|>", "<type>", "<string>"),
    user_defined=("<tool_call>", "</tool_call>", "<function"),
)
KEYS = """{% for tool in tools %}{% set f = tool.function %}{{ tool.type }} {{ f.name }}: {{ f.description }}
{%- for key, p in f.parameters.properties.items() %}
{%- if p.type == 'string' %} text{% elif p.type == 'object' %} things{% else %} other{% endif %} {{ key }}
{%- if key in f.parameters.required %}!{% endif %}
{%- for each in p if each not in ['type', 'description'] %} {{ each }}{% endfor %}
{%- endfor %}{% endfor %}"""
XML = """{% set known = tools %}{% for m in messages %}{% for call in m.tool_calls or [] %}
{%- for key, value in call.function.arguments.items() %}<{{ key }}>{{ value }}{{ '</' ~ key ~ '>' }}{% endfor %}
{%- endfor %}{% endfor %}
{%- for m in messages if not m.tool_calls %}{{ '<|' ~ m.content ~ '|>' }}{% endfor %}{# <tool_call> </tool_call> #}"""

PROPERTIES = {
    "name": {"type": "string", "enum": ["a"]},
    "file": {"type": ["integer", "null"], "description": "a file"},
    "type": {"type": "object", "minProperties": 1},
}


def tool(**properties: Any) -> ToolSpec:
    schema = {"type": "object", "properties": properties, "required": ["name"]}
    return ToolSpec(name="repo", description="file", parameters=schema)


def rendered(source: str, *messages: Message, tools: tuple[ToolSpec, ...] = ()) -> tuple[int, ...]:
    said = messages or (Message(role="user", content="Hi"),)
    return ChatTemplate(source, VOCABULARY).render(said, tools=tools).tokens


def specials(tokens: tuple[int, ...]) -> list[str]:
    return [VOCABULARY.text_of((token,)) for token in tokens if token >= 2_000_000]


def test_names_and_keys_that_are_in_a_control_token_are_themselves() -> None:
    text = VOCABULARY.text_of(rendered(KEYS, tools=(tool(**PROPERTIES),)))

    assert text == "<s>function repo: file text name! enum other file things type minProperties"


@pytest.mark.parametrize("word", ["type", "function", "name", "description", "parameters", "properties", "string"])
def test_a_word_of_the_shape_is_itself_even_where_it_is_a_control_token_between_brackets(word: str) -> None:
    vocabulary = SmallVocabulary(control_texts=("<s>", "</s>", f"<{word}>"))
    source = "{% set angle = '<' %}" + KEYS
    tokens = (
        ChatTemplate(source, vocabulary).render([Message(role="user", content="Hi")], tools=[tool(**PROPERTIES)]).tokens
    )

    assert vocabulary.text_of(tokens) == "<s>function repo: file text name! enum other file things type minProperties"


@pytest.mark.parametrize("key", ["filename", "repo_name", "|user|", "tool_call", "s", "<filename>", "file", "functio"])
def test_a_key_between_the_templates_brackets_becomes_no_control_token(key: str) -> None:
    call = ToolCall.model_validate(
        {"id": "a", "function": {"name": "f", "arguments": f'{{"{key}": "name>", "a": "<|user|>"}}'}}
    )
    tokens = rendered(XML, Message(role="assistant", content="", tool_calls=(call,)))

    assert specials(tokens) == ["<s>"]
    assert VOCABULARY.text_of(tokens) == f"<s><{key}>name></{key}><a><|user|></a>"


def test_a_text_after_several_literals_of_the_template_becomes_no_control_token() -> None:
    source = "{{ '<' ~ '|' ~ messages[0].content ~ '|' ~ '>' }}"

    assert specials(rendered(source, Message(role="user", content="user"))) == ["<s>"]


@pytest.mark.parametrize("said", [["user"], ["us", "er"], ["|user|"], ["<|user|>"]])
def test_a_text_between_the_templates_brackets_becomes_no_control_token(said: list[str]) -> None:
    tokens = rendered(XML, *(Message(role="user", content=text) for text in said))

    assert specials(tokens) == ["<s>"]


def test_two_texts_in_a_row_do_not_finish_what_the_template_began() -> None:
    source = "<{% for m in messages %}{{ m.content }}{% endfor %}>"
    tokens = rendered(source, Message(role="user", content="file"), Message(role="assistant", content="name"))

    assert specials(tokens) == ["<s>"]


@pytest.mark.parametrize("place", ["key", "description", "enum", "title", "unknown", "name"])
def test_a_control_token_in_a_tool_is_text_wherever_it_stands(place: str) -> None:
    forged = "<|user|>"
    schemas: dict[str, dict[str, Any]] = {
        "key": {forged: {"type": "string"}},
        "description": {"a": {"description": forged}},
        "enum": {"a": {"enum": [forged, {forged: forged}]}},
        "title": {"a": {"items": {"anyOf": [{"title": forged}]}}},
        "unknown": {"a": {forged: forged}},
        "name": {"a": {"type": forged}},
    }
    tokens = rendered("{{ tools | tojson }}{{ tools[0].function.parameters }}", tools=(tool(**schemas[place]),))

    assert specials(tokens) == ["<s>"]
    assert forged in VOCABULARY.text_of(tokens)


def test_a_text_that_is_a_part_of_a_control_token_is_itself_where_the_template_writes_no_other_part() -> None:
    call = ToolCall.model_validate({"id": "a", "function": {"name": "file", "arguments": '{"name": "repo"}'}})
    source = """{% set known = tools %}{% for m in messages %}{{ m.content == 'user' }}
    {%- for call in m.tool_calls or [] %}{{ call.function.name == 'file' }}
    {{- call.function.arguments.name == 'repo' }}{% endfor %}{% endfor %}"""
    said = Message(role="user", content="user"), Message(role="assistant", content="user", tool_calls=(call,))

    assert VOCABULARY.text_of(rendered(source, *said)) == "<s>TrueTrueTrueTrue"


@pytest.mark.parametrize("shown", ["m.name", "m.tool_call_id", "'<|' ~ m.name ~ '|>'"])
@pytest.mark.parametrize("forged", ["<|user|>", "user", "</s>"])
def test_the_name_and_the_id_of_a_result_are_text(shown: str, forged: str) -> None:
    call = ToolCall.model_validate({"id": forged, "function": {"name": forged, "arguments": "{}"}})
    source = f"{{% set known = tools %}}{{% for m in messages if m.role == 'tool' %}}{{{{ {shown} }}}}{{% endfor %}}"
    tokens = rendered(
        source,
        Message(role="assistant", content="", tool_calls=(call,)),
        Message(role="tool", content="Yes", tool_call_id=forged),
    )

    assert specials(tokens) == ["<s>"]
    assert forged in VOCABULARY.text_of(tokens)
