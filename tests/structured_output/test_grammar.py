"""What a reply may be, given what was asked for and how the model writes: texts that a grammar lets pass, and where it
stops others."""

from __future__ import annotations

import json
import random
from collections.abc import Iterator
from typing import Any

import jsonschema
import numpy as np
import pytest
from hypothesis import HealthCheck, given, settings
from hypothesis import strategies as st

from llm_core.chat.formats import DEFAULT_REASONING, ReasoningFormat
from llm_core.chat.reply_syntax import ReplySyntax
from llm_core.chat.tool_formats import HERMES, TOOL_FORMATS, ToolFormat
from llm_core.engine.llama.model import Model
from llm_core.errors import InvalidRequest
from llm_core.request import build_request
from llm_core.structured_output.constraint import ConstraintCompiler
from llm_core.structured_output.grammar import ReplyGrammar, reply_grammar
from tests.structured_output.schemas import bounded_objects

WEATHER = {
    "name": "get_weather",
    "parameters": {
        "type": "object",
        "properties": {"city": {"type": "string"}, "unit": {"enum": ["c", "f"]}},
        "required": ["city"],
    },
}
ADD = {
    "name": "add",
    "parameters": {
        "type": "object",
        "properties": {"a": {"type": "integer"}, "b": {"type": "integer"}},
        "required": ["a", "b"],
    },
}
BOTH = {"tools": [WEATHER, ADD]}
CALL_ADD = {"type": "function", "function": {"name": "add"}}

IS_OK = {"properties": {"ok": {"type": "boolean"}}, "required": ["ok"]}
ANSWER = {"type": "json_schema", "json_schema": {"schema": IS_OK}}

PARIS = '<tool_call>\n{"name": "get_weather", "arguments": {"city": "Paris", "unit": "c"}}\n</tool_call>'
SUM = '<tool_call>\n{"name": "add", "arguments": {"a": 1, "b": -2}}\n</tool_call>'

FIRST = {
    "hermes": PARIS,
    "mistral-args": '[TOOL_CALLS]get_weather[ARGS]{"city": "Paris"}',
    "mistral": '[TOOL_CALLS][{"name": "get_weather", "arguments": {"city": "Paris"}}',
    "llama": '{"name": "get_weather", "parameters": {"city": "Paris"}}',
    "json": '{"name": "get_weather", "parameters": {"city": "Paris"}}',
}
SECOND = {
    "hermes": f"\n{SUM}",
    "mistral-args": '[TOOL_CALLS]add[ARGS]{"a": 1, "b": -2}',
    "mistral": ', {"name": "add", "arguments": {"a": 1, "b": -2}}]',
    "llama": '; {"name": "add", "parameters": {"a": 1, "b": -2}}',
    "json": '\n{"name": "add", "parameters": {"a": 1, "b": -2}}',
}

# The bundled model's vocabulary has these control tokens; a model may mark with such tokens what others mark with text.
MARKED = ToolFormat(
    "marked", "", "<file_sep>", '<file_sep>{"name": "', '", "arguments": ', "}<jupyter_code>", separator=""
)
MARKED_THINKING = ReasoningFormat("<issue_start>", "<issue_closed>")
CHANNELS = ReasoningFormat(
    "<issue_start>analysis<filename>",
    "<repo_name><issue_start>final<filename>",
    answer_opener="<issue_start>final<filename>",
)


@pytest.fixture(scope="module")
def compiler(vocabulary: Model) -> Iterator[ConstraintCompiler]:
    compiler = ConstraintCompiler(vocabulary)
    yield compiler
    compiler.close()


@pytest.fixture
def control_tokens(vocabulary: Model) -> dict[str, int]:
    texts = vocabulary.control_texts
    return {text: vocabulary.tokenize(text, add_special=False, parse_special=True)[0] for text in texts}


