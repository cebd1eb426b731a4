"""Function calling and response formats over `/api/llm/chat`: streaming or not, with a session or without."""

from __future__ import annotations

import json
from collections.abc import Iterator
from typing import Any

import httpx
import pytest

from llm_core.client import LLMClient
from tests.scripted import CALL_PARIS, GET_WEATHER, HALF_A_CALL, PARIS, QUESTION, ROME, TWO_CALLS, WEATHER, saying

ASKED: dict[str, Any] = {"messages": QUESTION, "tools": [WEATHER]}
Event = dict[str, Any]
SETTINGS: dict[str, Any] = {"api_tokens": "ann:ann-secret,bob:bob-secret"}


@pytest.fixture(scope="module")
def url(url: str) -> str:
    return f"{url}api/llm"


def caller(url: str, token: str) -> httpx.Client:
    return httpx.Client(base_url=url, headers={"Authorization": f"Bearer {token}"}, timeout=60)


@pytest.fixture(scope="module")
def http(url: str) -> Iterator[httpx.Client]:
    with caller(url, "ann-secret") as http:
        yield http


def post(http: httpx.Client, path: str, body: Event) -> Event:
    answer = http.post(path, json=body)
    assert answer.status_code == 200, answer.text
    said: Event = answer.json()
    return said


def stream(http: httpx.Client, path: str, body: Event) -> list[Event]:
    answer = http.post(path, json=body)
    assert answer.headers["content-type"].startswith("text/event-stream"), answer.text
    return [json.loads(line.removeprefix("data: ")) for line in answer.text.splitlines() if line.startswith("data: ")]


def pieces_of(events: list[Event]) -> list[Event]:
    return [piece for event in events for piece in event.get("tool_calls", [])]


def joined(pieces: list[Event]) -> list[tuple[str, str]]:
    """Names and arguments of the calls that the pieces add up to."""
    names = [piece["function"]["name"] for piece in pieces if "id" in piece]
    arguments = ["" for _ in names]
    for piece in pieces:
        arguments[piece["index"]] += piece["function"]["arguments"]
    return list(zip(names, arguments, strict=True))


def named(calls: list[Event]) -> list[tuple[str, str]]:
    return [(call["function"]["name"], call["function"]["arguments"]) for call in calls]


# ── without a session ────────────────────────────────────────────────────────────────────────────────────────────────


def test_a_whole_reply_has_text_and_calls(http: httpx.Client, client: LLMClient) -> None:
    with saying(client, f"Let me look.\n{TWO_CALLS}") as script:
        reply = post(http, "/chat", ASKED)

    assert (reply["content"], reply["finish_reason"]) == ("Let me look.", "tool_calls")
    assert named(reply["tool_calls"]) == [("get_weather", PARIS), ("get_weather", ROME)]
    assert {call["type"] for call in reply["tool_calls"]} == {"function"}
    assert len({call["id"] for call in reply["tool_calls"]}) == 2
    assert '"get_weather"' in script.prompts[0], "the model knows what it may call"


def test_a_stream_has_a_calls_head_first_and_its_pieces_are_the_whole_reply(
    http: httpx.Client, client: LLMClient
) -> None:
    with saying(client, f"Let me look.\n{TWO_CALLS}"):
        events = stream(http, "/chat/stream", ASKED)

    head, *rest = [piece for piece in pieces_of(events) if piece["index"] == 0]
    assert head | {"id": ""} == {
        "index": 0,
        "id": "",
        "type": "function",
        "function": {"name": "get_weather", "arguments": ""},
    }
    assert head["id"]
    assert len(rest) > 2, "arguments come as they are made"
    assert all(set(piece) == {"index", "function"} and set(piece["function"]) == {"arguments"} for piece in rest)
    assert joined(pieces_of(events)) == [("get_weather", PARIS), ("get_weather", ROME)]
    assert "".join(event.get("content", "") for event in events) == "Let me look."
    assert events[-1]["finish_reason"] == "tool_calls"


def test_results_are_told_to_the_model(http: httpx.Client, client: LLMClient) -> None:
    with saying(client, TWO_CALLS, "Mild.") as script:
        reply = post(http, "/chat", ASKED)
        results = [{"role": "tool", "tool_call_id": call["id"], "content": "12 °C"} for call in reply["tool_calls"]]
        calling = {"role": "assistant", "content": None, "tool_calls": reply["tool_calls"]}
        again = post(http, "/chat", ASKED | {"messages": [*QUESTION, calling, *results]})

    assert (again["content"], again["finish_reason"]) == ("Mild.", "stop")
    assert "tool_calls" not in again
    assert CALL_PARIS in script.prompts[1]
    assert script.prompts[1].count("12 °C") == 2


