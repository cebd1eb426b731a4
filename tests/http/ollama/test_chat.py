"""Ollama's own client, unmodified, against chat and generate on the real model."""

from __future__ import annotations

import json
from pathlib import Path
from typing import Any

import httpx
import ollama
import pytest

from llm_core.client import LLMClient
from tests.scripted import CALL_PARIS, TWO_CALLS, WEATHER, saying
from tests.served import loaded_client, served
from tests.waiting import is_idle, stats_of, wait_until

QUESTION: list[Any] = [{"role": "user", "content": "What is the capital of France?"}]
SHORT: dict[str, Any] = {"model": "any", "options": {"num_predict": 24}}  # the server is greedy
CITY = {"type": "object", "properties": {"city": {"enum": ["Oslo"]}}, "required": ["city"]}
FIGURES = ("total_duration", "prompt_eval_count", "prompt_eval_duration", "eval_count", "eval_duration")


@pytest.fixture(scope="module")
def llama(url: str) -> ollama.Client:
    return ollama.Client(host=url)


# ── replies ──────────────────────────────────────────────────────────────────────────────────────────────────────────


def test_the_stream_joins_to_the_whole_answer(llama: ollama.Client) -> None:
    whole = llama.chat(messages=QUESTION, **SHORT)
    parts = list(llama.chat(messages=QUESTION, stream=True, **SHORT))

    assert "Paris" in (whole.message.content or "")
    assert "".join(part.message.content or "" for part in parts) == whole.message.content
    assert len(parts) > 4
    assert [part.done for part in parts] == [False] * (len(parts) - 1) + [True]
    assert parts[-1].done_reason == whole.done_reason == "stop"
    assert {part.model for part in parts} == {whole.model} == {"SmolLM2-135M-Instruct"}
    for end in (whole, parts[-1]):
        assert all(end[figure] > 0 for figure in FIGURES)
        assert end["total_duration"] >= end["load_duration"] >= 0
        assert end["total_duration"] >= end["prompt_eval_duration"]
    assert parts[-1].eval_count == whole.eval_count
    assert parts[-1].prompt_eval_count == whole.prompt_eval_count


def test_each_line_is_an_object_and_streaming_is_the_default(url: str) -> None:
    answer = httpx.post(f"{url}api/chat", json={"messages": QUESTION} | SHORT, timeout=60)

    assert answer.headers["content-type"].startswith("application/x-ndjson")
    lines = answer.text.splitlines()
    assert len(lines) > 4
    for line in lines:
        assert {"model", "created_at", "message", "done"} <= set(json.loads(line))


def test_a_prompt_is_a_conversation_of_its_own(llama: ollama.Client) -> None:
    whole = llama.generate(prompt=QUESTION[0]["content"], system="Be brief.", **SHORT)
    parts = list(llama.generate(prompt=QUESTION[0]["content"], system="Be brief.", stream=True, **SHORT))
    said = llama.chat(messages=[{"role": "system", "content": "Be brief."}, *QUESTION], **SHORT)

    assert whole.response == "".join(part.response for part in parts) == said.message.content
    assert (whole.done, whole.done_reason) == (True, said.done_reason)


async def test_the_client_for_event_loops_reads_the_same(url: str, llama: ollama.Client) -> None:
    awaited = ollama.AsyncClient(host=url)
    whole = await awaited.chat(messages=QUESTION, **SHORT)
    parts = [part async for part in await awaited.chat(messages=QUESTION, stream=True, **SHORT)]

    assert "".join(part.message.content or "" for part in parts) == whole.message.content
    assert whole.message.content == llama.chat(messages=QUESTION, **SHORT).message.content


def test_a_reader_who_leaves_stops_the_reply(llama: ollama.Client, client: LLMClient) -> None:
    story = [{"role": "user", "content": "Tell me a very long story about the sea."}]
    stream = llama.chat("any", messages=story, stream=True, options={"num_predict": 900})
    next(stream)
    assert stats_of(client).running == 1
    stream.close()  # type: ignore[attr-defined]
    wait_until(lambda: is_idle(client), "the engine is free again")


# ── tools and forms ──────────────────────────────────────────────────────────────────────────────────────────────────


