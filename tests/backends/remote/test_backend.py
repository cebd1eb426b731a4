"""The remote backend and an engine that does as it is told: what is sent, what is read, and every way to fail."""

from __future__ import annotations

import asyncio
import threading
from collections.abc import Callable
from contextlib import aclosing, closing
from typing import Any

import pytest

from llm_core.backends.remote import backend as remote_backend
from llm_core.client import LLMClient
from llm_core.errors import (
    ContextOverflow,
    EngineClosed,
    EngineFailed,
    InvalidRequest,
    LLMError,
    ModelError,
    QueueFull,
    RateLimited,
)
from llm_core.events import ContentDelta, Done, Queued, ReasoningDelta, ToolCallDelta
from tests.backends.fake_engine import MODEL, Answer, FakeEngine, chunk, hangs_up, refuses, reply, streams
from tests.waiting import wait_until

HELLO = [{"role": "user", "content": "Hello"}]
WEATHER = {
    "type": "function",
    "function": {
        "name": "weather",
        "description": "",
        "parameters": {"type": "object", "properties": {"city": {"type": "string"}}},
    },
}

MakeClient = Callable[..., LLMClient]


class TestWhatIsSent:
    def test_only_what_openai_knows_and_the_caller_set(self, client: LLMClient, engine: FakeEngine) -> None:
        client.chat(HELLO, temperature=0, max_tokens=5)

        assert engine.asked[0].path == "/v1/chat/completions"
        assert engine.asked[0].body == {
            "model": MODEL,
            "messages": [{"role": "user", "content": "Hello"}],
            "max_tokens": 5,
            "temperature": 0,
            "top_p": 0.95,
            "stream": True,
            "stream_options": {"include_usage": True},
        }

    def test_that_a_reply_which_was_begun_is_to_be_gone_on_with(self, client: LLMClient, engine: FakeEngine) -> None:
        engine.answers = [streams(reply(" Wor", "ld <think>"))]
        begun = {"role": "assistant", "content": "Hello,"}

        assert client.generate([*HELLO, begun]) == " World <think>"
        body = engine.asked[0].body
        assert body["messages"] == [*HELLO, begun]
        assert (body["continue_final_message"], body["add_generation_prompt"]) == (True, False)

    def test_adapters_are_refused_by_name(self, client: LLMClient, engine: FakeEngine) -> None:
        with pytest.raises(InvalidRequest, match="engine elsewhere") as refused:
            client.chat(HELLO, lora=[{"name": "law"}])

        assert (refused.value.param, engine.asked) == ("lora", [])

    def test_the_operators_biases_where_the_caller_has_none(self, engine: FakeEngine, make_client: MakeClient) -> None:
        client = make_client(engine, logit_bias={3: -1})
        client.chat(HELLO)
        client.chat(HELLO, logit_bias={})

        assert [asked.body.get("logit_bias") for asked in engine.asked] == [{"3": -1}, None]

    def test_what_others_know_where_the_caller_set_it(self, client: LLMClient, engine: FakeEngine) -> None:
        client.chat(
            HELLO, top_k=5, min_p=0.1, repeat_penalty=1.2, thinking=False, seed=7, stop=["\n"], logit_bias={3: -1}
        )

        body = engine.asked[0].body
        assert (body["top_k"], body["min_p"], body["seed"], body["stop"]) == (5, 0.1, 7, ["\n"])
        assert body["repeat_penalty"] == body["repetition_penalty"] == 1.2
        assert body["chat_template_kwargs"] == {"enable_thinking": False}
        assert body["logit_bias"] == {"3": -1}

    def test_tools_their_choice_and_the_form_of_the_reply_as_openai_writes_them(
        self, client: LLMClient, engine: FakeEngine
    ) -> None:
        schema = {"type": "object", "properties": {"a": {"type": "integer"}}}
        wanted = {"type": "json_schema", "json_schema": {"name": "x", "schema": schema}}
        named = {"type": "function", "function": {"name": "weather"}}
        call = chunk({"tool_calls": [{"index": 0, "id": "a", "function": {"name": "weather", "arguments": "{}"}}]})
        engine.answers = [streams([call, chunk({}, "stop")]), streams(reply("{}"))]
        client.chat(HELLO, tools=[WEATHER], tool_choice=named, parallel_tool_calls=False)
        client.chat(HELLO, response_format=wanted)

        tools, form = engine.asked[0].body, engine.asked[1].body["response_format"]
        assert (tools["tools"], tools["tool_choice"], tools["parallel_tool_calls"]) == ([WEATHER], named, False)
        assert (form["type"], form["json_schema"]["schema"]) == ("json_schema", schema)

    def test_calls_and_their_results_go_back_as_they_came(self, client: LLMClient, engine: FakeEngine) -> None:
        call = {"id": "c1", "type": "function", "function": {"name": "weather", "arguments": "{}"}}
        conversation = [
            *HELLO,
            {"role": "assistant", "content": "", "tool_calls": [call], "reasoning": "hm"},
            {"role": "tool", "tool_call_id": "c1", "content": "rain"},
        ]
        client.chat(conversation, tools=[WEATHER])

        sent = engine.asked[0].body["messages"]
        assert sent[1] == {"role": "assistant", "content": "", "reasoning_content": "hm", "tool_calls": [call]}
        assert sent[2] == {"role": "tool", "content": "rain", "tool_call_id": "c1"}

    def test_the_token_that_is_set_and_never_one_that_is_found_on_the_machine(
        self, engine: FakeEngine, make_client: MakeClient, monkeypatch: pytest.MonkeyPatch
    ) -> None:
        monkeypatch.setenv("HF_TOKEN", "hf_found_on_the_machine")
        make_client(engine).chat(HELLO)
        make_client(engine, server_token="s3cret").chat(HELLO)

        assert "authorization" not in engine.asked[0].headers
        assert engine.asked[1].headers["authorization"] == "Bearer s3cret"
        assert {look.headers.get("authorization") for look in engine.looks} == {None, "Bearer s3cret"}

    def test_requests_use_a_connection_again(self, client: LLMClient, engine: FakeEngine) -> None:
        for _ in range(5):
            client.chat(HELLO)

        assert engine.connections <= 2, "one for requests, and maybe one for looking"


