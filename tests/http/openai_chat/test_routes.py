"""OpenAI's own client, unmodified, against the routes on the real model."""

from __future__ import annotations

import json
import os
import socket
import subprocess
import sys
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import httpx
import openai
import pytest
from openai.types.chat import ChatCompletionChunk

from llm_core.client import LLMClient
from llm_core.http import sse as sse_module
from llm_core.server.server import MAX_BODY_BYTES
from llm_core.settings import Settings
from tests.served import served
from tests.waiting import free_port, is_idle, stats_of, wait_until

ROOT = Path(__file__).resolve().parents[3]
QUESTION = [{"role": "user", "content": "What is the capital of France?"}]
STORY = [{"role": "user", "content": "Tell me a very long story about the sea."}]
JSON = {"Content-Type": "application/json"}
GREEDY: dict[str, Any] = {"model": "any", "temperature": 0, "max_tokens": 24}
# A reply that does not end by itself: the token that ends a turn (id 2 in the bundled model) is banned.
LONG_TOKENS = 900
LONG: dict[str, Any] = {"messages": STORY, "model": "any", "max_tokens": LONG_TOKENS, "logit_bias": {"2": -100}}


@pytest.fixture(scope="module")
def client() -> Iterator[LLMClient]:
    settings = Settings(
        parallel=2, context_tokens=1024, queue_limit=1, rate_limit="none", GRADIO_SERVER_PORT=free_port()
    )
    with LLMClient(settings) as client:
        client.wait_ready()
        yield client


@pytest.fixture(scope="module")
def url(url: str) -> str:
    """Base URL of OpenAI's routes."""
    return f"{url}v1"


@pytest.fixture(scope="module")
def openai_client(url: str) -> Iterator[openai.OpenAI]:
    with openai.OpenAI(base_url=url, api_key="none", max_retries=0) as client:
        yield client


def text_of(chunks: list[ChatCompletionChunk]) -> str:
    return "".join(choice.delta.content or "" for chunk in chunks for choice in chunk.choices)


def post(url: str, body: Any, **fields: Any) -> httpx.Response:
    return httpx.post(f"{url}/chat/completions", json=body, timeout=60, **fields)


# ── answers ──────────────────────────────────────────────────────────────────────────────────────────────────────────


def test_the_stream_joins_to_the_whole_answer(openai_client: openai.OpenAI) -> None:
    whole = openai_client.chat.completions.create(messages=QUESTION, **GREEDY)
    chunks = list(openai_client.chat.completions.create(messages=QUESTION, stream=True, **GREEDY))

    assert "Paris" in (whole.choices[0].message.content or "")
    assert text_of(chunks) == whole.choices[0].message.content
    assert len(chunks) > 3
    assert chunks[0].choices[0].delta.role == "assistant"
    assert [chunk.choices[0].finish_reason for chunk in chunks][-2:] == [None, whole.choices[0].finish_reason]
    assert len({chunk.id for chunk in chunks}) == 1


def test_usage_comes_with_the_whole_answer_and_last_in_a_stream_that_asked_for_it(openai_client: openai.OpenAI) -> None:
    whole = openai_client.chat.completions.create(messages=STORY, **GREEDY)
    stream = openai_client.chat.completions.create(
        messages=STORY, stream=True, stream_options={"include_usage": True}, **GREEDY
    )
    *before, last = list(stream)

    assert whole.usage is not None
    assert whole.usage.completion_tokens == 24
    assert whole.usage.total_tokens == whole.usage.prompt_tokens + 24
    assert whole.choices[0].finish_reason == "length"
    assert all(chunk.usage is None for chunk in before)
    assert last.choices == []
    assert last.usage is not None
    assert (last.usage.prompt_tokens, last.usage.completion_tokens) == (whole.usage.prompt_tokens, 24)
    details = last.usage.prompt_tokens_details
    assert details is not None
    assert details.cached_tokens == last.usage.prompt_tokens - 1, "the same prompt again is cached"
    assert last.usage.model_dump()["cache_miss"] is None, "and nothing of it was read again"


def test_a_stream_ends_with_done_on_the_wire(url: str) -> None:
    answer = post(url, {"messages": QUESTION, "stream": True, "max_tokens": 2})
    events = answer.text.split("\n\n")

    assert answer.headers["content-type"].startswith("text/event-stream")
    assert answer.headers["cache-control"] == "no-cache"
    assert events[-2:] == ["data: [DONE]", ""]
    assert all(json.loads(event.removeprefix("data: "))["object"] == "chat.completion.chunk" for event in events[:-2])


async def test_the_async_client_gets_the_same(url: str, openai_client: openai.OpenAI) -> None:
    whole = openai_client.chat.completions.create(messages=QUESTION, **GREEDY)
    async with openai.AsyncOpenAI(base_url=url, api_key="none") as client:
        stream = await client.chat.completions.create(messages=QUESTION, stream=True, **GREEDY)
        chunks = [chunk async for chunk in stream]
    assert text_of(chunks) == whole.choices[0].message.content