@pytest.mark.parametrize("streaming", [False, True], ids=["whole", "streaming"])
def test_calls_go_out_and_their_results_come_back(llama: ollama.Client, client: LLMClient, streaming: bool) -> None:
    asked: dict[str, Any] = {"model": "any", "tools": [WEATHER]}
    with saying(client, f"Let me look.\n{TWO_CALLS}", "Mild in both.") as script:
        if streaming:
            *parts, end = llama.chat(messages=QUESTION, stream=True, **asked)
            calls = [call for part in parts for call in part.message.tool_calls or ()]
            text = "".join(part.message.content or "" for part in parts)
        else:
            end = llama.chat(messages=QUESTION, **asked)
            calls, text = list(end.message.tool_calls or ()), end.message.content or ""
        results = [
            {"role": "tool", "tool_name": call.function.name, "content": f"12 °C {n}"} for n, call in enumerate(calls)
        ]
        said = {"role": "assistant", "content": text, "tool_calls": calls}
        answer = llama.chat(messages=[*QUESTION, said, *results], **asked)

    assert (text, end.done_reason) == ("Let me look.", "stop")
    assert [(call.function.name, call.function.arguments) for call in calls] == [
        ("get_weather", {"city": "Paris"}),
        ("get_weather", {"city": "Röm"}),
    ]
    assert (answer.message.content, answer.message.tool_calls) == ("Mild in both.", None)
    assert CALL_PARIS in script.prompts[1]
    assert script.prompts[1].index("12 °C 0") < script.prompts[1].index("12 °C 1")


def test_a_function_of_python_is_a_tool(llama: ollama.Client, client: LLMClient) -> None:
    def get_weather(city: str) -> str:
        """The weather in a city, now

        Args:
            city: Its name
        """
        return city

    with saying(client, CALL_PARIS) as script:
        message = llama.chat("any", messages=QUESTION, tools=[get_weather]).message

    (call,) = message.tool_calls or ()
    assert get_weather(**call.function.arguments) == "Paris"
    assert "The weather in a city, now" in script.prompts[0]


def test_a_reply_is_held_to_a_schema_or_to_json(llama: ollama.Client) -> None:
    held = llama.chat(messages=QUESTION, format=CITY, **SHORT)
    parts = list(llama.generate(prompt="Where?", format=CITY, stream=True, **SHORT))
    free = llama.chat("any", messages=QUESTION, format="json", options={"num_predict": 200})

    assert json.loads(held.message.content or "") == {"city": "Oslo"}
    assert json.loads("".join(part.response for part in parts)) == {"city": "Oslo"}
    assert free.done_reason == "length" or isinstance(json.loads(free.message.content or ""), dict)
    assert (free.message.content or "").startswith("{")


@pytest.mark.parametrize(("think", "thinking"), [(True, True), ("low", True), ("high", True), (False, False)])
def test_thinking_is_switched(llama: ollama.Client, client: LLMClient, think: Any, thinking: bool) -> None:
    asked = []
    with pytest.MonkeyPatch.context() as patch:
        submit = client.models.submit
        patch.setattr(client.models, "submit", lambda request, sink: (asked.append(request), submit(request, sink))[1])
        llama.chat(messages=QUESTION, think=think, **SHORT)

    assert [request.thinking for request in asked] == [thinking]


def test_thinking_has_a_place_of_its_own(llama: ollama.Client, client: LLMClient) -> None:
    with saying(client, "<think>Let me see.</think>Paris."):
        message = llama.chat(messages=QUESTION, **SHORT).message
        parts = list(llama.chat(messages=QUESTION, stream=True, **SHORT))

    assert (message.thinking, message.content) == ("Let me see.", "Paris.")
    assert "".join(part.message.thinking or "" for part in parts) == "Let me see."


# ── options ──────────────────────────────────────────────────────────────────────────────────────────────────────────


