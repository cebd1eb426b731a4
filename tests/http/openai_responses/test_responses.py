"""Responses by themselves: their events, their items, tools and forms, and what is refused."""

from __future__ import annotations

import json
from typing import Any, Literal

import httpx
import openai
import pytest
from openai.types.responses import Response
from pydantic import BaseModel, ConfigDict

from llm_core.client import LLMClient
from llm_core.errors import EngineFailed
from llm_core.events import ContentDelta, Queued
from tests.scripted import CALL_PARIS, HALF_A_CALL, PARIS, TWO_CALLS, saying
from tests.waiting import is_idle, stats_of, wait_until

QUESTION = "What is the capital of France?"
WEATHER: Any = {
    "type": "function",
    "name": "get_weather",
    "description": "The weather in a city, now",
    "strict": True,
    "parameters": {
        "type": "object",
        "properties": {"city": {"type": "string", "maxLength": 20}},
        "required": ["city"],
        "additionalProperties": False,
    },
}
TEXT_EVENTS = [
    "response.created",
    "response.in_progress",
    "response.output_item.added",
    "response.content_part.added",
    "response.output_text.delta",
    "response.output_text.done",
    "response.content_part.done",
    "response.output_item.done",
    "response.completed",
]
REASONING_EVENTS = [
    "response.output_item.added",
    "response.content_part.added",
    "response.reasoning_text.delta",
    "response.reasoning_text.done",
    "response.content_part.done",
    "response.output_item.done",
]
CALL_EVENTS = [
    "response.output_item.added",
    "response.function_call_arguments.delta",
    "response.function_call_arguments.done",
    "response.output_item.done",
]


def streamed(ai: openai.OpenAI, **asked: Any) -> list[Any]:
    with ai.responses.create(model="any", stream=True, **asked) as stream:
        return list(stream)


def kinds(events: list[Any]) -> list[str]:
    """The types of events, each run of one type once."""
    found: list[str] = []
    for event in events:
        if found[-1:] != [event.type]:
            found.append(event.type)
    return found


def told(response: Response) -> dict[str, Any]:
    """A response without what differs from one to the next: ids, times, what was in the cache, and the client's own."""
    data = response.model_dump(exclude={"id", "created_at", "usage"}, warnings=False)
    for item in data["output"]:
        del item["id"]
        for part in item.get("content") or ():
            part.pop("parsed", None)
        item.pop("parsed_arguments", None)
    return data


# ── events and wholes ────────────────────────────────────────────────────────────────────────────────────────────────


def test_the_stream_adds_up_to_the_whole_response(ai: openai.OpenAI) -> None:
    whole = ai.responses.create(model="any", input=QUESTION, instructions="Be brief.")
    with ai.responses.stream(model="any", input=QUESTION, instructions="Be brief.") as stream:
        pieces = [event.delta for event in stream if event.type == "response.output_text.delta"]
        final = stream.get_final_response()

    assert "Paris" in whole.output_text
    assert len(pieces) > 3
    assert "".join(pieces) == final.output_text == whole.output_text
    assert told(final) == told(whole)
    assert (whole.status, whole.model, whole.object) == ("completed", "SmolLM2-135M-Instruct", "response")
    assert whole.usage is not None
    assert final.usage is not None
    assert final.usage.total_tokens == whole.usage.total_tokens == whole.usage.input_tokens + whole.usage.output_tokens
    assert final.usage.input_tokens_details.cached_tokens > 0, "the second time most of it was known"


def test_the_events_come_in_openais_order_and_are_numbered(ai: openai.OpenAI) -> None:
    events = streamed(ai, input=QUESTION)

    assert kinds(events) == TEXT_EVENTS
    assert [event.sequence_number for event in events] == list(range(len(events)))
    assert {event.item_id for event in events if hasattr(event, "item_id")} == {events[-1].response.output[0].id}
    assert events[0].response.status == events[1].response.status == "in_progress"


async def test_the_async_client_gets_the_same(url: str, ai: openai.OpenAI) -> None:
    whole = ai.responses.create(model="any", input=QUESTION)
    async with (
        openai.AsyncOpenAI(base_url=url, api_key="none", max_retries=0) as client,
        client.responses.stream(model="any", input=QUESTION) as stream,
    ):
        final = await stream.get_final_response()

    assert final.output_text == whole.output_text


def test_thinking_is_an_item_of_its_own(ai: openai.OpenAI, client: LLMClient) -> None:
    with saying(client, "<think>\nHmm, France.\n</think>\n\nParis."):
        events = streamed(ai, input=QUESTION)
        whole = ai.responses.create(model="any", input=QUESTION)

    assert kinds(events)[2:8] == REASONING_EVENTS
    thought, said = whole.output
    assert thought.type == "reasoning"
    assert thought.content is not None
    assert "Hmm, France." in thought.content[0].text
    assert said.type == "message"
    assert whole.output_text.strip() == "Paris."
    assert told(events[-1].response) == told(whole)
    assert whole.usage is not None
    assert whole.usage.output_tokens_details.reasoning_tokens == 10, "the 29 characters of it, three in each token"