class Reader:
    """Follows texts through the grammar of a request."""

    def __init__(self, vocabulary: Model, compiler: ConstraintCompiler, syntax: ReplySyntax) -> None:
        self.vocabulary = vocabulary
        self.compiler = compiler
        self.syntax = syntax

    def grammar(self, *, starts_in_reasoning: bool = False, begun: str = "", **options: Any) -> ReplyGrammar | None:
        messages = [{"role": "user", "content": "Hi"}, {"role": "assistant", "content": begun}]
        request = build_request(messages, max_tokens=9, timeout=9, **options)
        return reply_grammar(request, self.syntax, starts_in_reasoning=starts_in_reasoning)

    def passes(self, text: str, **options: Any) -> str:
        """The part of a text that may be said; `.` behind it where the reply may end there, `!` where it must."""
        grammar = self.grammar(**options)
        assert grammar is not None
        constraint = grammar.compile(self.compiler)
        said = b""
        for token in self.vocabulary.tokenize(text, add_special=False, parse_special=True):
            if constraint.forbidden()[token]:
                return said.decode()
            constraint.accept(token)
            said += self.vocabulary.token_bytes(token, special=True)
        if constraint.is_complete:
            return f"{text}!"
        return text if constraint.forbidden()[min(self.vocabulary.end_tokens)] else f"{text}."


@pytest.fixture
def reader(vocabulary: Model, compiler: ConstraintCompiler, control_tokens: dict[str, int]) -> Reader:
    return Reader(vocabulary, compiler, ReplySyntax(HERMES, DEFAULT_REASONING, False, control_tokens.get))


@pytest.fixture
def thinker(vocabulary: Model, compiler: ConstraintCompiler, control_tokens: dict[str, int]) -> Reader:
    return Reader(vocabulary, compiler, ReplySyntax(HERMES, DEFAULT_REASONING, True, control_tokens.get))


@pytest.fixture
def marker(vocabulary: Model, compiler: ConstraintCompiler, control_tokens: dict[str, int]) -> Reader:
    """Who marks calls and thinking with control tokens."""
    return Reader(vocabulary, compiler, ReplySyntax(MARKED, MARKED_THINKING, True, control_tokens.get))


class TestAuto:
    @pytest.mark.parametrize(
        "text",
        [
            "",
            "Hello.",
            "a <b>c</b> {}",
            "Hello <tool",
            '{"name": "nope"}',
            "<think>a <tool_call> b",
            PARIS,
            f"Sure! {PARIS}",
        ],
    )
    def test_text_is_free_and_may_end_anywhere(self, reader: Reader, text: str) -> None:
        assert reader.passes(text, **BOTH) == f"{text}."

    @pytest.mark.parametrize("before", ["", "Sure! ", "<think>No <tool_call> yet.</think>\n\n"])
    def test_from_the_marker_on_a_call_is_held_to_its_form(self, reader: Reader, before: str) -> None:
        begun = f'{before}<tool_call>\n{{"name": "'
        added = f'{begun}add", "arguments": {{"'

        assert reader.passes(f"{before}<tool_call>", **BOTH) == f"{before}<tool_call>"
        assert reader.passes(f"{before}<tool_call> x", **BOTH) == f"{before}<tool_call>"
        assert reader.passes(f"{begun}nope", **BOTH) == begun
        assert reader.passes(f"{added}c", **BOTH) == added
        assert reader.passes(f'{added}a": "', **BOTH).rstrip() == f'{added}a":'

    def test_a_reply_may_have_several_calls_and_then_ends(self, reader: Reader) -> None:
        assert reader.passes(f"{PARIS}\n{SUM}\n{PARIS}", **BOTH) == f"{PARIS}\n{SUM}\n{PARIS}."
        assert reader.passes(f"{PARIS} and", **BOTH).strip() == PARIS

    def test_without_parallel_calls_it_ends_after_the_first(self, reader: Reader) -> None:
        assert reader.passes(PARIS, parallel_tool_calls=False, **BOTH) == f"{PARIS}!"

    def test_a_reply_that_begins_in_thinking_thinks_to_its_closer(self, reader: Reader) -> None:
        in_thinking = BOTH | {"starts_in_reasoning": True}

        assert reader.passes("hm <tool_call> x", **in_thinking) == "hm <tool_call> x."
        assert reader.passes("hm</think>Hi", **in_thinking) == "hm</think>Hi."
        assert reader.passes("hm</think><tool_call>x", **in_thinking) == "hm</think><tool_call>"

    def test_in_a_reply_that_was_begun_thinking_begins_no_more_and_calls_are_held(self, reader: Reader) -> None:
        text = f" <think> about it.\n{SUM}"
        assert reader.passes(text, begun="Let me", tools=[ADD]) == f"{text}."
        bad = f" see: {SUM.replace('1', 'true')}"
        assert reader.passes(bad, begun="Let me", tools=[ADD]) == bad[: bad.index(" true")]

    def test_control_tokens_are_no_text(self, reader: Reader) -> None:
        assert reader.passes("Hi <|im_start|>", **BOTH) == "Hi "

    @pytest.mark.parametrize("choice", ["none", "auto"])
    def test_without_tools_to_call_there_is_no_form(self, reader: Reader, choice: str) -> None:
        tools = [ADD] if choice == "none" else []
        assert reader.grammar(tools=tools, tool_choice=choice) is None


