"""Anthropic's own client, unmodified, against the routes on the real model."""

from __future__ import annotations

import json
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import anthropic
import httpx
import pytest

from llm_core.client import LLMClient
from tests.served import loaded_client, served
from tests.waiting import is_idle, stats_of, wait_until

QUESTION: list[Any] = [{"role": "user", "content": "What is the capital of France?"}]
GREEDY: dict[str, Any] = {"model": "any", "max_tokens": 24}  # the server is greedy where a request says nothing
WEATHER: Any = {
    "name": "get_weather",
    "description": "The weather in a city, now",
    "input_schema": {"type": "object", "properties": {"city": {"enum": ["Oslo", "Rome"]}}, "required": ["city"]},
}


RESULT: Any = {"type": "tool_result", "tool_use_id": "t1", "content": "12 degrees"}


@pytest.fixture(scope="module")
def claude(url: str) -> Iterator[anthropic.Anthropic]:
    with anthropic.Anthropic(base_url=url, api_key="none", max_retries=0) as claude:
        yield claude


def text_of(message: Any) -> str:
    return "".join(block.text for block in message.content if block.type == "text")


def test_the_stream_joins_to_the_whole_answer(claude: anthropic.Anthropic) -> None:
    whole = claude.messages.create(messages=QUESTION, system="Be brief.", **GREEDY)
    with claude.messages.stream(messages=QUESTION, system="Be brief.", **GREEDY) as stream:
        pieces = list(stream.text_stream)
        streamed = stream.get_final_message()

    assert "Paris" in text_of(whole)
    assert text_of(whole) == "".join(pieces) == text_of(streamed)
    assert len(pieces) > 3
    assert (whole.role, whole.type, whole.stop_reason) == ("assistant", "message", streamed.stop_reason)
    assert whole.model == streamed.model == "SmolLM2-135M-Instruct"
    used = streamed.usage
    assert used.output_tokens == whole.usage.output_tokens > 0
    total = whole.usage.input_tokens + (whole.usage.cache_read_input_tokens or 0)
    assert used.input_tokens + (used.cache_read_input_tokens or 0) == total
    assert (used.cache_read_input_tokens or 0) > 0, "the second time most of it was known"
    counted = claude.messages.count_tokens(messages=QUESTION, system="Be brief.", model="any")
    assert counted.input_tokens == total


def test_the_events_come_in_anthropics_order(url: str) -> None:
    body = {"messages": QUESTION, "stream": True} | GREEDY
    lines = httpx.post(f"{url}v1/messages", json=body, timeout=60).text.splitlines()
    kinds = [line.removeprefix("event: ") for line in lines if line.startswith("event: ")]

    assert kinds[:2] == ["message_start", "content_block_start"]
    assert kinds[-3:] == ["content_block_stop", "message_delta", "message_stop"]
    assert set(kinds[2:-3]) == {"content_block_delta"}


def test_a_call_goes_out_and_its_result_comes_back(claude: anthropic.Anthropic) -> None:
    asked: dict[str, Any] = {"tools": [WEATHER], "tool_choice": {"type": "tool", "name": "get_weather"}}
    with claude.messages.stream(messages=QUESTION, **GREEDY | {"max_tokens": 64}, **asked) as stream:
        message = stream.get_final_message()

    (call,) = [block for block in message.content if block.type == "tool_use"]
    assert (call.name, message.stop_reason) == ("get_weather", "tool_use")
    assert call.input in ({"city": "Oslo"}, {"city": "Rome"})
    answered: list[Any] = [
        *QUESTION,
        {"role": "assistant", "content": [block.model_dump() for block in message.content]},
        {
            "role": "user",
            "content": [
                {"type": "tool_result", "tool_use_id": call.id, "content": [{"type": "text", "text": "12 degrees"}]},
                {"type": "text", "text": "And in words?"},
            ],
        },
    ]
    reply = claude.messages.create(messages=answered, tools=[WEATHER], **GREEDY)
    assert reply.content


def test_stop_sequences_and_the_limit_end_a_reply(claude: anthropic.Anthropic) -> None:
    stopped = claude.messages.create(messages=QUESTION, stop_sequences=["Paris"], **GREEDY)
    cut = claude.messages.create(messages=QUESTION, **GREEDY | {"max_tokens": 2})

    assert (stopped.stop_reason, "Paris" in text_of(stopped)) == ("end_turn", False)
    assert (cut.stop_reason, cut.usage.output_tokens) == ("max_tokens", 2)


def test_a_reply_is_held_to_a_schema(claude: anthropic.Anthropic) -> None:
    schema = {"type": "object", "properties": {"city": {"enum": ["Oslo"]}}, "required": ["city"]}
    form: Any = {"format": {"type": "json_schema", "schema": schema}}
    reply = claude.messages.create(messages=QUESTION, output_config=form, **GREEDY)

    assert json.loads(text_of(reply)) == {"city": "Oslo"}


