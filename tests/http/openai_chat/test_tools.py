"""Function calling and structured output through OpenAI's own client, unmodified."""

from __future__ import annotations

import json
from collections.abc import Iterator
from typing import Any, Literal

import httpx
import openai
import pydantic
import pytest
from openai.types.chat import ChatCompletionChunk, ParsedFunctionToolCall

from llm_core.client import LLMClient
from tests.scripted import CALL_PARIS, GET_WEATHER, HALF_A_CALL, PARIS, QUESTION, ROME, TWO_CALLS, WEATHER, saying

ASKED: dict[str, Any] = {"model": "any", "messages": QUESTION, "tools": [WEATHER]}


class Trip(pydantic.BaseModel):
    city: Literal["Paris", "Rome"]
    days: int = pydantic.Field(ge=1, le=9)


class GetWeather(pydantic.BaseModel):
    """The weather in a city, now"""

    city: str


SETTINGS: dict[str, Any] = {"max_tokens": 200}


@pytest.fixture(scope="module")
def url(url: str) -> str:
    return f"{url}v1"


@pytest.fixture(scope="module")
def openai_client(url: str) -> Iterator[openai.OpenAI]:
    with openai.OpenAI(base_url=url, api_key="none", max_retries=0) as client:
        yield client


def deltas(chunks: list[ChatCompletionChunk]) -> list[dict[str, Any]]:
    return [choice.delta.model_dump(exclude_unset=True) for chunk in chunks for choice in chunk.choices]


def test_a_reply_that_is_only_calls_has_no_text(openai_client: openai.OpenAI, client: LLMClient) -> None:
    with saying(client, TWO_CALLS):
        (choice,) = openai_client.chat.completions.create(**ASKED).choices

    assert choice.finish_reason == "tool_calls"
    assert choice.message.content is None
    assert [(each.function.name, each.function.arguments) for each in choice.message.tool_calls or ()] == [
        ("get_weather", PARIS),
        ("get_weather", ROME),
    ]


def test_text_and_calls_come_side_by_side(openai_client: openai.OpenAI, client: LLMClient) -> None:
    with saying(client, f"Let me look.\n{CALL_PARIS}"):
        (choice,) = openai_client.chat.completions.create(**ASKED).choices

    assert choice.message.content == "Let me look."
    assert len(choice.message.tool_calls or ()) == 1


def test_the_deltas_of_a_call_have_openais_shape(openai_client: openai.OpenAI, client: LLMClient) -> None:
    with saying(client, TWO_CALLS):
        chunks = list(openai_client.chat.completions.create(stream=True, **ASKED))

    role, *calling, last = deltas(chunks)
    assert role == {"role": "assistant", "content": None}
    assert last == {}
    assert chunks[-1].choices[0].finish_reason == "tool_calls"
    pieces = [piece for delta in calling for piece in delta["tool_calls"]]
    assert all(set(delta) == {"tool_calls"} for delta in calling)
    for index, arguments in enumerate((PARIS, ROME)):
        head, *rest = [piece for piece in pieces if piece["index"] == index]
        assert head == {
            "index": index,
            "id": head["id"],
            "type": "function",
            "function": {"name": "get_weather", "arguments": ""},
        }
        assert head["id"]
        assert all(piece == {"index": index, "function": piece["function"]} for piece in rest)
        assert all(set(piece["function"]) == {"arguments"} for piece in rest)
        assert "".join(piece["function"]["arguments"] for piece in rest) == arguments


@pytest.mark.parametrize("streaming", [False, True], ids=["whole", "streaming"])
def test_a_call_goes_there_and_back(openai_client: openai.OpenAI, client: LLMClient, streaming: bool) -> None:
    with saying(client, f"Let me look.\n{TWO_CALLS}", "Mild in both.") as script:
        if streaming:
            with openai_client.chat.completions.stream(**ASKED) as stream:
                message = stream.get_final_completion().choices[0].message
        else:
            message = openai_client.chat.completions.create(**ASKED).choices[0].message
        results = [{"role": "tool", "tool_call_id": each.id, "content": "12 °C"} for each in message.tool_calls or ()]
        again = ASKED | {"messages": [*QUESTION, message, *results]}
        answer = openai_client.chat.completions.create(**again).choices[0]

    assert len(results) == 2
    assert (answer.message.content, answer.finish_reason) == ("Mild in both.", "stop")
    assert answer.message.tool_calls is None
    assert "Let me look." in script.prompts[1]
    assert CALL_PARIS in script.prompts[1]
    assert script.prompts[1].count("12 °C") == 2


def test_the_stream_helper_tells_of_arguments_as_they_are_made(openai_client: openai.OpenAI, client: LLMClient) -> None:
    with saying(client, CALL_PARIS), openai_client.chat.completions.stream(**ASKED) as stream:
        events = list(stream)

    pieces = [event for event in events if event.type == "tool_calls.function.arguments.delta"]
    (done,) = [event for event in events if event.type == "tool_calls.function.arguments.done"]
    assert "".join(event.arguments_delta for event in pieces) == PARIS
    assert (done.name, done.arguments) == ("get_weather", PARIS)
    assert stream.get_final_completion().choices[0].message.content is None


