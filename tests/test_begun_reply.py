"""A conversation that ends with the assistant's message: the reply is gone on with, through every doorway."""

from __future__ import annotations

from typing import Any

import anthropic
import httpx
import openai
import pytest

from llm_core.client import LLMClient
from llm_core.errors import InvalidRequest

QUESTION: list[Any] = [{"role": "user", "content": "What is the capital of France?"}]
FORM = {"type": "json_schema", "json_schema": {"name": "n", "schema": {"type": "object"}}}
TOOL = {"type": "function", "function": {"name": "now", "parameters": {"type": "object", "properties": {}}}}


SETTINGS: dict[str, Any] = {"system_prompt": "", "max_tokens": 24}


@pytest.fixture(scope="module")
def pieces(client: LLMClient) -> list[str]:
    pieces = list(client.generate_stream(QUESTION))
    assert len(pieces) > 6
    return pieces


@pytest.fixture(scope="module")
def begun(pieces: list[str]) -> list[Any]:
    """The conversation with half of its reply."""
    return [*QUESTION, {"role": "assistant", "content": "".join(pieces[:4])}]


@pytest.fixture(scope="module")
def rest(pieces: list[str]) -> str:
    return "".join(pieces[4:])


def test_only_the_rest_comes_and_what_was_begun_counts_as_prompt(
    client: LLMClient, begun: list[Any], rest: str, pieces: list[str]
) -> None:
    whole, reply = client.chat(QUESTION), client.chat(begun)

    assert "".join(client.generate_stream(begun)).startswith(rest)
    assert reply.content.startswith(rest)
    assert reply.usage.prompt_tokens == whole.usage.prompt_tokens + 4
    assert reply.usage.cached_tokens == reply.usage.prompt_tokens - 1, "the model had said it itself"
    assert client.count_tokens(begun) == reply.usage.prompt_tokens
    assert reply.usage.cache_miss is None


def test_a_reply_of_which_nothing_was_said_is_a_new_one(client: LLMClient, pieces: list[str]) -> None:
    assert client.generate([*QUESTION, {"role": "assistant", "content": ""}]) == "".join(pieces)


def test_a_stop_text_and_a_limit_hold_for_what_comes(client: LLMClient, begun: list[Any], rest: str) -> None:
    word = rest.split()[-1]

    assert client.chat(begun, max_tokens=2).usage.completion_tokens == 2
    assert client.generate(begun, stop=word) == rest[: rest.index(word)]


@pytest.mark.parametrize(
    ("options", "param"),
    [
        ({"response_format": FORM}, "response_format"),
        ({"tools": [TOOL], "tool_choice": "required"}, "tool_choice"),
        ({"tools": [TOOL], "tool_choice": {"type": "function", "function": {"name": "now"}}}, "tool_choice"),
    ],
    ids=str,
)
def test_a_form_would_have_to_hold_for_what_is_there_already(
    client: LLMClient, begun: list[Any], options: dict[str, Any], param: str
) -> None:
    with pytest.raises(InvalidRequest, match="was begun") as refused:
        client.chat(begun, **options)

    assert refused.value.param == param
    assert client.generate(begun, tools=[TOOL], response_format={"type": "text"})


def test_so_it_does_over_http(url: str, begun: list[Any], rest: str) -> None:
    with httpx.Client(base_url=url, timeout=60) as http:
        whole = http.post("api/llm/chat", json={"messages": begun}).json()
        lines = http.post("api/llm/chat/stream", json={"messages": begun}).text.splitlines()

    assert whole["content"].startswith(rest)
    assert any('"content":' in line for line in lines)


@pytest.mark.parametrize("switches", [{}, {"continue_final_message": True, "add_generation_prompt": False}], ids=str)
def test_so_it_does_for_openais_clients(url: str, begun: list[Any], rest: str, switches: dict[str, Any]) -> None:
    with openai.OpenAI(base_url=f"{url}v1", api_key="none", max_retries=0) as theirs:
        made = theirs.chat.completions.create(model="any", messages=begun, extra_body=switches)
        stream = theirs.chat.completions.create(model="any", messages=begun, extra_body=switches, stream=True)
        streamed = "".join(chunk.choices[0].delta.content or "" for chunk in stream)

        with pytest.raises(openai.BadRequestError, match="continue_final_message"):
            theirs.chat.completions.create(
                model="any", messages=begun, extra_body={"continue_final_message": False}, max_tokens=1
            )
    assert made.choices[0].message.content == streamed
    assert streamed.startswith(rest)


def test_so_it_does_for_anthropics_client(url: str, begun: list[Any], rest: str) -> None:
    with anthropic.Anthropic(base_url=url, api_key="none", max_retries=0) as claude:
        made = claude.messages.create(model="any", messages=begun, max_tokens=24)
        counted = claude.messages.count_tokens(model="any", messages=begun)

    assert made.content[0].type == "text"
    assert made.content[0].text.startswith(rest)
    assert counted.input_tokens == made.usage.input_tokens + (made.usage.cache_read_input_tokens or 0)