def test_a_response_that_is_cut_short_is_incomplete(ai: openai.OpenAI) -> None:
    whole = ai.responses.create(model="any", input=QUESTION, max_output_tokens=2)
    events = streamed(ai, input=QUESTION, max_output_tokens=2)

    assert whole.status == "incomplete"
    assert whole.incomplete_details is not None
    assert whole.incomplete_details.reason == "max_output_tokens"
    assert whole.output[-1].status == "incomplete"  # type: ignore[union-attr]
    assert events[-1].type == "response.incomplete"
    assert told(events[-1].response) == told(whole)


def test_a_response_repeats_what_was_asked(ai: openai.OpenAI) -> None:
    asked: dict[str, Any] = {
        "instructions": "Be brief.",
        "metadata": {"topic": "cities"},
        "temperature": 0.0,
        "top_p": 0.5,
        "max_output_tokens": 5,
        "truncation": "auto",
        "parallel_tool_calls": False,
        "user": "ann",
        "prompt_cache_key": "key",
        "tools": [WEATHER],
        "tool_choice": "none",
        "reasoning": {"effort": "low"},
    }
    response = ai.responses.create(model="any", input=QUESTION, **asked)
    said = response.model_dump()

    assert {name: said[name] for name in asked if name not in ("tools", "reasoning")} == {
        name: value for name, value in asked.items() if name not in ("tools", "reasoning")
    }
    assert {name: said["tools"][0][name] for name in WEATHER} == WEATHER
    assert response.reasoning is not None
    assert response.reasoning.effort == "low"


def test_probabilities_come_with_the_text(ai: openai.OpenAI) -> None:
    response = ai.responses.create(
        model="any", input=QUESTION, top_logprobs=2, include=["message.output_text.logprobs"], max_output_tokens=3
    )
    (item,) = response.output
    assert item.type == "message"
    (part,) = item.content
    assert part.type == "output_text"
    assert part.logprobs
    assert all(each.logprob <= 0 and len(each.top_logprobs) == 2 for each in part.logprobs)


# ── tools and forms ──────────────────────────────────────────────────────────────────────────────────────────────────


@pytest.mark.parametrize("is_kept", [True, False])
def test_a_call_goes_out_and_its_result_comes_back(ai: openai.OpenAI, is_kept: bool) -> None:
    choice: Any = {"type": "function", "name": "get_weather"}
    asked: dict[str, Any] = {"tools": [WEATHER], "tool_choice": choice, "max_output_tokens": 60, "store": is_kept}
    whole = ai.responses.create(model="any", input=QUESTION, **asked)
    events = streamed(ai, input=QUESTION, **asked)
    (call,) = whole.output

    assert call.type == "function_call"
    assert (call.name, call.status) == ("get_weather", "completed")
    assert set(json.loads(call.arguments)) == {"city"}
    assert kinds(events)[2:-1] == CALL_EVENTS
    assert "".join(each.delta for each in events if each.type.endswith("arguments.delta")) == call.arguments

    result: Any = {"type": "function_call_output", "call_id": call.call_id, "output": "12 degrees"}
    told_all: Any = [{"role": "user", "content": QUESTION}, *[item.to_dict() for item in whole.output], result]
    assert ai.responses.create(model="any", input=told_all, tools=[WEATHER], store=is_kept).output_text


def test_several_calls_are_items_each_and_one_that_is_cut_short_is_incomplete(
    ai: openai.OpenAI, client: LLMClient
) -> None:
    with saying(client, TWO_CALLS):
        two = ai.responses.create(model="any", input=QUESTION, tools=[WEATHER])
    with saying(client, f"{CALL_PARIS}\n{HALF_A_CALL}", reason="length"):
        cut = ai.responses.create(model="any", input=QUESTION, tools=[WEATHER])

    assert [item.type for item in two.output] == ["function_call", "function_call"]
    assert two.output[0].arguments == PARIS  # type: ignore[union-attr]
    assert [item.status for item in cut.output] == ["completed", "incomplete"]  # type: ignore[union-attr]


def test_allowed_tools_keep_the_others_from_being_called(ai: openai.OpenAI) -> None:
    other = WEATHER | {"name": "get_news"}
    choice: Any = {"type": "allowed_tools", "mode": "required", "tools": [{"type": "function", "name": "get_news"}]}
    response = ai.responses.create(
        model="any", input=QUESTION, tools=[WEATHER, other], tool_choice=choice, max_output_tokens=60
    )

    assert [item.name for item in response.output if item.type == "function_call"][:1] == ["get_news"]