class TestFormats:
    """Each row of the table, with two calls as a model of the family writes them."""

    @pytest.mark.parametrize("form", TOOL_FORMATS, ids=lambda form: form.name)
    @pytest.mark.parametrize("choice", ["auto", "required"])
    def test_calls_in_the_models_own_form_pass(
        self, vocabulary: Model, compiler: ConstraintCompiler, form: ToolFormat, choice: str
    ) -> None:
        reader = Reader(vocabulary, compiler, ReplySyntax(form, DEFAULT_REASONING, False, {}.get))
        calls = FIRST[form.name] + SECOND[form.name]

        assert reader.passes(calls, tools=[WEATHER, ADD], tool_choice=choice).rstrip(".!") == calls

    @pytest.mark.parametrize("form", [form for form in TOOL_FORMATS if not form.marker], ids=lambda form: form.name)
    def test_without_a_marker_a_call_is_a_reply_that_begins_as_one(
        self, vocabulary: Model, compiler: ConstraintCompiler, form: ToolFormat
    ) -> None:
        reader = Reader(vocabulary, compiler, ReplySyntax(form, DEFAULT_REASONING, False, {}.get))
        assert reader.passes('{"answer": 42}', **BOTH) == '{"answer": 42}.'
        assert reader.passes('So: {"name": "nope"}', **BOTH) == 'So: {"name": "nope"}.'
        assert reader.passes('{"name": "nope"}', **BOTH) == '{"name": "'
        assert reader.passes('\n{ "name" : "nope"}', **BOTH) == '\n{ "name" : "'
        assert reader.passes('<think>hm</think>{"name": "nope"}', **BOTH) == '<think>hm</think>{"name": "'

    def test_control_tokens_that_mark_are_those_tokens(self, marker: Reader) -> None:
        call = '<file_sep>{"name": "add", "arguments": {"a": 1, "b": 2}}<jupyter_code>'
        assert marker.passes(f"Hi {call}{call}", **BOTH) == f"Hi {call}{call}."
        thought = f"<issue_start>hm<issue_closed>\n{call}"
        assert marker.passes(thought, **BOTH) == f"{thought}."
        assert marker.passes("<issue_start>hm", **BOTH) == "<issue_start>hm."
        assert marker.passes("Hi <repo_name>", **BOTH) == "Hi "
        assert marker.passes(call, tool_choice="required", **BOTH) == f"{call}."
        assert marker.passes("Hi", tool_choice="required", **BOTH) == ""

    def test_a_marker_spelt_out_is_a_marker_too(self, marker: Reader) -> None:
        grammar = marker.grammar(tools=[ADD])
        assert grammar is not None
        constraint = grammar.compile(marker.compiler)
        for token in marker.vocabulary.tokenize("Hi <file_sep>", add_special=False, parse_special=False):
            constraint.accept(token)

        left = np.flatnonzero(~constraint.forbidden())
        assert [marker.vocabulary.token_bytes(token) for token in left] == [b'{"']

    @pytest.mark.parametrize("choice", ["auto", "required"])
    def test_thinking_in_channels(
        self, vocabulary: Model, compiler: ConstraintCompiler, control_tokens: dict[str, int], choice: str
    ) -> None:
        reader = Reader(vocabulary, compiler, ReplySyntax(HERMES, CHANNELS, True, control_tokens.get))
        options = {"tools": [WEATHER, ADD], "tool_choice": choice}
        thought = "<issue_start>analysis<filename>hm<repo_name><issue_start>final<filename>"

        assert reader.passes(thought + SUM, **options) == f"{thought}{SUM}."
        assert reader.passes(f"<issue_start>final<filename>{SUM}", **options) == f"<issue_start>final<filename>{SUM}."
        assert reader.passes(SUM, **options) == f"{SUM}."