def test_an_answer_can_be_sent_back_as_part_of_the_conversation(openai_client: openai.OpenAI) -> None:
    first = openai_client.chat.completions.create(messages=QUESTION, **GREEDY).choices[0].message
    turns = [*QUESTION, first, {"role": "user", "content": "And of Italy?"}]
    second = openai_client.chat.completions.create(messages=turns, **GREEDY)
    assert second.usage is not None
    assert second.usage.prompt_tokens_details is not None
    assert (second.usage.prompt_tokens_details.cached_tokens or 0) > second.usage.prompt_tokens / 2


def test_log_probabilities_come_with_their_alternatives(openai_client: openai.OpenAI) -> None:
    asked = GREEDY | {"max_tokens": 3, "logprobs": True, "top_logprobs": 2}
    whole = openai_client.chat.completions.create(messages=QUESTION, **asked)
    logprobs = whole.choices[0].logprobs
    assert logprobs is not None
    assert logprobs.content is not None
    assert "".join(each.token for each in logprobs.content) == whole.choices[0].message.content
    for each in logprobs.content:
        assert each.top_logprobs[0].token == each.token, "greedy takes the likeliest"
        assert len(each.top_logprobs) == 2
        assert bytes(each.bytes or []).decode() == each.token


def test_sampling_settings_of_openai_and_of_llama_cpp_reach_the_model(openai_client: openai.OpenAI) -> None:
    def ask(**fields: Any) -> str | None:
        llama_cpp = {"top_k": 50, "min_p": 0.01, "typical_p": 1.0, "repeat_penalty": 1.1}
        asked: dict[str, Any] = {"model": "any", "temperature": 1.5, "max_completion_tokens": 12} | fields
        return (
            openai_client.chat.completions.create(messages=STORY, extra_body=llama_cpp, **asked)
            .choices[0]
            .message.content
        )

    assert ask(seed=1) == ask(seed=1)
    assert ask(seed=-(2**62)) == ask(seed=-(2**62)), "any 64-bit seed will do, as with OpenAI"
    assert ask(seed=1) != ask(seed=2)


def test_a_stop_text_ends_the_answer_and_is_not_part_of_it(openai_client: openai.OpenAI) -> None:
    answer = openai_client.chat.completions.create(messages=QUESTION, stop=["Paris"], **GREEDY).choices[0]
    assert answer.finish_reason == "stop"
    assert "Paris" not in (answer.message.content or "")


def test_fields_and_messages_of_newer_clients_do_no_harm(url: str) -> None:
    turns = [
        {"role": "developer", "content": [{"type": "text", "text": "Be brief."}]},
        {"role": "user", "content": "Hi", "name": "ada"},
        {"role": "assistant", "content": None, "refusal": None, "tool_calls": [], "annotations": [], "weight": 1},
        {"role": "user", "content": "Hello?"},
    ]
    nothing = {"model": None, "stream_options": {"include_usage": None}, "functions": [], "stop": "", "seed": None}
    ignored = {"user": "ada", "store": False, "tools": [], "tool_choice": "none", "response_format": {"type": "text"}}
    asked = {
        "messages": turns,
        "max_tokens": 2,
        "n": 1,
        "logprobs": False,
        "logit_bias": {"2": -100},
    }  # it does not end
    answer = post(url, asked | {"temperature": None} | ignored | nothing)
    assert answer.status_code == 200, answer.text
    assert answer.json()["usage"]["completion_tokens"] == 2


def test_the_list_of_models_has_the_one_that_is_loaded(openai_client: openai.OpenAI) -> None:
    (model,) = openai_client.models.list().data
    assert "SmolLM2" in model.id
    assert openai_client.chat.completions.create(messages=QUESTION, **GREEDY).model == model.id


@pytest.mark.local_engine
def test_a_default_model_that_cannot_be_loaded_hides_no_other(tmp_path: Path) -> None:
    settings = {"model": f"{tmp_path}/gone.gguf, bundled", "parallel": 1, "context_tokens": 512, "data_dir": tmp_path}
    with (
        LLMClient(Settings(**settings, GRADIO_SERVER_PORT=free_port())) as two,
        served(two) as base,
        openai.OpenAI(base_url=f"{base}v1", api_key="none", max_retries=0) as client,
    ):
        assert [model.id for model in client.models.list()] == ["gone", "SmolLM2-135M-Instruct"]
        assert client.models.retrieve("SmolLM2-135M-Instruct").id == "SmolLM2-135M-Instruct"
        with pytest.raises(openai.InternalServerError, match="There is no file"):
            client.models.retrieve("gone")