class TestWhatIsRead:
    def test_text_usage_and_timings(self, client: LLMClient, engine: FakeEngine) -> None:
        events = list(client.chat_stream(HELLO))

        assert events[:-1] == [Queued(0), ContentDelta("Hello"), ContentDelta(" there")]
        done = events[-1]
        assert isinstance(done, Done)
        assert (done.finish_reason, done.usage.prompt_tokens, done.usage.cached_tokens) == ("stop", 7, 3)
        assert done.usage.completion_tokens == 2
        assert done.timings.ttft_ms > 0

    @pytest.mark.parametrize(
        ("said", "refused", "told"),
        [("new", 0, "new"), ("evicted", 0, "evicted"), ("new", 1, "trimmed"), ("?", 0, None)],
    )
    def test_why_the_prompt_was_read_again_where_the_engine_is_another_copy_of_this_app(
        self, client: LLMClient, engine: FakeEngine, said: str, refused: int, told: str | None
    ) -> None:
        *chunks, last = reply("Hi")
        answer = streams([*chunks, last | {"usage": last["usage"] | {"cache_miss": said}}])
        engine.answers = [*[refuses(400, OVERFLOWS[0])] * refused, answer]

        reply_ = client.chat([*HELLO, {"role": "assistant", "content": "a"}, *HELLO], overflow="drop_oldest")

        assert reply_.usage.cache_miss == told

    @pytest.mark.parametrize("name", ["reasoning_content", "reasoning"])
    def test_thinking_under_either_name(self, client: LLMClient, engine: FakeEngine, name: str) -> None:
        engine.answers = [streams([chunk({name: "hm"}), chunk({"content": "42"}), chunk({}, "stop")])]

        assert list(client.chat_stream(HELLO))[1:3] == [ReasoningDelta("hm"), ContentDelta("42")]

    def test_calls_in_pieces_whoever_counts_and_names_them(self, client: LLMClient, engine: FakeEngine) -> None:
        pieces = [
            {"index": 1, "id": "a", "type": "function", "function": {"name": "weather", "arguments": ""}},
            {"index": 1, "id": "a", "function": {"name": "weather", "arguments": '{"city":'}},
            {"index": 1, "function": {"arguments": ' "Oslo"}'}},
            {"index": 2, "type": "function", "function": {"name": "weather", "arguments": "{}"}},
        ]
        engine.answers = [streams([*(chunk({"tool_calls": [piece]}) for piece in pieces), chunk({}, "stop")])]

        with closing(client.chat_stream(HELLO, tools=[WEATHER])) as stream:
            events = list(stream)
        calls = client.chat(HELLO, tools=[WEATHER]).tool_calls

        assert [event.index for event in events if isinstance(event, ToolCallDelta)] == [0, 0, 0, 1]
        assert [(call.name, call.arguments) for call in calls] == [("weather", '{"city": "Oslo"}'), ("weather", "{}")]
        assert calls[0].id == "a"
        assert calls[1].id
        assert isinstance(events[-1], Done)
        assert events[-1].finish_reason == "tool_calls"

    def test_logprobs(self, client: LLMClient, engine: FakeEngine) -> None:
        token = {"token": "é", "bytes": [195, 169], "logprob": -0.5}
        content = [token | {"top_logprobs": [token, {"token": "e", "logprob": -2.0}]}]
        choice = {"index": 0, "delta": {"content": "é"}, "logprobs": {"content": content}, "finish_reason": "stop"}
        engine.answers = [streams([{"choices": [choice]}])]

        (logprob,) = client.chat(HELLO, logprobs=2).logprobs

        assert (logprob.token, logprob.data, logprob.logprob) == ("é", b"\xc3\xa9", -0.5)
        assert logprob.top == (("é", b"\xc3\xa9", -0.5), ("e", b"e", -2.0))

    @pytest.mark.parametrize(
        ("theirs", "ours"), [("stop", "stop"), ("length", "length"), ("eos_token", "stop"), ("content_filter", "stop")]
    )
    def test_finish_reasons(self, client: LLMClient, engine: FakeEngine, theirs: str, ours: str) -> None:
        engine.answers = [streams(reply("Hi", finish_reason=theirs))]

        assert client.chat(HELLO).finish_reason == ours