def test_what_changes_in_each_request_does_not_spoil_the_prefix(claude: anthropic.Anthropic) -> None:
    long = "You are a careful assistant who knows the museum of clocks. " * 20
    read = []
    for number in range(2):
        system: list[Any] = [
            {"type": "text", "text": f"x-anthropic-billing-header: cc_version=2.{number}; cch=a{number}f;"},
            {"type": "text", "text": long, "cache_control": {"type": "ephemeral"}},
        ]
        read.append(claude.messages.create(messages=QUESTION, system=system, **GREEDY).usage.input_tokens)

    assert read[1] < read[0] / 10


def test_a_reader_who_leaves_stops_the_reply(claude: anthropic.Anthropic, client: LLMClient) -> None:
    story: list[Any] = [{"role": "user", "content": "Tell me a very long story about the sea."}]
    with claude.messages.stream(messages=story, model="any", max_tokens=900) as stream:
        next(iter(stream.text_stream))
        assert stats_of(client).running == 1
    wait_until(lambda: is_idle(client), "the engine is free again")


@pytest.mark.parametrize(
    ("wrong", "error", "said"),
    [
        ({"messages": []}, anthropic.BadRequestError, "messages"),
        ({"temperature": 1.5}, anthropic.BadRequestError, "temperature"),
        ({"messages": [{"role": "user", "content": "word " * 2000}]}, anthropic.BadRequestError, "tokens"),
        (
            {"messages": [{"role": "user", "content": [{"type": "text", "text": "x" * 1_500_000}] * 2}]},
            anthropic.BadRequestError,
            "messages.content",
        ),
        ({"mcp_servers": [{"name": "x"}]}, anthropic.BadRequestError, "mcp_servers"),
        (
            {"messages": [{"role": "user", "content": [{"type": "image", "source": {}}]}]},
            anthropic.BadRequestError,
            r"messages\.0\.content\.0: .*'image'",
        ),
        (
            {"messages": [{"role": "user", "content": [{"type": "tool_result", "tool_use_id": "t", "content": [{}]}]}]},
            anthropic.BadRequestError,
            r"messages\.0\.content\.0\.content\.0\.type: field required",
        ),
        (
            {"system": "Be brief.", "messages": [{"role": "user", "content": [RESULT]}]},
            anthropic.BadRequestError,
            r"[\"']messages: the assistant's message before it has no call 't1'",
        ),
        (
            {"output_config": {"format": {"type": "json_schema", "schema": {"type": "thing"}}}},
            anthropic.BadRequestError,
            r"[\"']output_config\.format\.schema\.type: must be",
        ),
        (
            {"tools": [WEATHER, {"name": "a", "input_schema": {"type": "thing"}}]},
            anthropic.BadRequestError,
            r"[\"']tools\.1\.input_schema\.type: must be",
        ),
        ({"system": [{"type": "document"}]}, anthropic.BadRequestError, r"system\.0\.type"),
    ],
)
def test_what_cannot_be_done_is_refused_in_anthropics_shape(
    claude: anthropic.Anthropic, wrong: dict[str, Any], error: type[anthropic.APIStatusError], said: str
) -> None:
    extra = {name: wrong[name] for name in wrong if name in ("mcp_servers", "temperature")}
    asked = {"messages": QUESTION} | GREEDY | {name: wrong[name] for name in wrong if name not in extra}
    with pytest.raises(error, match=said) as refused:
        claude.messages.create(**asked, extra_body=extra)

    assert isinstance(refused.value.body, dict)
    assert refused.value.body["type"] == "error"
    assert refused.value.body["error"]["type"] == "invalid_request_error"


def test_a_long_conversation_loses_its_oldest_turns_where_the_request_says_so(claude: anthropic.Anthropic) -> None:
    long: list[Any] = [{"role": "user", "content": "word " * 2000}, {"role": "assistant", "content": "Yes."}, *QUESTION]
    with pytest.raises(anthropic.BadRequestError, match=r'overflow: \\?"drop_oldest\\?"'):
        claude.messages.create(messages=long, **GREEDY)

    shorter = claude.messages.create(messages=long, extra_body={"overflow": "drop_oldest"}, **GREEDY)
    assert "Paris" in text_of(shorter)


def test_a_body_that_is_too_large_is_refused_in_the_same_shape(url: str) -> None:
    answer = httpx.post(f"{url}v1/messages", json={"messages": "word " * 10**6}, timeout=60)

    said = {"type": "request_too_large", "message": "The body is larger than 4 MB."}
    assert (answer.status_code, answer.json()) == (413, {"type": "error", "error": said})


def test_a_token_comes_in_anthropics_header(tmp_path: Path) -> None:
    with loaded_client(tmp_path, api_tokens="ann:secret") as client, served(client) as url:
        wrong, right = (anthropic.Anthropic(base_url=url, api_key=key, max_retries=0) for key in ("wrong", "secret"))
        with wrong, pytest.raises(anthropic.AuthenticationError):
            wrong.messages.create(messages=QUESTION, **GREEDY)
        with right:
            assert right.messages.create(messages=QUESTION, **GREEDY).content