class Trip(BaseModel):
    model_config = ConfigDict(extra="forbid")

    city: Literal["Oslo", "Rome"]
    sunny: bool


def test_a_reply_is_parsed_into_a_model(ai: openai.OpenAI) -> None:
    parsed = ai.responses.parse(model="any", input="Plan a trip.", text_format=Trip)
    with ai.responses.stream(model="any", input="Plan a trip.", text_format=Trip) as stream:
        final = stream.get_final_response()

    assert isinstance(parsed.output_parsed, Trip)
    assert final.output_parsed == parsed.output_parsed


def test_any_json_object_can_be_asked_for(ai: openai.OpenAI) -> None:
    form: Any = {"format": {"type": "json_object"}, "verbosity": "low"}
    response = ai.responses.create(model="any", input="A city as JSON.", text=form, max_output_tokens=200)

    assert response.status == "incomplete" or isinstance(json.loads(response.output_text), dict)


def test_effort_none_switches_thinking_off(ai: openai.OpenAI, client: LLMClient, monkeypatch: Any) -> None:
    seen = []
    begin = client._checked
    monkeypatch.setattr(client, "_checked", lambda asked: seen.append(asked.options.get("thinking")) or begin(asked))
    for effort in ("none", "high"):
        ai.responses.create(model="any", input=QUESTION, reasoning={"effort": effort}, store=False)  # type: ignore[arg-type]

    assert seen == [False, None]


# ── input ────────────────────────────────────────────────────────────────────────────────────────────────────────────


def test_items_become_the_conversation(ai: openai.OpenAI, client: LLMClient) -> None:
    items: Any = [
        {"role": "developer", "content": "Speak plainly."},
        {"type": "message", "role": "user", "content": [{"type": "input_text", "text": "Weather in "}, TEXT]},
        {"type": "reasoning", "id": "rs_1", "summary": [{"type": "summary_text", "text": "I call."}]},
        {"type": "function_call", "id": "fc_1", "call_id": "c1", "name": "get_weather", "arguments": PARIS},
        {"type": "function_call", "call_id": "c2", "name": "get_weather", "arguments": PARIS},
        {"type": "function_call_output", "call_id": "c1", "output": "12 degrees"},
        {"type": "function_call_output", "call_id": "c2", "output": [{"type": "input_text", "text": "cold"}]},
        {"role": "assistant", "content": [{"type": "output_text", "text": "Cold.", "annotations": []}]},
        {"role": "user", "content": "Thanks."},
    ]
    with saying(client, "Hi") as script:
        ai.responses.create(model="any", input=items, tools=[WEATHER], instructions="Be brief.")
        ai.responses.create(model="any", input=items, tools=[WEATHER], instructions="Be brief.", store=False)

    prompt, unkept = script.prompts
    assert prompt == unkept
    said = ["Be brief.", "Speak plainly.", "Weather in Paris?", "Paris", "12 degrees", "cold", "Cold.", "Thanks."]
    places = [prompt.index(each) for each in said]
    assert places == sorted(places)


TEXT = {"type": "input_text", "text": "Paris?"}


def test_a_long_input_is_an_error_or_loses_its_oldest_turns(ai: openai.OpenAI) -> None:
    turns: Any = [
        {"role": role, "content": f"{number} the sea " * 20} for number in range(20) for role in ("user", "assistant")
    ] + [{"role": "user", "content": QUESTION}]
    with pytest.raises(openai.BadRequestError) as refused:
        ai.responses.create(model="any", input=turns)

    assert refused.value.code == "context_length_exceeded"
    assert 'let the oldest messages be left out (truncation: "auto")' in refused.value.message
    assert ai.responses.create(model="any", input=turns, truncation="auto").output_text


# ── refusals ─────────────────────────────────────────────────────────────────────────────────────────────────────────

SCHEMA = {"type": "object", "properties": {"a": {"$ref": "#/nowhere"}}}