def test_an_engine_that_does_not_tell_its_vocabulary_is_named(client: LLMClient, engine: FakeEngine) -> None:
    engine.answers = [refuses(404), refuses(200, {"tokens": ["a"]})]
    with pytest.raises(InvalidRequest, match=r"has no /tokenize"):
        client.vocabulary().tokenize("Hello", add_special=False, parse_special=False)
    with pytest.raises(EngineFailed, match="cannot be read"):
        client.vocabulary().tokenize("Hello", add_special=False, parse_special=False)


def test_a_function_runs_here_and_what_it_returns_goes_back(client: LLMClient, engine: FakeEngine) -> None:
    def weather(city: str) -> str:
        """What the weather is like."""
        return f"rain in {city}"

    call = {
        "index": 0,
        "id": "c1",
        "type": "function",
        "function": {"name": "weather", "arguments": '{"city": "Oslo"}'},
    }
    engine.answers = [streams([chunk({"tool_calls": [call]}), chunk({}, "tool_calls")]), streams(reply("It rains."))]

    assert client.chat(HELLO, tools=[weather]).content == "It rains."
    assert engine.asked[1].body["messages"][-1]["content"] == "rain in Oslo"
    session = client.chat_session("s", "Hello", tools=[weather])
    assert session.content == "It rains."