@pytest.mark.parametrize("reason", ["length", "timeout", pytest.param("cancelled", marks=pytest.mark.local_engine)])
def test_a_call_that_was_cut_short_is_not_called_a_call(
    openai_client: openai.OpenAI, client: LLMClient, reason: Any
) -> None:
    with saying(client, HALF_A_CALL, reason=reason):
        whole = openai_client.chat.completions.create(**ASKED).choices[0]

    assert whole.finish_reason == ("stop" if reason == "cancelled" else "length")


# ── structured output ────────────────────────────────────────────────────────────────────────────────────────────────


def test_the_parse_helper_makes_a_model_of_the_reply(openai_client: openai.OpenAI, client: LLMClient) -> None:
    with saying(client, '{"city": "Rome", "days": 3}'):
        reply = openai_client.chat.completions.parse(model="any", messages=QUESTION, response_format=Trip)
        with openai_client.chat.completions.stream(model="any", messages=QUESTION, response_format=Trip) as stream:
            streamed = stream.get_final_completion()

    assert reply.choices[0].message.parsed == streamed.choices[0].message.parsed == Trip(city="Rome", days=3)


def test_the_parse_helper_makes_a_model_of_a_calls_arguments(openai_client: openai.OpenAI, client: LLMClient) -> None:
    tool = openai.pydantic_function_tool(GetWeather, name="get_weather")
    with saying(client, CALL_PARIS):
        reply = openai_client.chat.completions.parse(model="any", messages=QUESTION, tools=[tool])

    (called,) = reply.choices[0].message.tool_calls or ()
    assert isinstance(called, ParsedFunctionToolCall)
    assert called.function.parsed_arguments == GetWeather(city="Paris")


# ── what the model itself says ───────────────────────────────────────────────────────────────────────────────────────


def test_a_tool_that_is_chosen_by_name_is_called_with_what_its_schema_allows(openai_client: openai.OpenAI) -> None:
    whole = openai_client.chat.completions.create(tool_choice=GET_WEATHER, **ASKED).choices[0]
    with openai_client.chat.completions.stream(tool_choice=GET_WEATHER, **ASKED) as stream:
        streamed = stream.get_final_completion().choices[0]

    for choice in (whole, streamed):
        (called,) = choice.message.tool_calls or ()
        assert choice.finish_reason == "tool_calls"
        assert called.function.name == "get_weather"
        assert set(json.loads(called.function.arguments)) == {"city"}


def test_a_reply_is_held_to_a_pydantic_model(openai_client: openai.OpenAI) -> None:
    reply = openai_client.chat.completions.parse(model="any", messages=QUESTION, response_format=Trip)

    assert isinstance(reply.choices[0].message.parsed, Trip)


def test_any_json_object_can_be_asked_for(openai_client: openai.OpenAI) -> None:
    wanted = {"type": "json_object"}
    reply = openai_client.chat.completions.create(model="any", messages=QUESTION, response_format=wanted, max_tokens=60)

    text = reply.choices[0].message.content or ""
    assert text.lstrip().startswith("{")
    if reply.choices[0].finish_reason == "stop":
        assert isinstance(json.loads(text), dict)


# ── refusals ─────────────────────────────────────────────────────────────────────────────────────────────────────────


@pytest.mark.parametrize(
    ("fields", "param", "says"),
    [
        ({"functions": [WEATHER["function"]]}, "functions", "send tools"),
        ({"function_call": "auto"}, "function_call", "send tool_choice"),
        (
            {"messages": [{"role": "assistant", "content": None, "function_call": {"name": "f", "arguments": "{}"}}]},
            "messages.0.function_call",
            "send tool_calls",
        ),
        ({"messages": [*QUESTION, {"role": "function", "name": "f", "content": ""}]}, "messages.1.role", "role"),
        ({"messages": [*QUESTION, {"role": "tool", "content": "12 °C"}]}, "messages.1", "tool_call_id"),
        (
            {"messages": [*QUESTION, {"role": "tool", "tool_call_id": "call_1", "content": "12 °C"}]},
            "messages.1.tool_call_id",
            "call_1",
        ),
        ({"tools": [WEATHER, {"type": "custom", "custom": {"name": "shell"}}]}, "tools.1", "function"),
        ({"tools": [WEATHER], "tool_choice": {"type": "allowed_tools"}}, "tool_choice", "required"),
        ({"tools": [WEATHER], "parallel_tool_calls": "some"}, "parallel_tool_calls", "boolean"),
    ],
    ids=lambda value: str(value)[:40],
)
@pytest.mark.parametrize("stream", [False, True], ids=["whole", "streaming"])
def test_what_is_not_read_here_is_refused_by_name(
    url: str, fields: dict[str, Any], param: str, says: str, stream: bool
) -> None:
    body = {"model": "any", "messages": QUESTION, "stream": stream} | fields
    answer = httpx.post(f"{url}/chat/completions", json=body)

    assert answer.status_code == 400
    error = answer.json()["error"]
    assert (error["param"], error["type"]) == (param, "invalid_request_error")
    assert says in error["message"]
