"""Tools, the choice among them and response formats: OpenAI's shapes, and refusals that name the place."""

from __future__ import annotations

from typing import Any

import pytest

from llm_core.errors import InvalidRequest
from llm_core.request import ChatRequest, build_request
from llm_core.tool_spec import NO_PARAMETERS, NamedTool

QUESTION = [{"role": "user", "content": "What is the weather in Oslo?"}]


def tool(name: str = "get_weather", **function: Any) -> dict[str, Any]:
    return {"type": "function", "function": {"name": name, **function}}


def request(**options: Any) -> ChatRequest:
    return build_request(QUESTION, max_tokens=100, timeout=60.0, **options)


def test_a_tool_in_openais_shape_may_leave_out_all_but_its_name() -> None:
    (spec,) = request(tools=[tool(description=None, parameters=None, strict=True)]).tools

    assert (spec.name, spec.description, spec.parameters) == ("get_weather", "", NO_PARAMETERS)
    assert spec.as_openai() == tool(description="", parameters=NO_PARAMETERS)


def test_one_tool_can_be_chosen_by_name() -> None:
    choice = {"type": "function", "function": {"name": "get_time"}}

    assert request(tools=[tool(), tool("get_time")], tool_choice=choice).tool_choice == NamedTool(name="get_time")


@pytest.mark.parametrize("choice", ["required", "any", {"type": "any"}, {"type": "required"}], ids=str)
def test_a_call_is_demanded_in_every_clients_words(choice: Any) -> None:
    assert request(tools=[tool()], tool_choice=choice).tool_choice == "required"


@pytest.mark.parametrize("choice", ["auto", "none"])
def test_a_choice_may_be_an_object_of_its_type(choice: str) -> None:
    assert request(tools=[tool()], tool_choice={"type": choice}).tool_choice == choice


@pytest.mark.parametrize("mode", ["auto", "required"])
@pytest.mark.parametrize("flat", [False, True])
def test_where_some_tools_are_allowed_the_others_are_left_out(mode: str, flat: bool) -> None:
    allowed = {"mode": mode, "tools": [tool("get_time")]}
    choice = {"type": "allowed_tools"} | (allowed if flat else {"allowed_tools": allowed})
    built = request(tools=[tool(), tool("get_time")], tool_choice=choice)

    assert [each.name for each in built.callable_tools] == ["get_time"]
    assert built.tool_choice == mode


def test_an_allowed_tool_that_is_none_is_refused_by_name() -> None:
    choice = {"type": "allowed_tools", "allowed_tools": {"mode": "auto", "tools": [tool("get_time")]}}
    with pytest.raises(InvalidRequest, match="'get_time'") as refused:
        request(tools=[tool()], tool_choice=choice)
    assert refused.value.param == "tool_choice"


def test_where_nothing_may_be_called_there_are_no_tools_to_call() -> None:
    assert request(tools=[tool()], tool_choice="none").callable_tools == ()
    assert request(tools=[], tool_choice="auto").callable_tools == ()


def test_any_text_is_a_response_format_too() -> None:
    assert request(response_format={"type": "text"}).response_format is None


@pytest.mark.parametrize(
    ("options", "param"),
    [
        ({"tools": [{"type": "function"}]}, "tools.0"),
        ({"tools": [tool(), {"type": "custom", "custom": {"name": "x"}}]}, "tools.1"),
        ({"tools": [tool("two words")]}, "tools.0.name"),
        ({"tools": [tool(parameters="none")]}, "tools.0.parameters"),
        ({"tools": [tool(), tool()]}, "tools"),
        ({"tools": [tool(str(number)) for number in range(129)]}, "tools"),
        ({"tools": [tool()], "tool_choice": "maybe"}, "tool_choice"),
        ({"tools": [tool()], "tool_choice": {"type": "allowed_tools"}}, "tool_choice"),
        ({"tools": [tool()], "tool_choice": tool("other")}, "tool_choice"),
        ({"tools": [tool()], "tool_choice": tool("\ud800")}, "tool_choice"),
        ({"tool_choice": "required"}, "tool_choice"),
        ({"response_format": {"type": "xml"}}, "response_format"),
        ({"response_format": {"type": "json_schema", "json_schema": {"name": "x"}}}, "response_format"),
    ],
)
def test_what_cannot_be_used_is_refused_by_its_place(options: dict[str, Any], param: str) -> None:
    assert_refused(param, **options)


def assert_refused(param: str, **options: Any) -> None:
    with pytest.raises(InvalidRequest) as refused:
        request(**options)
    assert refused.value.param is not None
    assert refused.value.param.startswith(param)
    assert refused.value.message.startswith(f"{refused.value.param}: ")


def nested(levels: int) -> dict[str, Any]:
    schema: dict[str, Any] = {}
    for _ in range(levels):
        schema = {"properties": {"a": schema}}
    return schema


@pytest.mark.parametrize("what", ["surrogate", "nan", "deep"])
def test_a_schema_that_cannot_be_written_down_is_refused_by_its_place(what: str) -> None:
    unwritable = {"surrogate": {"title": "\ud800"}, "nan": {"minimum": float("nan")}, "deep": nested(5_000)}
    schema = unwritable[what]

    assert_refused("tools.0.parameters", tools=[tool(parameters=schema)])
    assert_refused(
        "response_format.json_schema", response_format={"type": "json_schema", "json_schema": {"schema": schema}}
    )