class TestStopping:
    def test_a_reader_who_leaves_closes_the_connection(self, client: LLMClient, engine: FakeEngine) -> None:
        engine.answers = [streams([chunk({"content": "Once"})], end="wait")]
        with closing(client.chat_stream(HELLO)) as events:
            assert next(events) == Queued(0)
            next(events)

        assert engine.left.wait(60)

    async def test_so_does_a_task_that_is_cancelled(self, client: LLMClient, engine: FakeEngine) -> None:
        engine.answers = [streams([], end="wait")]

        async def read() -> None:
            async with aclosing(client.achat_stream(HELLO)) as events:
                async for _ in events:
                    pass

        task = asyncio.create_task(read())
        await asyncio.to_thread(wait_until, lambda: bool(engine.asked), "the request came")
        task.cancel()
        with pytest.raises(asyncio.CancelledError):
            await task
        assert await asyncio.to_thread(engine.left.wait, 60)

    def test_an_engine_that_is_slow_ends_with_the_timeout_and_what_it_has_made(
        self, client: LLMClient, engine: FakeEngine
    ) -> None:
        engine.answers = [streams([chunk({"content": "Once"})], end="wait")]

        done = client.chat(HELLO, timeout=3)

        assert (done.content, done.finish_reason) == ("Once", "timeout")
        assert engine.left.wait(60)

    def test_a_caller_of_a_silent_engine_is_told_after_a_second(
        self, client: LLMClient, engine: FakeEngine, monkeypatch: pytest.MonkeyPatch
    ) -> None:
        monkeypatch.setattr(remote_backend, "SILENT_SECONDS", 0.1)
        engine.answers = [refuses(400, after=2)]
        events = client.chat_stream(HELLO)

        assert next(events) == Queued(0)
        with pytest.raises(InvalidRequest):
            next(events)

    def test_closing_the_client_ends_what_runs(self, client: LLMClient, engine: FakeEngine) -> None:
        engine.answers = [streams([], end="wait")]
        events = client.chat_stream(HELLO)
        next(events)
        threading.Timer(0.1, client.close).start()

        with pytest.raises(EngineClosed):
            list(events)
        with pytest.raises(EngineClosed):
            client.chat(HELLO)


OVERFLOWS = [
    {"error": {"message": "too long", "code": "context_length_exceeded"}},
    {"error": {"message": "too long", "type": "exceed_context_size_error", "code": 400}},
    {"message": "This model's maximum context length is 4096 tokens. However, you requested 5000", "code": 400},
    {"error": "Input validation error: `inputs` tokens + `max_new_tokens` must be <= 4096", "error_type": "validation"},
]


