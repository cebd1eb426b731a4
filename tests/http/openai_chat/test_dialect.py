"""Fields of other servers of OpenAI's wire format: each is done, or refused by name; none goes unseen."""

from __future__ import annotations

import json
from collections.abc import Iterator
from typing import Any

import httpx
import pytest

from llm_core.client import LLMClient
from llm_core.errors import InvalidRequest
from llm_core.http.bodies import ChatBody, Options
from llm_core.http.openai_chat.routes import CompletionBody
from llm_core.messages import parse_messages
from llm_core.mqtt.payloads import parse_ask
from llm_core.options import WIRE_OPTIONS
from llm_core.request import ChatRequest, build_request
from tests.served import served

QUESTION = [{"role": "user", "content": "Where?"}]
SCHEMA = {"type": "object", "properties": {"city": {"enum": ["Paris", "Rome"]}}, "required": ["city"]}
CONTEXT = 256
FORMAT = {"type": "json_schema", "json_schema": {"name": "place", "schema": SCHEMA}}


SETTINGS: dict[str, Any] = {"max_tokens": 40, "context_tokens": CONTEXT}


@pytest.fixture(scope="module")
def http(client: LLMClient) -> Iterator[httpx.Client]:
    with served(client) as url, httpx.Client(base_url=url, timeout=120) as http:
        yield http


def asked(**fields: Any) -> ChatRequest:
    """The request that a body of `/v1/chat/completions` becomes."""
    body = CompletionBody.model_validate({"messages": QUESTION} | fields)
    given = {name: value for name, value in body.options().items() if value is not None}
    return build_request(QUESTION, **({"max_tokens": 100, "timeout": 10.0} | given))


# ── schemas ──────────────────────────────────────────────────────────────────────────────────────────────────────────

ANY_SCHEMA: list[dict[str, Any]] = [
    {"response_format": FORMAT},
    {"response_format": {"type": "json_object", "schema": SCHEMA}},
    {"response_format": {"type": "json_object", "value": SCHEMA}},
    {"response_format": {"type": "json", "value": SCHEMA}},
    {"response_format": {"type": "json_schema", "value": {"name": "place", "schema": SCHEMA}}},
    {"response_format": {"type": "json_schema", "name": "place", "strict": True, "schema": SCHEMA}},
    {"response_format": {"type": "json_schema", "json_schema": SCHEMA}},
    {"json_schema": SCHEMA},
    {"guided_json": SCHEMA},
    {"guided_json": json.dumps(SCHEMA)},
    {"structured_outputs": {"json": SCHEMA, "regex": None}},
    {"response_format": {"type": "text"}, "structured_outputs": {"json": json.dumps(SCHEMA)}},
]


@pytest.mark.parametrize("fields", ANY_SCHEMA, ids=str)
def test_a_schema_is_held_in_whatever_field_it_comes(fields: dict[str, Any]) -> None:
    wanted = asked(**fields).response_format
    assert wanted is not None
    assert wanted.json_schema == SCHEMA


@pytest.mark.parametrize("fields", ANY_SCHEMA[1:2] + ANY_SCHEMA[7:9], ids=str)
def test_the_reply_has_the_form_of_the_schema(http: httpx.Client, fields: dict[str, Any]) -> None:
    answer = http.post("v1/chat/completions", json={"messages": QUESTION} | fields).json()
    assert json.loads(answer["choices"][0]["message"]["content"])["city"] in ("Paris", "Rome")


def test_any_object_can_be_asked_for_as_vllm_has_it() -> None:
    wanted = asked(structured_outputs={"json_object": True}).response_format
    assert wanted is not None
    assert wanted.json_schema == {"type": "object"}


@pytest.mark.parametrize("name", ["schema", "json_schema", "value"])
def test_a_schema_beside_the_type_text_is_refused(http: httpx.Client, name: str) -> None:
    for path in ("v1/chat/completions", "api/llm/chat"):
        answer = http.post(path, json={"messages": QUESTION, "response_format": {"type": "text", name: SCHEMA}})
        assert (answer.status_code, answer.json()["error"]["param"]) == (400, "response_format")


def test_what_is_null_in_a_response_format_is_as_good_as_left_out() -> None:
    assert asked(response_format={"type": "text", "json_schema": None}).response_format is None
    wanted = asked(response_format={"type": "json_object", "schema": None}).response_format
    assert wanted is not None
    assert wanted.json_schema == {"type": "object"}