# ── refusals ─────────────────────────────────────────────────────────────────────────────────────────────────────────


@pytest.mark.parametrize(
    ("fields", "param"),
    [
        ({"temperature": 3}, "temperature"),
        ({"temperature": "hot"}, "temperature"),
        ({"top_p": -1}, "top_p"),
        ({"max_tokens": 0}, "max_tokens"),
        ({"n": 3}, "n"),
        ({"messages": []}, "messages"),
        ({"messages": [{"role": "boss", "content": "Hi"}]}, "messages.0.role"),
        ({"messages": [{"role": "user", "content": [{"type": "image_url"}]}]}, "messages.0.content.0"),
        ({"model": "x" * 201}, "model"),
        ({"logit_bias": {"word": 1}}, "logit_bias"),
        ({"logprobs": True, "top_logprobs": 21}, "top_logprobs"),
        ({"tools": [{"type": "function"}]}, "tools.0"),
        ({"response_format": {"type": "xml"}}, "response_format"),
    ],
)
@pytest.mark.parametrize("stream", [False, True])
def test_a_bad_field_is_refused_by_name_in_openais_shape(
    openai_client: openai.OpenAI, fields: dict[str, Any], param: str, stream: bool
) -> None:
    body = {"model": "any", "messages": QUESTION, "stream": stream} | fields
    with pytest.raises(openai.BadRequestError) as refused:
        openai_client.chat.completions.create(**body)
    assert refused.value.type == "invalid_request_error"
    assert refused.value.code == "invalid_request"
    assert str(refused.value.param).startswith(param)
    assert param.split(".")[0] in str(refused.value.body["message"])


@pytest.mark.parametrize("body", [b"", b"{", b"[]", b"null", b'{"messages": "\\ud800"}', b"[" * 100_000])
def test_a_body_that_is_no_json_object_is_refused(url: str, body: bytes) -> None:
    answer = httpx.post(f"{url}/chat/completions", content=body, headers=JSON)
    assert answer.status_code == 400
    assert answer.json()["error"]["type"] == "invalid_request_error"


@pytest.mark.parametrize("value", ["NaN", "Infinity", "1e999"])
def test_a_number_that_is_none_is_refused(url: str, value: str) -> None:
    body = f'{{"messages": [{{"role": "user", "content": "Hi"}}], "temperature": {value}}}'
    assert httpx.post(f"{url}/chat/completions", content=body.encode(), headers=JSON).status_code == 400


@pytest.mark.parametrize("announced", [True, False], ids=["announced", "chunked"])
def test_a_body_over_the_limit_is_refused_before_it_is_parsed(url: str, announced: bool) -> None:
    body = b" " * (MAX_BODY_BYTES + 1)
    answer = httpx.post(f"{url}/chat/completions", content=body if announced else iter([body]), headers=JSON)
    assert answer.status_code == 413
    assert answer.json()["error"]["code"] == "request_too_large"


def test_a_conversation_longer_than_the_context_gets_openais_code_for_it(openai_client: openai.OpenAI) -> None:
    long = [{"role": "user", "content": "the sea " * 2000}]
    for stream in (False, True):
        with pytest.raises(openai.BadRequestError) as refused:
            openai_client.chat.completions.create(messages=long, model="any", stream=stream)
        assert refused.value.code == "context_length_exceeded"


def test_a_full_queue_answers_503_and_when_to_come_back(openai_client: openai.OpenAI, client: LLMClient) -> None:
    def start() -> openai.Stream[ChatCompletionChunk]:
        return openai_client.chat.completions.create(stream=True, **LONG)

    running = [start() for _ in range(3)]  # two slots and one place in the queue
    try:
        for stream in (False, True):
            with pytest.raises(openai.InternalServerError) as refused:
                openai_client.chat.completions.create(messages=QUESTION, stream=stream, **GREEDY)
            assert refused.value.status_code == 503
            assert refused.value.code == "queue_full"
            assert int(refused.value.response.headers["retry-after"]) > 0
    finally:
        for stream in running:
            stream.close()
    wait_until(lambda: is_idle(client), "the engine is idle")


def test_what_fails_inside_is_a_500_that_shows_no_inner_thing(
    openai_client: openai.OpenAI, client: LLMClient, monkeypatch: pytest.MonkeyPatch, caplog: pytest.LogCaptureFixture
) -> None:
    def broken(*_arguments: object, **_options: object) -> None:
        raise RuntimeError("/secret/path")

    monkeypatch.setattr(client, "achat_stream", broken)
    with pytest.raises(openai.InternalServerError) as failed:
        openai_client.chat.completions.create(messages=QUESTION, **GREEDY)
    assert failed.value.status_code == 500
    assert failed.value.type == "server_error"
    assert "secret" not in str(failed.value.body)
    wait_until(lambda: "/secret/path" in caplog.text, "the operator finds it in the log, soon after the answer")