def test_where_nothing_may_be_called_what_looks_like_a_call_is_text(http: httpx.Client, client: LLMClient) -> None:
    for options in ({"tool_choice": "none"}, {"tools": []}):
        with saying(client, CALL_PARIS) as script:
            reply = post(http, "/chat", ASKED | options)

        assert (reply["content"], reply["finish_reason"]) == (CALL_PARIS, "stop")
        assert "get_weather" not in script.prompts[0]


def test_a_tool_that_is_chosen_by_name_is_called_with_what_its_schema_allows(http: httpx.Client) -> None:
    forced = ASKED | {"tool_choice": GET_WEATHER, "max_tokens": 200}
    whole = post(http, "/chat", forced)
    events = stream(http, "/chat/stream", forced)

    ((name, arguments),) = named(whole["tool_calls"])
    assert name == "get_weather"
    assert set(json.loads(arguments)) == {"city"}
    assert whole["finish_reason"] == "tool_calls"
    assert joined(pieces_of(events)) == [(name, arguments)]


def test_a_reply_is_held_to_the_schema_that_is_asked_for(http: httpx.Client) -> None:
    schema = {
        "type": "object",
        "properties": {"city": {"enum": ["Paris", "Rome"]}, "days": {"type": "integer", "minimum": 1, "maximum": 9}},
        "required": ["city", "days"],
        "additionalProperties": False,
    }
    wanted = {"type": "json_schema", "json_schema": {"name": "trip", "schema": schema}}
    asked: Event = {"messages": QUESTION, "response_format": wanted, "max_tokens": 200}
    trip = json.loads(post(http, "/chat", asked)["content"])

    assert trip["city"] in ("Paris", "Rome")
    assert trip["days"] in range(1, 10)
    text = "".join(event.get("content", "") for event in stream(http, "/chat/stream", asked))
    assert json.loads(text) == trip


# ── in a session ─────────────────────────────────────────────────────────────────────────────────────────────────────


def test_a_session_keeps_the_call_and_its_result_and_tells_both_next_time(
    http: httpx.Client, client: LLMClient
) -> None:
    turn: Event = {"session_id": "trip", "tools": [WEATHER]}
    with saying(client, f"Let me look.\n{TWO_CALLS}", "Mild.", "Any time.") as script:
        reply = post(http, "/chat/session", turn | {"message": "Paris and Rome?"})
        results = [{"tool_call_id": call["id"], "content": "12 °C"} for call in reply["tool_calls"]]
        events = stream(http, "/chat/session/stream", turn | {"tool_results": results})
        post(http, "/chat/session", {"session_id": "trip", "message": "Thanks"})

    assert "".join(event.get("content", "") for event in events) == "Mild."
    assert all(event["session_id"] == "trip" for event in events)
    for prompt in script.prompts[1:]:
        assert "Let me look." in prompt
        assert CALL_PARIS in prompt
        assert prompt.count("12 °C") == 2
    assert "The weather in a city" not in script.prompts[2], "tools come with each request"
    calling, first, second, answer = http.get("/chat/session/trip/history").json()["messages"][1:5]
    assert calling["tool_calls"] == reply["tool_calls"]
    assert (calling["finish_reason"], calling["status"]) == ("tool_calls", "complete")
    assert [first["tool_call_id"], second["tool_call_id"]] == [call["id"] for call in reply["tool_calls"]]
    assert (first["role"], first["content"], answer["content"]) == ("tool", "12 °C", "Mild.")
    assert http.get("/chat/session/trip/export").json()["messages"][1]["tool_calls"] == reply["tool_calls"]
    markdown = http.get("/chat/session/trip/export", params={"format": "markdown"}).text
    assert f"calls `get_weather`\n\n```json\n{PARIS}\n```" in markdown
    (row,) = http.get("/sessions", params={"search": "Rome"}).json()["sessions"]
    assert row["title"] == "Paris and Rome?"


def test_a_call_that_was_cut_short_is_told_but_not_kept(http: httpx.Client, client: LLMClient) -> None:
    body = {"session_id": "short", "message": "Rome?", "tools": [WEATHER]}
    with saying(client, f"Let me look.\n{HALF_A_CALL}", reason="length"):
        events = stream(http, "/chat/session/stream", body)

    assert joined(pieces_of(events)) == [("get_weather", '{"city": "R')]
    assert events[-1]["finish_reason"] == "length"
    _, reply = http.get("/chat/session/short/history").json()["messages"]
    assert reply["content"] == "Let me look."
    assert "tool_calls" not in reply