@pytest.mark.parametrize(
    ("options", "is_option"),
    [
        ({"num_predict": 5}, {"max_tokens": 5}),
        ({"num_predict": -1}, {"max_tokens": 1_000_000}),
        ({"num_predict": -2}, {"max_tokens": 1_000_000}),
        ({"num_predict": 0}, {"max_tokens": 1_000_000}),
        ({"stop": ["a", "b"]}, {"stop": ("a", "b")}),
        ({"stop": "a"}, {"stop": ("a",)}),
        ({"num_ctx": 2, "num_gpu": 99, "use_mmap": True, "unheard_of": "x"}, {}),
        ({"temperature": 2, "top_k": -1}, {"temperature": 2.0, "top_k": 0}),
        ({"top_p": 0, "min_p": 1, "typical_p": 1}, {"top_p": 0.0, "min_p": 1.0, "typical_p": 1.0}),
        ({"repeat_penalty": 1.1, "repeat_last_n": -1}, {"repeat_penalty": 1.1, "repeat_last_n": 4096}),
        ({"presence_penalty": -2, "frequency_penalty": 2}, {"presence_penalty": -2.0, "frequency_penalty": 2.0}),
        ({"seed": -1}, {"seed": None}),
        ({"seed": 7}, {"seed": 7}),
        ({"seed": None, "mirostat": 0, "tfs_z": 1.0}, {"seed": None}),
    ],
)
def test_options_at_their_edges(
    url: str, client: LLMClient, options: dict[str, Any], is_option: dict[str, Any]
) -> None:
    with saying(client, "Paris."), pytest.MonkeyPatch.context() as patch:
        asked = []
        submit = client.models.submit
        patch.setattr(client.models, "submit", lambda request, sink: (asked.append(request), submit(request, sink))[1])
        body = {"model": "any", "messages": QUESTION, "options": options}
        assert httpx.post(f"{url}api/chat", json=body, timeout=60).is_success

    (request,) = asked
    found = {name: getattr(request, name, getattr(request.sampling, name, None)) for name in is_option}
    assert found == is_option


def test_what_is_older_than_fits_is_left_out_unless_the_request_says_otherwise(url: str) -> None:
    old = [{"role": "user", "content": "word " * 1200}, {"role": "assistant", "content": "Yes."}]
    body = {"messages": [*old, *QUESTION], "stream": False} | SHORT
    kept = httpx.post(f"{url}api/chat", json=body, timeout=60)
    refused = httpx.post(f"{url}api/chat", json=body | {"truncate": False}, timeout=60)

    assert "Paris" in kept.json()["message"]["content"]
    assert (refused.status_code, set(refused.json())) == (400, {"error"})


def test_logprobs_are_told(url: str) -> None:
    body = {"prompt": QUESTION[0]["content"], "logprobs": True, "top_logprobs": 2, "stream": False} | SHORT
    answer = httpx.post(f"{url}api/generate", json=body, timeout=60).json()

    assert "".join(each["token"] for each in answer["logprobs"]).startswith(answer["response"][:10])
    assert all(len(each["top_logprobs"]) == 2 and each["logprob"] <= 0 for each in answer["logprobs"])


FLAMINGOS = [{"role": "user", "content": f"Repeat: {12 * '🦩'}"}, {"role": "assistant", "content": "🦩🦩🦩🦩"}]


def test_a_stream_that_ends_within_a_character_has_the_logprobs_of_all_its_tokens(llama: ollama.Client) -> None:
    asked: dict[str, Any] = {"model": "any", "messages": FLAMINGOS, "logprobs": True, "options": {"num_predict": 23}}
    whole = [each.token for each in llama.chat(**asked).logprobs or ()]
    streamed = [each.token for part in llama.chat(stream=True, **asked) for each in part.logprobs or ()]

    assert len(whole) == 23
    assert whole[-1] == "\ufffd", "it ends within a character"
    assert streamed == whole


# ── refusals ─────────────────────────────────────────────────────────────────────────────────────────────────────────