class TestFailing:
    @pytest.mark.parametrize(
        ("answer", "kind"),
        [
            (refuses(400, {"error": {"message": "no such thing", "code": "x"}}), InvalidRequest),
            (refuses(422, {"detail": "no such thing"}), InvalidRequest),
            (refuses(401), ModelError),
            (refuses(404), ModelError),
            (refuses(429, Retry_After="20"), RateLimited),
            (refuses(503, Retry_After="20"), QueueFull),
        ],
    )
    def test_a_refusal_is_ours_and_not_sent_again(
        self, client: LLMClient, engine: FakeEngine, answer: Answer, kind: type[LLMError]
    ) -> None:
        engine.answers = [answer]

        with pytest.raises(kind) as refused:
            next(client.chat_stream(HELLO))

        assert len(engine.asked) == 1
        assert "s3cret" not in refused.value.message
        assert refused.value.retry_after == (20 if kind in (RateLimited, QueueFull) else None)

    @pytest.mark.parametrize(
        ("said", "least"),
        [("Tue, 01 Jan 2999 00:00:00 GMT", 10**9), ("Tue, 01 Jan 2019 00:00:00 GMT", 0), ("-3", 0), ("soon", None)],
    )
    def test_when_to_come_back_may_be_a_date(
        self, client: LLMClient, engine: FakeEngine, said: str, least: int | None
    ) -> None:
        engine.answers = [refuses(429, Retry_After=said)]

        with pytest.raises(RateLimited) as refused:
            next(client.chat_stream(HELLO))
        if least:
            assert refused.value.retry_after is not None
            assert refused.value.retry_after > least
        else:
            assert refused.value.retry_after == least

    @pytest.mark.parametrize(
        "failing",
        [
            refuses(500),
            refuses(502),
            refuses(429, Retry_After="0"),
            refuses(503),
            hangs_up,
            streams([]),
            streams(["{not json"]),
            streams(['{"error": {"message": "out of memory", "code": 500}}']),
        ],
    )
    def test_what_fails_before_the_first_token_is_sent_again(
        self, client: LLMClient, engine: FakeEngine, failing: Answer
    ) -> None:
        engine.answers = [failing, failing, streams(reply("Hi"))]

        assert client.chat(HELLO).content == "Hi"
        assert len(engine.asked) == 3

    def test_but_not_for_ever(self, client: LLMClient, engine: FakeEngine) -> None:
        engine.answers = [refuses(500, {"error": {"message": "CUDA is out of luck"}})]

        with pytest.raises(EngineFailed, match="CUDA is out of luck"):
            client.chat(HELLO)
        assert len(engine.asked) == remote_backend.TRIES

    @pytest.mark.parametrize(
        "failing",
        [
            streams([chunk({"content": "Once"})], end="close"),
            streams([chunk({"content": "Once"})]),  # ends without saying why
            streams([chunk({"content": "Once"}), "{not json"]),
            streams([chunk({"content": "Once"}), '{"choices": [{"delta": 7}]}']),
            streams([chunk({"content": "Once"}), '{"error": {"message": "out of memory"}}']),
        ],
    )
    def test_what_fails_after_it_is_told_and_not_sent_again(
        self, client: LLMClient, engine: FakeEngine, failing: Answer
    ) -> None:
        engine.answers = [failing]
        events = client.chat_stream(HELLO)

        assert [next(events), next(events)] == [Queued(0), ContentDelta("Once")]
        with pytest.raises(EngineFailed):
            next(events)
        assert len(engine.asked) == 1

    @pytest.mark.parametrize("body", OVERFLOWS)
    def test_a_conversation_that_is_too_long_by_any_name(
        self, client: LLMClient, engine: FakeEngine, body: Any
    ) -> None:
        engine.answers = [refuses(400, body)]

        with pytest.raises(ContextOverflow):
            client.chat(HELLO)

    def test_it_loses_its_oldest_turns_where_it_may(self, client: LLMClient, engine: FakeEngine) -> None:
        too_long = refuses(400, OVERFLOWS[0])
        engine.answers = [too_long, too_long, too_long, streams(reply("Hi"))]
        turns = [{"role": role, "content": f"{n}"} for n in range(9) for role in ("user", "assistant")]

        reply_ = client.chat([{"role": "system", "content": "S"}, *turns, *HELLO], overflow="drop_oldest")

        assert reply_.dropped_messages == 6
        assert [len(asked.body["messages"]) for asked in engine.asked] == [20, 18, 16, 14]
        assert [message["content"] for message in engine.asked[-1].body["messages"][:2]] == ["S", "3"]

    def test_it_keeps_some_of_its_turns_where_a_little_more_than_half_have_to_go(
        self, client: LLMClient, engine: FakeEngine
    ) -> None:
        engine.answers = [*[refuses(400, OVERFLOWS[0])] * 9, streams(reply("Hi"))]
        turns = [{"role": role, "content": f"{n}"} for n in range(30) for role in ("user", "assistant")]

        dropped = client.chat([*turns, *HELLO], overflow="drop_oldest").dropped_messages

        tried = [(61 - len(asked.body["messages"])) // 2 for asked in engine.asked]
        assert tried == [0, 1, 2, 3, 4, 6, 8, 12, 16, 24]
        assert dropped == 48

    def test_the_last_turn_is_the_last_try(self, client: LLMClient, engine: FakeEngine) -> None:
        engine.answers = [refuses(400, OVERFLOWS[0])]
        turns = [{"role": role, "content": f"{n}"} for n in range(3) for role in ("user", "assistant")]

        with pytest.raises(ContextOverflow):
            client.chat([*turns, *HELLO], overflow="drop_oldest")
        assert [len(asked.body["messages"]) for asked in engine.asked] == [7, 5, 3, 1]