@pytest.mark.parametrize(
    ("wrong", "param", "said"),
    [
        ({"input": []}, "input", "at least 1 item"),
        (
            {"input": [{"role": "user", "content": [{"type": "input_image", "image_url": "x"}]}]},
            "input.0.content.0",
            "input_image",
        ),
        (
            {"input": [{"role": "user", "content": [{"type": "input_text", "text": "x" * 1_500_000}] * 2}]},
            "input.content",
            "at most",
        ),
        ({"input": [{"type": "web_search_call", "id": "ws_1"}]}, "input.0", "items that are read here"),
        ({"input": [{"type": "item_reference", "id": "msg_1"}]}, "input", "no item"),
        ({"input": [{"type": "function_call_output", "call_id": "c", "output": "x"}]}, "input", "'c'"),
        (
            {
                "input": [
                    {"role": "user", "content": "Hi"},
                    {"type": "function_call_output", "call_id": "c", "output": "x"},
                ]
            },
            "input",
            "'c'",
        ),
        ({"tools": [WEATHER, {"type": "web_search"}]}, "tools.1.type", "web_search"),
        ({"tools": [{"type": "mcp", "server_label": "x"}]}, "tools.0.type", "mcp"),
        (
            {"tools": [WEATHER, {"type": "function", "name": "a", "parameters": {"type": "thing"}}]},
            "tools.1.parameters.type",
            " tools.1.parameters.type: ",
        ),
        ({"tools": [WEATHER], "tool_choice": {"type": "file_search"}}, "tool_choice", "must be"),
        ({"tools": [WEATHER], "tool_choice": {"type": "function", "name": "nope"}}, "tool_choice", "nope"),
        ({"temperature": 3}, "temperature", "less than or equal to 2"),
        ({"max_output_tokens": 0}, "max_output_tokens", "greater than or equal to 1"),
        ({"top_logprobs": 21}, "top_logprobs", "20"),
        ({"text": {"format": {"type": "xml"}}}, "text.format", "xml"),
        ({"text": {"format": {"type": "json_schema", "name": "x", "schema": SCHEMA}}}, "text.format.schema", "nowhere"),
        ({"prompt": {"id": "pmpt_1"}}, "prompt", "instructions"),
        ({"context_management": [{"type": "compaction"}]}, "context_management", "truncation"),
        ({"truncation": "maybe"}, "truncation", "auto"),
        ({"metadata": {"a": "x" * 513}}, "metadata.a", "512"),
        ({"background": True, "store": False}, "background", "kept"),
        ({"conversation": "conv_1", "store": False}, "store", "conversation"),
        ({"conversation": "conv_1", "previous_response_id": "resp_1"}, "previous_response_id", "conversation"),
        ({"extra_body": {"max_tokens": 5}}, "max_tokens", "max_output_tokens"),
        ({"extra_body": {"grammar": "x"}}, "grammar", "not read"),
    ],
    ids=lambda value: next(iter(value)) if isinstance(value, dict) else str(value),
)
def test_what_cannot_be_done_is_refused_by_name(
    ai: openai.OpenAI, client: LLMClient, wrong: dict[str, Any], param: str, said: str
) -> None:
    before = len(client.sessions.list())
    with pytest.raises(openai.BadRequestError, match=said) as refused:
        ai.responses.create(**{"model": "any", "input": QUESTION} | wrong)

    assert str(refused.value.param).startswith(param)
    assert len(client.sessions.list()) == before, "what is refused leaves no trace"


def test_what_changes_nothing_is_ignored(ai: openai.OpenAI) -> None:
    ignored: dict[str, Any] = {
        "include": ["reasoning.encrypted_content", "web_search_call.action.sources"],
        "service_tier": "flex",
        "max_tool_calls": 3,
        "prompt_cache_retention": "24h",
        "stream_options": {"include_obfuscation": False},
        "safety_identifier": "x",
        "tools": [],
        "extra_body": {"client_metadata": {"a": 1}},
    }
    response = ai.responses.create(model="any", input=QUESTION, stream=True, **ignored)

    assert [event.type for event in response][-1] == "response.completed"


def test_a_reader_of_a_response_that_is_not_kept_stops_it_by_leaving(ai: openai.OpenAI, client: LLMClient) -> None:
    endless: Any = {"max_output_tokens": 900, "extra_body": {"logit_bias": {"2": -100}}}
    with ai.responses.create(model="any", input="A long story.", stream=True, store=False, **endless) as stream:
        while next(stream).type != "response.output_text.delta":
            pass
        assert stats_of(client).running == 1
    wait_until(lambda: is_idle(client), "the engine is free again")


def test_an_engine_that_fails_ends_the_stream_with_a_failed_response(
    url: str, client: LLMClient, monkeypatch: Any
) -> None:
    async def fail(*_: Any) -> Any:
        yield Queued(0)
        yield ContentDelta("Half a ")
        raise EngineFailed("The engine failed.")

    monkeypatch.setattr(client, "_areply", fail)
    body = {"input": QUESTION, "stream": True, "store": False}
    lines = httpx.post(f"{url}/responses", json=body, timeout=60).text.splitlines()
    last = json.loads(lines[-2].removeprefix("data: "))

    assert lines[-3] == "event: response.failed"
    assert last["response"]["status"] == "failed"
    assert last["response"]["error"] == {"code": "server_error", "message": "The engine failed."}
    assert last["response"]["output"][0]["content"][0]["text"] == "Half a "