class TestForced:
    def test_required_is_a_call_of_any_tool_and_at_least_one(self, reader: Reader) -> None:
        options = {"tools": [WEATHER, ADD], "tool_choice": "required"}

        assert reader.passes("Hi", **options) == ""
        assert reader.passes("", **options) == ""
        assert reader.passes(PARIS, **options) == f"{PARIS}."
        assert reader.passes(f"{SUM}\n{PARIS}", **options) == f"{SUM}\n{PARIS}."
        assert reader.passes(PARIS, parallel_tool_calls=False, **options) == f"{PARIS}!"

    def test_a_named_tool_is_called_once(self, reader: Reader) -> None:
        options = {"tools": [WEATHER, ADD], "tool_choice": CALL_ADD}

        assert reader.passes(SUM, **options) == f"{SUM}!"
        assert reader.passes(PARIS, **options) == '<tool_call>\n{"name": "'

    def test_a_model_that_thinks_may_think_before_it(self, thinker: Reader, reader: Reader) -> None:
        options = {"tools": [WEATHER, ADD], "tool_choice": "required"}
        thought = f"<think>\nNo <tool_call> yet.\n</think>\n\n{SUM}"

        assert thinker.passes(thought, **options) == f"{thought}."
        assert thinker.passes(SUM, **options) == f"{SUM}."
        assert thinker.passes("<think>hm</think>Hi", **options) == "<think>hm</think>"
        assert reader.passes(thought, **options) == "<"

    def test_a_reply_that_begins_in_thinking_goes_on_thinking_first(self, thinker: Reader) -> None:
        options = {"tools": [WEATHER, ADD], "tool_choice": CALL_ADD, "starts_in_reasoning": True}

        assert thinker.passes(f"hm</think>\n\n{SUM}", **options) == f"hm</think>\n\n{SUM}!"
        assert thinker.passes("hm</think>Hi", **options) == "hm</think>"


class TestResponseFormat:
    def test_the_text_is_json_of_the_schema_as_json_dumps_writes_it(self, reader: Reader) -> None:
        assert reader.passes('{"ok": true}', response_format=ANSWER) == '{"ok": true}!'
        assert reader.passes('{"ok":true}', response_format=ANSWER) == '{"ok":'
        assert reader.passes("Hi", response_format=ANSWER) == ""
        assert reader.passes('{"ok": 1}', response_format=ANSWER).rstrip() == '{"ok":'

    def test_a_json_object_is_any_object(self, reader: Reader) -> None:
        text = '{"a": [1, 2.5, null, {"b": "é\\n"}], "c": {}}'

        assert reader.passes(text, response_format={"type": "json_object"}) == f"{text}!"
        assert reader.passes("[]", response_format={"type": "json_object"}) == ""

    def test_a_model_that_thinks_may_think_before_it(self, thinker: Reader) -> None:
        text = '<think>hm</think>\n{"ok": true}'

        assert thinker.passes(text, response_format=ANSWER) == f"{text}!"
        rest = text.removeprefix("<think>")
        assert thinker.passes(rest, response_format=ANSWER, starts_in_reasoning=True) == f"{rest}!"

    def test_beside_tools_it_is_that_or_calls(self, reader: Reader) -> None:
        options = {"tools": [WEATHER, ADD], "response_format": ANSWER}

        assert reader.passes('{"ok": true}', **options) == '{"ok": true}!'
        assert reader.passes(PARIS, **options) == f"{PARIS}."
        assert reader.passes("Hi", **options) == ""
        assert reader.passes(PARIS, tool_choice="none", **options) == ""
        assert reader.passes('{"ok": true}', tool_choice="required", **options) == ""


