"""Function calling and response formats through Gradio's own client, unmodified."""

from __future__ import annotations

import json
from typing import Any

import gradio_client
import pytest
from gradio_client.exceptions import AppError

from llm_core.client import LLMClient
from tests.scripted import CALL_PARIS, PARIS, QUESTION, ROME, TWO_CALLS, WEATHER, saying

from .conftest import connect


def named(reply: dict[str, Any]) -> list[tuple[str, str]]:
    return [(call["function"]["name"], call["function"]["arguments"]) for call in reply["tool_calls"]]


def test_a_stream_yields_the_reply_so_far_and_last_the_whole_one(ann: gradio_client.Client, client: LLMClient) -> None:
    with saying(client, f"Let me look.\n{TWO_CALLS}"):
        replies = list(ann.submit(QUESTION, [WEATHER], api_name="/chat_tools"))
        whole = ann.predict(QUESTION, [WEATHER], api_name="/chat_tools")

    assert named(whole) == named(replies[-1]) == [("get_weather", PARIS), ("get_weather", ROME)]
    assert (whole["content"], whole["finish_reason"]) == ("Let me look.", "tool_calls")
    for reply in replies:
        assert whole["content"].startswith(reply["content"])


def test_a_call_goes_there_and_back(ann: gradio_client.Client, client: LLMClient) -> None:
    with saying(client, CALL_PARIS, "Mild.") as script:
        reply = ann.predict(QUESTION, [WEATHER], api_name="/chat_tools")
        (call,) = reply["tool_calls"]
        calling = {"role": "assistant", "content": reply["content"], "tool_calls": [call]}
        result = {"role": "tool", "tool_call_id": call["id"], "content": "12 °C"}
        answer = ann.predict([*QUESTION, calling, result], [WEATHER], api_name="/chat_tools")

    assert (answer["content"], answer["tool_calls"], answer["finish_reason"]) == ("Mild.", [], "stop")
    assert CALL_PARIS in script.prompts[1]
    assert "12 °C" in script.prompts[1]


def test_a_session_goes_on_with_the_results_of_its_owner(
    url: str, ann: gradio_client.Client, client: LLMClient
) -> None:
    with saying(client, CALL_PARIS, "Mild.") as script:
        reply = ann.predict("trip", "Paris?", [WEATHER], api_name="/session_chat_tools")
        results = [{"tool_call_id": reply["tool_calls"][0]["id"], "content": "12 °C"}]
        with pytest.raises(AppError, match="no session 'trip'"):
            connect(url, "bob-secret").predict("trip", None, [WEATHER], "auto", results, api_name="/session_chat_tools")
        answer = ann.predict("trip", None, [WEATHER], "auto", results, api_name="/session_chat_tools")

    assert answer["content"] == "Mild."
    assert CALL_PARIS in script.prompts[-1]
    history = ann.predict("trip", api_name="/session_history")
    assert [message["role"] for message in history] == ["user", "assistant", "tool", "assistant"]
    assert history[1]["tool_calls"] == reply["tool_calls"]


def test_a_tool_that_is_chosen_by_name_is_called(ann: gradio_client.Client) -> None:
    choice = {"type": "function", "function": {"name": "get_weather"}}
    reply = ann.predict(QUESTION, [WEATHER], choice, 0, 100, api_name="/chat_tools")

    ((name, arguments),) = named(reply)
    assert name == "get_weather"
    assert set(json.loads(arguments)) == {"city"}


@pytest.mark.parametrize(
    ("endpoint", "before"), [("/chat_complete", (QUESTION,)), ("/session_chat", ("json", "Paris or Rome?"))]
)
def test_text_endpoints_take_a_response_format_last(
    ann: gradio_client.Client, endpoint: str, before: tuple[Any, ...]
) -> None:
    schema = {"type": "object", "properties": {"city": {"enum": ["Paris", "Rome"]}}, "required": ["city"]}
    schema["additionalProperties"] = False
    wanted = {"type": "json_schema", "json_schema": {"name": "city", "schema": schema}}
    whole = ann.predict(*before, 0, 60, wanted, api_name=endpoint)

    assert json.loads(whole)["city"] in ("Paris", "Rome")


def test_what_is_refused_is_told_in_a_sentence(ann: gradio_client.Client) -> None:
    for arguments, said in (
        ((QUESTION, [{"type": "function"}]), r"tools\.0"),
        ((QUESTION, [WEATHER], "perhaps"), "tool_choice"),
        ((QUESTION, "weather"), "tools"),
    ):
        with pytest.raises(AppError, match=said):
            ann.predict(*arguments, api_name="/chat_tools")
    with pytest.raises(AppError, match="response_format"):
        ann.predict(QUESTION, 0, 4, {"type": "yaml"}, api_name="/chat_complete")
    with pytest.raises(AppError, match="message"):
        ann.predict("empty", None, [WEATHER], api_name="/session_chat_tools")


def test_the_endpoints_are_typed(ann: gradio_client.Client) -> None:
    endpoints = ann.view_api(return_format="dict", print_info=False)["named_endpoints"]

    parameters = {each["parameter_name"]: each for each in endpoints["/chat_tools"]["parameters"]}
    assert list(parameters) == ["messages", "tools", "tool_choice", "temperature", "max_tokens", "model", "run_tools"]
    assert parameters["tool_choice"]["parameter_default"] == "auto"
    assert endpoints["/chat_tools"]["returns"][0]["type"]["type"] == "object"
    session = [each["parameter_name"] for each in endpoints["/session_chat_tools"]["parameters"]]
    assert session[:5] == ["session_id", "message", "tools", "tool_choice", "tool_results"]
    for text in ("/chat_complete", "/chat_stream", "/session_chat", "/session_chat_stream"):
        last = [(each["parameter_name"], each["parameter_has_default"]) for each in endpoints[text]["parameters"]]
        files = [("attachments", True)] if "session" in text else []
        wanted = [("response_format", True), ("model", True), *files]
        assert last[-len(wanted) :] == wanted