@pytest.mark.parametrize(
    ("path", "wrong", "said"),
    [
        ("chat", {"model": ""}, "model"),
        ("chat", {"options": {"temperature": 3}}, "options.temperature"),
        ("chat", {"options": {"typical_p": 0}}, "options.typical_p"),
        ("chat", {"options": {"num_predict": -3}}, "options.num_predict"),
        ("chat", {"options": {"temperature": True}}, "options.temperature"),
        ("chat", {"options": {"mirostat": 2}}, "options.mirostat: is not read here"),
        ("chat", {"options": {"tfs_z": 0.5}}, "options.tfs_z: is not read here"),
        ("chat", {"format": "xml"}, 'format: must be "json" or a JSON schema'),
        ("chat", {"format": {"type": "no such type"}}, "format.type: must be"),
        ("chat", {"think": "much"}, "think: must be"),
        ("chat", {"keep_alive": "long"}, "keep_alive: "),
        ("chat", {"messages": [{"role": "user", "content": "?", "images": ["aGk="]}]}, "messages.0.images"),
        ("chat", {"messages": [*QUESTION, {"role": "tool", "content": "12"}]}, "messages.1"),
        (
            "chat",
            {"messages": [{"role": "user", "content": "?", "tool_calls": [{"function": {"name": "a"}}]}]},
            "messages.0: only an assistant's message can have tool_calls",
        ),
        ("chat", {"messages": [{"role": "user", "content": "word " * 2000}]}, "tokens"),
        ("generate", {"prompt": "word " * 5000, "truncate": False}, "(truncate: true)"),
        ("chat", {"tools": [{"type": "web_search"}]}, "tools.0"),
        ("generate", {"prompt": "a", "raw": True}, "raw: is not read here"),
        ("generate", {"prompt": "a", "suffix": "b"}, "suffix"),
        ("generate", {"prompt": "a", "template": "b"}, "template"),
        ("generate", {"prompt": "a", "images": ["aGk="]}, "images"),
        ("generate", {"prompt": "a", "context": [1, 2]}, "context"),
    ],
)
def test_what_cannot_be_done_is_refused_by_name(url: str, path: str, wrong: dict[str, Any], said: str) -> None:
    body = ({"messages": QUESTION} if path == "chat" else {}) | SHORT | wrong
    answer = httpx.post(f"{url}api/{path}", json=body, timeout=60)

    assert (answer.status_code, set(answer.json())) == (400, {"error"})
    assert said in answer.json()["error"]


def test_a_body_that_is_too_large_is_refused_in_the_same_shape(url: str) -> None:
    answer = httpx.post(f"{url}api/chat", json={"model": "any", "messages": "word " * 10**6}, timeout=60)

    assert (answer.status_code, answer.json()) == (413, {"error": "The body is larger than 4 MB."})


def test_fields_that_ask_for_nothing_are_let_through(url: str) -> None:
    nothing = {"raw": False, "suffix": "", "template": "", "images": [], "context": [], "format": "", "system": ""}
    body = {"prompt": "Hello", "stream": False, "keep_alive": "5m", "think": None} | SHORT | nothing

    assert httpx.post(f"{url}api/generate", json=body, timeout=60).is_success


def test_what_goes_wrong_later_is_the_last_line(url: str, client: LLMClient) -> None:
    with saying(client, "Hel"), pytest.MonkeyPatch.context() as patch:
        patch.setattr("llm_core.http.ollama.answer._DONE_REASONS", {})
        lines = httpx.post(f"{url}api/chat", json={"messages": QUESTION} | SHORT, timeout=60).text.splitlines()

    assert json.loads(lines[0])["message"]["content"] == "Hel"
    assert json.loads(lines[-1]) == {"error": "The server failed; its log says why."}


def test_the_client_raises_what_is_refused(llama: ollama.Client) -> None:
    for streaming in (False, True):
        with pytest.raises(ollama.ResponseError, match=r"options\.temperature") as refused:
            list(llama.chat("any", messages=QUESTION, stream=streaming, options={"temperature": 9}))  # type: ignore[call-overload]
        assert refused.value.status_code == 400


@pytest.mark.parametrize("path", ["copy", "create", "push"])
def test_what_is_not_done_at_all_is_said(url: str, path: str) -> None:
    answer = httpx.post(f"{url}api/{path}", json={"model": "any"})

    assert (answer.status_code, set(answer.json())) == (501, {"error"})
    assert f"/api/{path} is not done here" in answer.json()["error"]


def test_a_token_comes_in_a_header(tmp_path: Path) -> None:
    with loaded_client(tmp_path, api_tokens="ann:secret") as client, served(client) as url:
        with pytest.raises(ollama.ResponseError, match="needs a token") as refused:
            ollama.Client(host=url).chat(messages=QUESTION, **SHORT)
        assert refused.value.status_code == 401
        right = ollama.Client(host=url, headers={"Authorization": "Bearer secret"})
        assert right.chat(messages=QUESTION, **SHORT).message.content
        with pytest.raises(ollama.ResponseError) as forbidden:
            right.generate("any", keep_alive=0)
        assert forbidden.value.status_code == 403
