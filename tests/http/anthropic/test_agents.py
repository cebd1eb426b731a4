"""What agents send by Anthropic's own client: a header that is another one each time, tools, and a conversation that
grows. Only what is new is computed; and the server's own tools run for those who ask."""

from __future__ import annotations

import json
from collections.abc import Iterator
from typing import Any

import anthropic
import pytest

from llm_core.client import LLMClient
from tests.http.test_served_tools import CALCULATE, FILE, SHOUT
from tests.scripted import CALL_PARIS, WEATHER, saying
from tests.served import loaded_client, served

QUESTION: list[Any] = [{"role": "user", "content": "Well?"}]
ASKED: dict[str, Any] = {"model": "any", "max_tokens": 8}
EPHEMERAL = {"cache_control": {"type": "ephemeral"}}
OWN: Any = {"name": "get_weather", "description": "Weather", "input_schema": WEATHER["function"]["parameters"]}
HEADER = "x-anthropic-billing-header: cc_version=2.1.{0}.abc; cc_entrypoint=cli; cch={0:05x};"
IDENTITY = "You are an agent for software engineering, at home in a terminal."
RULES = "Be brief. Read a file before you edit it. Run the tests after each change. " * 12
REMINDER = "<system-reminder>\nToday's date is {}. It may or may not be relevant.\n</system-reminder>"
TOOLS: Any = [
    {
        "name": name,
        "description": f"{name} a file of the project, by its absolute path",
        "input_schema": {"type": "object", "properties": {"path": {"type": "string"}}, "required": ["path"]},
    }
    for name in ("Read", "Edit", "Write")
]


@pytest.fixture(scope="module")
def client(tmp_path_factory: pytest.TempPathFactory) -> Iterator[LLMClient]:
    folder = tmp_path_factory.mktemp("data")
    (folder / "servers.yaml").write_text(FILE)
    tools = {"api_tokens": "ann:ann-secret", "mcp_servers": folder / "servers.yaml"}
    with loaded_client(folder, context_tokens=4096, **tools) as client:
        yield client


@pytest.fixture(scope="module")
def ann(client: LLMClient) -> Iterator[anthropic.Anthropic]:
    with (
        served(client) as url,
        anthropic.Anthropic(base_url=url, api_key="ann-secret", max_retries=0) as ann,
    ):
        yield ann


# ── what is the same is computed once ────────────────────────────────────────────────────────────────────────────────


def blocks(number: int) -> list[dict[str, Any]]:
    """The system prompt of an agent's request."""
    header = {"type": "text", "text": HEADER.format(number)}
    return [header, {"type": "text", "text": IDENTITY} | EPHEMERAL, {"type": "text", "text": RULES} | EPHEMERAL]


def begun(day: str = "2026-11-29") -> list[dict[str, Any]]:
    reminder = {"type": "text", "text": REMINDER.format(day)}
    return [{"role": "user", "content": [reminder, {"type": "text", "text": "What is in /a.py?"} | EPHEMERAL]}]


def used(ann: anthropic.Anthropic, number: int, messages: Any, system: Any = None) -> tuple[int, int]:
    """Tokens that were in the cache, and that were computed."""
    asked = {"system": system or blocks(number), "tools": TOOLS, "messages": messages, "metadata": {"user_id": "u_1"}}
    with ann.messages.stream(**asked, **ASKED) as stream:
        usage = stream.get_final_message().usage
    return usage.cache_read_input_tokens or 0, usage.input_tokens


def test_an_agent_s_growing_conversation_is_read_once(ann: anthropic.Anthropic) -> None:
    messages = begun()
    used(ann, 0, messages)
    _, whole = used(ann, 1, messages)
    before = sum(used(ann, 2, messages))
    assert whole < 3, "the same but for the header: all of it was there"
    for number in range(3, 6):
        call = {"type": "tool_use", "id": f"toolu_{number}", "name": "Read", "input": {"path": f"/{number}.py"}}
        result = {"type": "tool_result", "tool_use_id": call["id"], "content": [{"type": "text", "text": "import os"}]}
        reminder = {"type": "text", "text": "<system-reminder>\nThe file is long.\n</system-reminder>"} | EPHEMERAL
        messages += [{"role": "assistant", "content": [call]}, {"role": "user", "content": [result, reminder]}]
        cached, computed = used(ann, number, messages)
        assert cached >= before - 8, "the prompt before, but for how it asked for a reply"
        assert computed < 200
        before = cached + computed


def test_another_day_in_the_first_message_leaves_what_is_before_it(ann: anthropic.Anthropic) -> None:
    sum(used(ann, 0, begun("2026-11-29")))
    cached, computed = used(ann, 1, begun("2026-11-30"))

    assert cached > 5 * computed, "rules and tools come first"


@pytest.mark.parametrize(
    "system",
    [
        "{}\n" + RULES,
        [{"type": "text", "text": "{}\n" + RULES}],
        [{"type": "text", "text": "{}"}, {"type": "text", "text": RULES}],
    ],
    ids=["a text", "one block", "two blocks"],
)
def test_the_header_alone_is_left_out_wherever_it_stands(
    ann: anthropic.Anthropic, client: LLMClient, system: Any
) -> None:
    written = json.dumps(system)
    with saying(client, "Hi.") as script:
        for number in range(2):
            headed = json.loads(written.replace("{}", HEADER.format(number)))
            ann.messages.create(messages=QUESTION, system=headed, **ASKED)

    assert script.prompts[0] == script.prompts[1]
    assert RULES.strip() in script.prompts[0]
    assert "billing" not in script.prompts[0]


# ── tools that the server runs ───────────────────────────────────────────────────────────────────────────────────────


def asked(ann: anthropic.Anthropic, *, streams: bool, **more: Any) -> anthropic.types.Message:
    body = {"messages": QUESTION, "extra_body": {"run_tools": True}} | ASKED | more
    if not streams:
        message: anthropic.types.Message = ann.messages.create(**body)
        return message
    with ann.messages.stream(**body) as stream:
        return stream.get_final_message()


@pytest.mark.parametrize("streams", [False, True])
def test_the_answer_is_told_and_no_calls_of_ours(ann: anthropic.Anthropic, client: LLMClient, streams: bool) -> None:
    with saying(client, CALCULATE, "42.") as script:
        message = asked(ann, streams=streams)

    assert [block.to_dict() for block in message.content] == [{"type": "text", "text": "42."}]
    assert message.stop_reason == "end_turn"
    assert "calculate" in script.prompts[0]


@pytest.mark.parametrize("streams", [False, True])
def test_calls_of_the_caller_s_tools_and_those_that_need_consent_are_left_to_them(
    ann: anthropic.Anthropic, client: LLMClient, streams: bool
) -> None:
    with saying(client, f"{CALCULATE}\n{SHOUT}\n{CALL_PARIS}"):
        message = asked(ann, streams=streams, tools=[OWN])

    calls = {block.name: block.input for block in message.content if block.type == "tool_use"}
    assert calls == {"t.shout": {"text": "a"}, "get_weather": {"city": "Paris"}}
    assert message.stop_reason == "tool_use"


def test_a_tool_that_is_not_there_is_refused_by_its_place(ann: anthropic.Anthropic) -> None:
    with pytest.raises(anthropic.BadRequestError, match=r"run_tools\.0: there is no tool 'rm'"):
        ann.messages.create(messages=QUESTION, extra_body={"run_tools": ["rm"]}, **ASKED)