@pytest.mark.local_engine
def test_a_failure_in_the_middle_of_a_stream_is_raised_by_the_client(
    openai_client: openai.OpenAI, client: LLMClient, monkeypatch: pytest.MonkeyPatch
) -> None:
    stream = openai_client.chat.completions.create(stream=True, **LONG)
    first = next(iter(stream))
    assert first.choices[0].delta.role == "assistant"
    (sequence,) = engine_of(client)._scheduler.running
    monkeypatch.setattr(sequence, "sampler", None)  # its next step fails, and only its own
    with pytest.raises(openai.APIError) as failed:
        list(stream)
    assert failed.value.code == "sequence_failed"
    wait_until(lambda: is_idle(client), "the engine is idle")


def engine_of(client: LLMClient) -> Any:
    loaded = client.models.member().backend.loaded()
    assert loaded is not None
    return loaded.engine


# ── readers who leave ────────────────────────────────────────────────────────────────────────────────────────────────


def test_a_reader_who_leaves_a_stream_frees_the_slot(openai_client: openai.OpenAI, client: LLMClient) -> None:
    generated = stats_of(client).generated_tokens
    stream = openai_client.chat.completions.create(stream=True, **LONG)
    next(iter(stream))
    assert stats_of(client).running == 1
    stream.close()
    wait_until(lambda: is_idle(client), "the engine is idle")
    assert stats_of(client).generated_tokens - generated < LONG_TOKENS / 2, "the rest of the reply was never made"


def test_a_reader_who_leaves_before_the_whole_answer_is_there_frees_the_slot(url: str, client: LLMClient) -> None:
    generated = stats_of(client).generated_tokens
    with pytest.raises(httpx.ReadTimeout):
        httpx.post(f"{url}/chat/completions", json=LONG, timeout=0.4)
    wait_until(lambda: is_idle(client), "the engine is idle")
    assert stats_of(client).generated_tokens - generated < LONG_TOKENS / 2, "the rest of the reply was never made"


@pytest.mark.local_engine
def test_a_reader_who_leaves_the_queue_frees_the_place(openai_client: openai.OpenAI, client: LLMClient) -> None:
    streams = [openai_client.chat.completions.create(stream=True, **LONG) for _ in range(3)]
    assert stats_of(client).waiting == 1
    streams.pop().close()
    wait_until(lambda: stats_of(client).waiting == 0, "the queue is empty")
    assert stats_of(client).running == 2, "the place is free although nobody else has ended"
    for stream in streams:
        stream.close()
    wait_until(lambda: is_idle(client), "the engine is idle")


@pytest.mark.local_engine
def test_silence_is_filled_so_that_proxies_do_not_hang_up(
    url: str, openai_client: openai.OpenAI, client: LLMClient, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(sse_module, "KEEP_ALIVE_SECONDS", 0.05)
    running = [openai_client.chat.completions.create(stream=True, **LONG) for _ in range(2)]
    with httpx.stream("POST", f"{url}/chat/completions", json=LONG | {"stream": True}) as waiting:
        lines = waiting.iter_lines()
        assert any(line == ": keep-alive" for line in lines)
    for stream in running:
        stream.close()
    wait_until(lambda: is_idle(client), "the engine is idle")


# ── the app ──────────────────────────────────────────────────────────────────────────────────────────────────────────


@pytest.mark.slow
def test_the_app_serves_openais_clients_on_the_port_of_the_page() -> None:
    with socket.create_server(("127.0.0.1", 0)) as listener:
        port = listener.getsockname()[1]
    variables = {"GRADIO_SERVER_PORT": str(port), "LLM_PARALLEL": "2", "LLM_CONTEXT_TOKENS": "512"}
    process = subprocess.Popen([sys.executable, "app.py"], cwd=ROOT, env=os.environ | variables)
    try:
        wait_until(lambda: answers(f"http://127.0.0.1:{port}/v1/models"), "the app answers", seconds=90)
        with openai.OpenAI(base_url=f"http://127.0.0.1:{port}/v1", api_key="none") as openai_client:
            whole = openai_client.chat.completions.create(messages=QUESTION, **GREEDY)
            stream = openai_client.chat.completions.create(messages=QUESTION, stream=True, **GREEDY)
            chunks = list(stream)
            with openai_client.chat.completions.create(stream=True, **LONG) as endless:
                next(iter(endless))
                assert "llm_running 1" in httpx.get(f"http://127.0.0.1:{port}/metrics").text, (
                    "each piece is sent when it is made, and not all at the end"
                )
    finally:
        process.terminate()
        process.wait(timeout=30)
    assert text_of(chunks) == whole.choices[0].message.content


def answers(url: str) -> bool:
    try:
        return httpx.get(url, timeout=60).status_code == 200
    except httpx.TransportError:
        return False