# ── options by other names ───────────────────────────────────────────────────────────────────────────────────────────


@pytest.mark.parametrize(
    ("fields", "thinking"),
    [
        ({"chat_template_kwargs": {"enable_thinking": False}}, False),
        ({"chat_template_kwargs": {"thinking": True}}, True),
        ({"enable_thinking": False}, False),
        ({"thinking": False}, False),
        ({"thinking": {"type": "disabled"}}, False),
        ({"thinking": {"type": "enabled", "budget_tokens": None}}, True),
        ({"thinking": {"type": "adaptive"}}, None),
        ({"reasoning_effort": "none"}, False),
        ({"reasoning_effort": "low"}, None),
        ({"thinking": None, "chat_template_kwargs": {}}, None),
    ],
    ids=str,
)
def test_thinking_can_be_switched_as_each_client_does(fields: dict[str, Any], thinking: bool | None) -> None:
    assert asked(**fields).thinking is thinking


def test_options_of_this_server_and_their_other_names_reach_the_model() -> None:
    request = asked(
        repetition_penalty=1.2, n_predict=7, overflow="drop_oldest", timeout=3, repeat_last_n=9, repeat_penalty=1.2
    )
    assert (request.sampling.repeat_penalty, request.sampling.repeat_last_n) == (1.2, 9)
    assert (request.max_tokens, request.overflow, request.timeout) == (7, "drop_oldest", 3)
    assert asked(max_completion_tokens=9).max_tokens == 9
    assert asked(max_tokens=9, max_completion_tokens=9, n_predict=9).max_tokens == 9
    assert asked(max_tokens=9, max_completion_tokens=None).max_tokens == 9


# ── refusals ─────────────────────────────────────────────────────────────────────────────────────────────────────────


@pytest.mark.parametrize(
    ("fields", "param"),
    [
        ({"grammar": 'root ::= "yes"'}, "grammar"),
        ({"guided_regex": "a+"}, "guided_regex"),
        ({"guided_json": "no schema"}, "guided_json"),
        ({"structured_outputs": {"choice": ["yes", "no"]}}, "structured_outputs.choice"),
        ({"structured_outputs": {"json": 3}}, "structured_outputs.json"),
        ({"response_format": FORMAT, "guided_json": {"type": "array"}}, "guided_json"),
        ({"response_format": {"type": "json_object", "schema": SCHEMA, "value": SCHEMA}}, "response_format"),
        ({"response_format": {"type": "json_object", "grammar": "x"}}, "response_format"),
        ({"continue_final_message": True}, "continue_final_message"),
        ({"add_generation_prompt": False}, "add_generation_prompt"),
        ({"ignore_eos": True}, "ignore_eos"),
        ({"min_tokens": 5}, "min_tokens"),
        ({"chat_template_kwargs": {"reasoning_effort": "high"}}, "chat_template_kwargs.reasoning_effort"),
        ({"chat_template_kwargs": {"preserve_thinking": True}}, "chat_template_kwargs.preserve_thinking"),
        ({"chat_template_kwargs": {"enable_thinking": "no"}}, "chat_template_kwargs.enable_thinking"),
        ({"thinking": {"type": "enabled", "budget_tokens": 99}}, "thinking"),
        ({"thinking": True, "enable_thinking": False}, "enable_thinking"),
        ({"repeat_penalty": 1.1, "repetition_penalty": 1.2}, "repetition_penalty"),
        ({"max_tokens": 1, "max_completion_tokens": 2}, "max_completion_tokens"),
        ({"max_completion_tokens": 1, "n_predict": 2}, "n_predict"),
        ({"repetition_penalty": 9, "enable_thinking": None}, "repetition_penalty"),
        ({"n_predict": 0}, "n_predict"),
        ({"guided_json": {"type": "string", "pattern": "(?=a)"}}, "guided_json.pattern"),
        ({"structured_outputs": {"json": {"pattern": "(?=a)"}}, "stream": True}, "structured_outputs.json.pattern"),
        ({"overflow": "truncate"}, "overflow"),
    ],
    ids=str,
)
def test_what_would_change_the_answer_and_is_not_read_is_refused_by_name(
    http: httpx.Client, fields: dict[str, Any], param: str
) -> None:
    answer = http.post("v1/chat/completions", json={"messages": QUESTION, "max_tokens": 1} | fields)

    error = answer.json()["error"]
    assert (answer.status_code, error["param"], error["code"]) == (400, param, "invalid_request")
    assert error["message"].startswith(param)