class TestRefusals:
    def refusal(self, reader: Reader, **options: Any) -> InvalidRequest:
        with pytest.raises(InvalidRequest) as refused:
            reader.passes("", **options)
        return refused.value

    @pytest.mark.parametrize(
        ("schema", "place"),
        [
            ({"city": {"$ref": "#/$defs/none"}}, "city.$ref"),
            ({"city": {"type": "string", "pattern": "(.*)" * 100}}, "city.pattern"),
            ({"city": {"anyOf": [{"type": "array", "minItems": 3, "maxItems": 2}]}}, "city.anyOf.0"),
            ({"city": {"type": "integer", "minimum": 5, "maximum": 4}}, "city"),
            ({"city": {"items": {"allOf": [{"type": "string"}, {"type": "null"}]}, "minItems": 1}}, "city.items"),
        ],
        ids=["ref", "costly pattern", "lengths", "bounds", "types"],
    )
    def test_a_refusal_names_the_tool_and_the_place(self, reader: Reader, schema: dict[str, Any], place: str) -> None:
        tool = {"name": "look", "parameters": {"type": "object", "properties": schema, "required": list(schema)}}
        error = self.refusal(reader, tools=[ADD, tool])

        assert error.param == f"tools.1.function.parameters.properties.{place}"
        assert error.message.startswith(f"{error.param}: ")

    def test_what_a_tool_is_not_held_to_is_said_once(self, reader: Reader, caplog: pytest.LogCaptureFixture) -> None:
        schema = {"type": "object", "properties": {"tags": {"type": "array", "uniqueItems": True}}}
        for _ in range(3):
            reader.grammar(tools=[{"name": "said_once", "parameters": schema}])

        (said,) = [record.getMessage() for record in caplog.records if "said_once" in record.getMessage()]
        assert "tools.0.function.parameters.properties.tags.uniqueItems: cannot be held" in said

    @pytest.mark.parametrize(("count", "is_refused"), [(30, False), (31, True)])
    def test_costly_patterns_are_counted_together(self, reader: Reader, count: int, is_refused: bool) -> None:
        costly = {"type": "string", "pattern": "[^@]+@[^@]+", "maxLength": 200}
        schema = {f"p{number}": costly for number in range(count)}
        options = {"tools": [{"name": "look", "parameters": {"type": "object", "properties": schema}}]}

        if is_refused:
            assert self.refusal(reader, **options).param == "tools.0.function.parameters.properties.p30.pattern"
        else:
            assert reader.passes("Hi", **options) == "Hi."

    def test_a_named_tool_keeps_its_place(self, reader: Reader) -> None:
        bad = {"name": "bad", "parameters": {"type": "string"}}
        choice = {"type": "function", "function": {"name": "bad"}}

        assert self.refusal(reader, tools=[ADD, bad], tool_choice=choice).param == "tools.1.function.parameters"
        assert reader.grammar(tools=[bad, ADD], tool_choice={"name": "add"}) is not None, (
            "what is not callable is not read"
        )

    def test_a_response_format_is_held_strictly(self, reader: Reader) -> None:
        schema = {"type": "object", "properties": {"tags": {"type": "array", "uniqueItems": True}}}
        answer = {"type": "json_schema", "json_schema": {"schema": schema}}
        place = "response_format.json_schema.schema.properties.tags.uniqueItems"

        assert self.refusal(reader, response_format=answer).param == place
        assert reader.grammar(tools=[{"name": "tag", "parameters": schema}]) is not None


@settings(max_examples=40, deadline=None, suppress_health_check=[HealthCheck.function_scoped_fixture])
@given(schema=bounded_objects(), seed=st.integers(0, 1_000))
def test_whatever_is_held_is_valid(reader: Reader, schema: dict[str, Any], seed: int) -> None:
    """A reply of random tokens, among those that are left."""
    grammar = reader.grammar(
        tools=[{"name": "f", "parameters": schema}], tool_choice="required", parallel_tool_calls=False
    )
    assert grammar is not None
    constraint, draw, said = grammar.compile(reader.compiler), random.Random(seed), b""
    while not constraint.is_complete:
        left = np.flatnonzero(~constraint.forbidden())
        token = int(left[draw.randrange(len(left))])
        constraint.accept(token)
        said += reader.vocabulary.token_bytes(token)
    arguments = said.decode().partition('"arguments": ')[2].removesuffix("}\n</tool_call>")

    jsonschema.validate(json.loads(arguments), schema)