def test_another_owners_session_is_not_there_for_results(url: str, http: httpx.Client, client: LLMClient) -> None:
    with saying(client, CALL_PARIS, "Mild."):
        reply = post(http, "/chat/session", {"session_id": "anns", "message": "Paris?", "tools": [WEATHER]})
        results = [{"tool_call_id": reply["tool_calls"][0]["id"], "content": "12 °C"}]
        body = {"session_id": "anns", "tool_results": results}
        with caller(url, "bob-secret") as bob:
            for path in ("/chat/session", "/chat/session/stream"):
                refused = bob.post(path, json=body)
                assert (refused.status_code, refused.json()["error"]["code"]) == (404, "session_not_found")
            assert bob.get("/sessions").json() == {"sessions": []}
        assert post(http, "/chat/session", body)["content"] == "Mild."


@pytest.mark.parametrize(
    ("body", "status", "param"),
    [
        ({"tool_results": [{"tool_call_id": "call_1", "content": "12 °C"}]}, 400, "tool_results.0.tool_call_id"),
        ({}, 400, "message"),
        ({"message": "Hi", "tool_results": [{"tool_call_id": "call_1", "content": "x"}]}, 400, "tool_results"),
        ({"tool_results": []}, 422, "tool_results"),
        ({"tool_results": [{"content": "12 °C"}]}, 400, "tool_results.0"),
        ({"tool_results": [{"tool_call_id": "call_1", "content": {"degrees": 12}}]}, 400, "tool_results.0.content"),
        ({"tool_results": [{"tool_call_id": "call_1", "content": "x", "mood": 1}]}, 400, "tool_results.0.mood"),
        ({"message": "Hi", "tools": [WEATHER, WEATHER]}, 400, "tools"),
    ],
    ids=str,
)
@pytest.mark.parametrize("path", ["/chat/session", "/chat/session/stream"])
def test_results_that_answer_nothing_are_refused_by_name(
    http: httpx.Client, client: LLMClient, path: str, body: Event, status: int, param: str
) -> None:
    with saying(client, "Hello."):
        post(http, "/chat/session", {"session_id": "plain", "message": "Hello"})
        before = http.get("/chat/session/plain/history").json()
        answer = http.post(path, json=body | {"session_id": "plain"})

    assert (answer.status_code, answer.json()["error"]["param"]) == (status, param)
    assert http.get("/chat/session/plain/history").json() == before


# ── refusals ─────────────────────────────────────────────────────────────────────────────────────────────────────────


@pytest.mark.parametrize(
    ("options", "param"),
    [
        ({"tools": [{"type": "function", "function": {"name": "two words"}}]}, "tools.0.name"),
        ({"tools": [WEATHER, {"type": "web_search"}]}, "tools.1"),
        ({"tool_choice": "perhaps"}, "tool_choice"),
        ({"tool_choice": {"type": "function", "function": {"name": "get_time"}}}, "tool_choice"),
        ({"tools": [], "tool_choice": "required"}, "tool_choice"),
        ({"response_format": {"type": "yaml"}}, "response_format"),
        ({"messages": [*QUESTION, {"role": "tool", "tool_call_id": "x", "content": ""}]}, "messages.1.tool_call_id"),
    ],
    ids=str,
)
@pytest.mark.parametrize("path", ["/chat", "/chat/stream"])
def test_what_cannot_be_called_or_held_is_refused_by_name(
    http: httpx.Client, path: str, options: Event, param: str
) -> None:
    answer = http.post(path, json=ASKED | options)

    assert answer.status_code == 400
    assert answer.json()["error"]["code"] == "invalid_request"
    assert answer.json()["error"]["param"] == param


def test_a_tool_written_in_halves_of_characters_is_refused(http: httpx.Client) -> None:
    body = json.dumps(ASKED).replace("The weather in a city", "\\ud800").encode()
    answer = http.post("/chat", content=body, headers={"Content-Type": "application/json"})

    assert (answer.status_code, answer.json()["error"]["param"]) == (400, "tools.0.description")


def test_the_documentation_shows_what_a_tool_looks_like(url: str) -> None:
    schemas = httpx.get(
        f"{url.removesuffix('/api/llm')}/openapi.json", headers={"Authorization": "Bearer ann-secret"}
    ).json()["components"]["schemas"]

    fields = schemas["ChatBody"]["properties"]
    (tools, _) = fields["tools"]["anyOf"]
    assert tools["items"]["properties"]["function"]["required"] == ["name"]
    assert fields["tools"]["examples"][0][0]["function"]["name"] == "get_weather"
    assert "tool_results" in schemas["SessionBody"]["properties"]
    assert "tool_calls" in schemas["ReplyAnswer"]["properties"]
    assert {"tool_calls", "tool_call_id"} <= set(schemas["HistoryMessage"]["properties"])