@pytest.mark.parametrize(
    "fields",
    [
        {"continue_final_message": False, "add_generation_prompt": True},
        {"ignore_eos": False, "min_tokens": 0},
        {"grammar": None, "guided_regex": None, "stop_token_ids": [], "best_of": 1, "use_beam_search": False},
        {
            "user": "ada",
            "store": True,
            "metadata": {},
            "cache_prompt": True,
            "service_tier": "auto",
            "verbosity": "low",
        },
    ],
    ids=str,
)
def test_fields_that_ask_for_nothing_do_no_harm(fields: dict[str, Any]) -> None:
    assert asked(**fields) == asked()


def test_a_schema_that_has_a_keyword_of_the_wrappers_name_is_no_wrapper() -> None:
    bare = SCHEMA | {"schema": {"type": "string"}}
    wanted = asked(response_format={"type": "json_schema", "json_schema": bare}).response_format
    assert wanted is not None
    assert wanted.json_schema == bare


def test_a_schema_without_its_wrapper_that_is_none_is_refused() -> None:
    with pytest.raises(InvalidRequest, match="json_schema"):
        asked(response_format={"type": "json_schema", "json_schema": {"name": "x"}})


# ── numbers with one sensible meaning ────────────────────────────────────────────────────────────────────────────────


@pytest.mark.parametrize("path", ["v1/chat/completions", "api/llm/chat"])
def test_a_nucleus_of_nothing_is_the_likeliest_token(http: httpx.Client, path: str) -> None:
    def said(**fields: Any) -> str:
        answer = http.post(path, json={"messages": QUESTION, "max_tokens": 12} | fields).json()
        text: str = answer["content"] if path.startswith("api") else answer["choices"][0]["message"]["content"]
        return text

    assert said(temperature=2, top_p=0, top_k=-1) == said(temperature=0)


@pytest.mark.parametrize("path", ["v1/chat/completions", "api/llm/chat"])
def test_without_a_limit_a_reply_goes_on_until_the_context_is_full(http: httpx.Client, path: str) -> None:
    no_end = {"logit_bias": {"2": -100}, "max_tokens": -1}  # the token that ends a turn is banned
    usage = http.post(path, json={"messages": QUESTION} | no_end).json()["usage"]
    assert usage["prompt_tokens"] + usage["completion_tokens"] >= CONTEXT


# ── one list for all doors ───────────────────────────────────────────────────────────────────────────────────────────


def test_every_door_takes_the_same_options() -> None:
    assert set(Options.model_fields) == WIRE_OPTIONS
    assert set(CompletionBody.model_fields) >= WIRE_OPTIONS
    for option in WIRE_OPTIONS:
        assert parse_ask({"request_id": "1", "messages": QUESTION, option: 1}).options == {option: 1}


DEVELOPER: list[dict[str, Any]] = [
    {"role": "developer", "content": "Be brief."},
    {"role": "user", "content": [{"type": "text", "text": "Hi"}], "name": "ada"},
    {"role": "assistant", "content": None, "refusal": "No."},
    {"role": "user", "content": "Please."},
]
PLAIN = [
    {"role": "system", "content": "Be brief."},
    {"role": "user", "content": "Hi"},
    {"role": "assistant", "content": "No."},
    {"role": "user", "content": "Please."},
]


def test_every_door_reads_the_same_messages() -> None:
    doors = [
        ChatBody.model_validate({"messages": DEVELOPER}).messages,
        [each.as_message() for each in CompletionBody.model_validate({"messages": DEVELOPER}).messages],
        parse_ask({"request_id": "1", "messages": DEVELOPER}).messages or (),
    ]
    assert [tuple(messages) for messages in doors] == [parse_messages(PLAIN)] * 3


@pytest.mark.parametrize(("path", "status"), [("v1/chat/completions", 400), ("api/llm/chat", 422)])
def test_a_part_that_is_a_string_is_refused_with_its_place(http: httpx.Client, path: str, status: int) -> None:
    answer = http.post(path, json={"messages": [{"role": "user", "content": ["Hi"]}]})
    assert (answer.status_code, answer.json()["error"]["param"]) == (status, "messages.0.content.0")
