"""Engines that write in ways of their own, and engines that do not do as they are told."""

from __future__ import annotations

import json
from collections.abc import Callable, Iterator
from typing import Any, ClassVar

import jsonschema
import pytest

from llm_core.client import LLMClient
from llm_core.errors import ContextOverflow, EngineFailed, InvalidRequest, ModelError
from llm_core.events import ContentDelta, ReasoningDelta, ToolCallDelta
from tests.backends.fake_engine import FakeEngine, chunk, refuses, reply, streams, writes

HELLO = [{"role": "user", "content": "Hello"}]
WEATHER = {
    "name": "weather",
    "parameters": {
        "type": "object",
        "properties": {"city": {"$ref": "#/$defs/city"}},
        "required": ["city"],
        "$defs": {"city": {"enum": ["Oslo", "Rome"]}},
    },
}
NOW = {"name": "now", "parameters": {"type": "object", "properties": {}}}
NAMED = {"type": "function", "function": {"name": "weather"}}


def call(name: str | None = None, arguments: Any = "", **more: Any) -> dict[str, Any]:
    return {"function": {"arguments": arguments} | ({"name": name} if name else {})} | more


def calls(*pieces: dict[str, Any]) -> list[dict[str, Any]]:
    return [*(chunk({"tool_calls": [piece]}) for piece in pieces), chunk({}, "tool_calls")]


class TestStreams:
    @pytest.mark.parametrize("end", ["data: [DONE]\n\n", "data:[DONE]\n\n", ""])
    @pytest.mark.parametrize("gap", ["\n\n", "\n", "\r\n\r\n", "\n: keep-alive\n\nid: 7\nevent: message\n"])
    def test_events_with_and_without_spaces_and_blank_lines(
        self, client: LLMClient, engine: FakeEngine, gap: str, end: str
    ) -> None:
        engine.answers = [writes("".join(f"data:{json.dumps(each)}{gap}" for each in reply("Hi", " there")) + end)]

        said = client.chat(HELLO)

        assert (said.content, said.finish_reason, said.usage.prompt_tokens) == ("Hi there", "stop", 7)

    def test_what_unicode_calls_a_line_separator_is_text(self, client: LLMClient, engine: FakeEngine) -> None:
        text = "a\u2028b\u2029c\x85d"
        written = "".join(f"data: {json.dumps(each, ensure_ascii=False)}\n\n" for each in reply(text))
        engine.answers = [writes(written)]

        assert client.chat(HELLO).content == text

    @pytest.mark.parametrize("indent", [None, 2])
    def test_one_whole_answer_in_place_of_a_stream(
        self, client: LLMClient, engine: FakeEngine, indent: int | None
    ) -> None:
        message = {"role": "assistant", "content": "Hi", "reasoning_content": "hm", "tool_calls": [call("now", {})]}
        whole = {
            "object": "chat.completion",
            "choices": [{"index": 0, "message": message, "finish_reason": "tool_calls"}],
            "usage": {"prompt_tokens": 3, "completion_tokens": 4, "cache_miss": "unheard of"},
        }
        engine.answers = [writes(json.dumps(whole, indent=indent), "application/json")]

        said = client.chat(HELLO, tools=[NOW])

        assert (said.content, said.reasoning, said.usage.completion_tokens) == ("Hi", "hm", 4)
        assert [(each.name, each.arguments) for each in said.tool_calls] == [("now", "{}")]

    @pytest.mark.parametrize(("told", "counted"), [({"reasoning_tokens": 7}, 7), ({}, 2), (None, 2)])
    def test_tokens_of_thinking_are_the_engines_count_or_the_pieces_that_came(
        self, client: LLMClient, engine: FakeEngine, told: Any, counted: int
    ) -> None:
        pieces = ({"reasoning_content": "h"}, {"reasoning_content": "m"}, {"content": "Hi"})
        chunks = [{"choices": [{"index": 0, "delta": each}]} for each in pieces]
        usage = {"prompt_tokens": 3, "completion_tokens": 9, "completion_tokens_details": told}
        last = {"choices": [{"index": 0, "delta": {}, "finish_reason": "stop"}], "usage": usage}
        engine.answers = [streams([*chunks, last])]

        assert client.chat(HELLO).usage.reasoning_tokens == counted


class TestErrors:
    @pytest.mark.parametrize(
        "written",
        [
            'data: {"error": {"message": "out of memory", "code": 500}}\n\n',
            'data:{"error": {"message": "out of memory"}}\n\n',
            'event: error\ndata: {"error": "out of memory"}\n\n',
            'error: {"code": 500, "message": "out of memory"}\n\n',
            '{"error": {"message": "out of memory"}}',
            '{"object": "error", "message": "out of memory", "code": 500}',
            "out of memory",
        ],
    )
    @pytest.mark.parametrize("begun", [False, True], ids=["at once", "in the middle"])
    def test_what_an_engine_says_went_wrong_is_told(
        self, client: LLMClient, engine: FakeEngine, written: str, begun: bool
    ) -> None:
        if begun and written.startswith("{"):
            written = f"data: {written}"
        first = f"data: {json.dumps(chunk({'content': 'Once'}))}\n\n" if begun else ""
        engine.answers = [writes(first + written)]

        with pytest.raises(EngineFailed, match="out of memory"):
            client.chat(HELLO)

    def test_a_page_in_place_of_an_answer_is_not_shown(self, client: LLMClient, engine: FakeEngine) -> None:
        engine.answers = [writes("<!DOCTYPE html><title>Sign in</title>", "text/html")]

        with pytest.raises(EngineFailed, match="cannot be read"):
            client.chat(HELLO)

    def test_a_conversation_that_turns_out_too_long_in_the_stream(self, client: LLMClient, engine: FakeEngine) -> None:
        said = "This model's maximum context length is 4096 tokens."
        engine.answers = [streams([json.dumps({"error": {"message": said, "code": 400}})])]

        with pytest.raises(ContextOverflow, match="4096"):
            client.chat(HELLO)

    def test_why_a_token_is_refused(self, client: LLMClient, engine: FakeEngine) -> None:
        engine.answers = [refuses(401, {"error": "it has expired"})]

        with pytest.raises(ModelError, match=r"it has expired.*LLM_SERVER_TOKEN"):
            client.chat(HELLO)


class TestCalls:
    @pytest.mark.parametrize(
        "pieces",
        [
            [call("weather", "{", index=0, id="a"), call(None, "}", index=0), call("now", "{}", index=0, id="b")],
            [call("weather", "{}", index=0), call("now", "{}", index=0)],
            [call("weather", "{}", index=0, id=""), call("now", "{}", index=0, id="")],
            [call("weather", "{", id="a"), call(None, "}"), call("now", "{}", id="b")],
            [call("weather", {}, index=0, id="a"), call("now", {}, index=1, id="b")],
            [call("weather", "{", index=0, id="a"), call("weather", "}", index=0, id="a"), call("now", "{}", index=1)],
        ],
        ids=["ids", "names", "empty ids", "no index", "objects", "repeated"],
    )
    def test_two_calls_however_they_are_counted(
        self, client: LLMClient, engine: FakeEngine, pieces: list[dict[str, Any]]
    ) -> None:
        engine.answers = [streams(calls(*pieces))]

        said = client.chat(HELLO, tools=[WEATHER, NOW])

        assert [(each.name, each.arguments) for each in said.tool_calls] == [("weather", "{}"), ("now", "{}")]
        assert len({each.id for each in said.tool_calls}) == 2

    def test_the_same_tool_twice_without_ids_and_indices(self, client: LLMClient, engine: FakeEngine) -> None:
        engine.answers = [streams(calls(call("now", "{}"), call("now", "{}")))]

        assert len(client.chat(HELLO, tools=[NOW]).tool_calls) == 2

    def test_one_call_where_the_caller_wants_no_more(self, client: LLMClient, engine: FakeEngine) -> None:
        both = calls(call("weather", "{}", index=0, id="a"), call("now", "{}", index=1, id="b"))
        engine.answers = [streams(both)]

        for options in ({"parallel_tool_calls": False}, {"tool_choice": NAMED}):
            said = client.chat(HELLO, tools=[WEATHER, NOW], **options)
            assert [each.name for each in said.tool_calls] == ["weather"]

    def test_tools_that_may_not_be_called_are_not_told(self, client: LLMClient, engine: FakeEngine) -> None:
        client.chat(HELLO, tools=[NOW], tool_choice="none")

        assert {"tools", "tool_choice"} & set(engine.asked[0].body) == set()


class TestThinking:
    def test_marks_of_thinking_in_the_text_are_read(self, client: LLMClient, engine: FakeEngine) -> None:
        engine.answers = [streams(reply("<th", "ink>\nh", "m\n</thi", "nk>\n\n4", "2"))]

        events = list(client.chat_stream(HELLO))[1:-1]

        assert events == [ReasoningDelta("h"), ReasoningDelta("m"), ContentDelta("4"), ContentDelta("2")]

    def test_text_that_begins_as_a_mark_comes_out_at_the_end(self, client: LLMClient, engine: FakeEngine) -> None:
        engine.answers = [streams(reply("<thi"))]

        assert client.chat(HELLO).content == "<thi"

    def test_where_thinking_has_a_field_of_its_own_the_text_is_text(
        self, client: LLMClient, engine: FakeEngine
    ) -> None:
        engine.answers = [streams([chunk({"reasoning": "hm"}), *reply("<think>", " is a tag")])]

        said = client.chat(HELLO)

        assert (said.reasoning, said.content) == ("hm", "<think> is a tag")


class TestChoices:
    """A call is demanded of an engine that ignores that."""

    OSLO = '{"name": "weather", "arguments": {"city": "Oslo"}}'

    @pytest.mark.parametrize("choice", ["required", NAMED], ids=["required", "named"])
    def test_the_engine_is_held_to_it_by_a_schema(self, client: LLMClient, engine: FakeEngine, choice: Any) -> None:
        engine.answers = [
            streams(reply("It", " rains.")),
            streams(reply(self.OSLO[:9], self.OSLO[9:42], self.OSLO[42:])),
        ]

        events = list(client.chat_stream(HELLO, tools=[WEATHER, NOW], tool_choice=choice))

        pieces = [event for event in events if isinstance(event, ToolCallDelta)]
        assert (pieces[0].name, "".join(piece.arguments for piece in pieces)) == ("weather", '{"city": "Oslo"}')
        assert len(pieces) > 2, "arguments come as they are made"
        assert not [event for event in events if isinstance(event, ContentDelta)]
        assert getattr(events[-1], "finish_reason", None) == "tool_calls"

        body = engine.asked[1].body
        schema = body["response_format"]["json_schema"]["schema"]
        jsonschema.validate(json.loads(self.OSLO), schema)
        for wrong in ({"name": "weather", "arguments": {"city": "Bonn"}}, {"name": "nothing", "arguments": {}}, {}):
            with pytest.raises(jsonschema.ValidationError):
                jsonschema.validate(wrong, schema)
        assert "tools" not in body
        assert "weather" in body["messages"][0]["content"]

    def test_it_is_asked_in_that_way_from_then_on(self, client: LLMClient, engine: FakeEngine) -> None:
        engine.answers = [streams(reply("It rains.")), streams(reply(self.OSLO))]
        for _ in range(3):
            assert client.chat(HELLO, tools=[WEATHER], tool_choice="required").tool_calls
        client.chat(HELLO, tools=[WEATHER])

        assert ["response_format" in asked.body for asked in engine.asked] == [False, True, True, True, False]

    @pytest.mark.parametrize(
        "second",
        [streams(reply("It rains.")), streams(reply('{"a": 1}')), refuses(400, {"error": "no response_format here"})],
        ids=["text", "other JSON", "refused"],
    )
    def test_one_that_ignores_schemas_too_is_an_error_with_no_text_before(
        self, client: LLMClient, engine: FakeEngine, second: Any
    ) -> None:
        engine.answers = [streams(reply("It rains.")), second]
        events = client.chat_stream(HELLO, tools=[WEATHER], tool_choice="required")
        next(events)

        with pytest.raises(InvalidRequest, match="demanded") as refused:
            next(events)
        assert refused.value.param == "tool_choice"

    def test_a_call_of_another_tool_is_none(self, client: LLMClient, engine: FakeEngine) -> None:
        engine.answers = [streams(calls(call("now", "{}", index=0))), streams(reply(self.OSLO))]

        said = client.chat(HELLO, tools=[WEATHER, NOW], tool_choice=NAMED)

        assert [each.name for each in said.tool_calls] == ["weather"]

    def test_text_before_a_call_comes_with_it(self, client: LLMClient, engine: FakeEngine) -> None:
        engine.answers = [streams([chunk({"content": "So: "}), *calls(call("now", "{}", index=0))])]

        said = client.chat(HELLO, tools=[NOW], tool_choice="required")

        assert (said.content, len(said.tool_calls), len(engine.asked)) == ("So: ", 1, 1)

    def test_a_reply_that_is_cut_while_it_thinks_is_no_fault_of_the_engine(
        self, client: LLMClient, engine: FakeEngine
    ) -> None:
        engine.answers = [streams([chunk({"reasoning": "hm"}), chunk({}, "length")])]

        assert client.chat(HELLO, tools=[NOW], tool_choice="required").finish_reason == "length"


class TestLlamaServer:
    """What llama-server b1 (0c1e570) said and did, with SmolLM2's own template, which knows no tools."""

    CAPS: ClassVar = {"chat_template_caps": {"supports_tools": False, "supports_tool_calls": False}}
    CALL = ('<tool_call>\n{"name": "weather", ', '"arguments": {"city": "Oslo"}}\n', "</tool_call>")

    @pytest.fixture
    def engine(self, quick: None) -> Iterator[FakeEngine]:
        engine = FakeEngine(model="/models/SmolLM2-135M-Instruct.Q4_1.gguf", props=self.CAPS)
        yield engine
        engine.close()

    def test_tools_that_it_would_drop_are_told_in_words_and_calls_read_from_the_text(
        self, client: LLMClient, engine: FakeEngine
    ) -> None:
        engine.answers = [streams(reply("I look. ", *self.CALL))]

        said = client.chat(HELLO, tools=[WEATHER, NOW])

        assert said.content.strip() == "I look."
        assert [(call.name, call.arguments) for call in said.tool_calls] == [("weather", '{"city": "Oslo"}')]
        assert said.finish_reason == "tool_calls"
        body = engine.asked[0].body
        assert {"tools", "tool_choice"} & set(body) == set()
        assert "weather" in body["messages"][0]["content"]

    def test_earlier_calls_and_their_results_are_told_in_words_too(self, client: LLMClient, engine: FakeEngine) -> None:
        called = {"id": "a", "type": "function", "function": {"name": "weather", "arguments": '{"city": "Oslo"}'}}
        result = {"role": "tool", "tool_call_id": "a", "content": "rain"}
        client.chat([*HELLO, {"role": "assistant", "content": "", "tool_calls": [called]}, result])

        roles = [message["role"] for message in engine.asked[0].body["messages"]]
        texts = [message["content"] for message in engine.asked[0].body["messages"]]
        assert roles == ["user", "assistant", "user"]
        assert '"Oslo"' in texts[1]
        assert "rain" in texts[2]

    def test_one_call_where_the_caller_wants_no_more(self, client: LLMClient, engine: FakeEngine) -> None:
        engine.answers = [streams(reply(*self.CALL, "\n", *self.CALL))]

        assert len(client.chat(HELLO, tools=[WEATHER]).tool_calls) == 2
        assert len(client.chat(HELLO, tools=[WEATHER], parallel_tool_calls=False).tool_calls) == 1

    def test_text_that_looks_like_a_call_is_text_where_there_are_no_tools(
        self, client: LLMClient, engine: FakeEngine
    ) -> None:
        engine.answers = [streams(reply(*self.CALL))]

        said = client.chat(HELLO, tools=[WEATHER], tool_choice="none")

        assert (said.content, said.tool_calls) == ("".join(self.CALL), ())

    def test_a_call_that_is_demanded_is_asked_for_as_json_at_once(self, client: LLMClient, engine: FakeEngine) -> None:
        engine.answers = [streams(reply(TestChoices.OSLO))]

        said = client.chat(HELLO, tools=[WEATHER, NOW], tool_choice="required")

        assert [call.name for call in said.tool_calls] == ["weather"]
        assert [asked.body["response_format"]["type"] for asked in engine.asked] == ["json_schema"]

    def test_a_demanded_call_that_text_stands_before_until_the_limit_is_asked_for_as_json(
        self, make_client: Callable[..., LLMClient], quick: None
    ) -> None:
        knows = FakeEngine(props={"chat_template_caps": {"supports_tools": True, "supports_tool_calls": True}})
        knows.answers = [
            streams(reply("You can use", " the following code", finish_reason="length")),
            streams(reply(TestChoices.OSLO)),
        ]
        client = make_client(knows)
        client.wait_ready(60)

        said = client.chat(HELLO, tools=[WEATHER], tool_choice="required")

        assert (said.content, [call.name for call in said.tool_calls]) == ("", ["weather"])
        assert ["tools" in asked.body for asked in knows.asked] == [True, False]
        knows.close()

    def test_a_model_is_called_after_its_file_and_asked_for_by_the_engines_name(
        self, client: LLMClient, engine: FakeEngine
    ) -> None:
        client.chat(HELLO)

        assert client.wait_ready(60).name == "SmolLM2-135M-Instruct.Q4_1"
        assert "/models" not in client.status().message
        assert engine.asked[0].body["model"] == engine.model

    def test_a_conversation_that_is_too_long(self, client: LLMClient, engine: FakeEngine) -> None:
        said = "request (3031 tokens) exceeds the available context size (1024 tokens), try increasing it"
        more = {"type": "exceed_context_size_error", "n_prompt_tokens": 3031, "n_ctx": 1024}
        engine.answers = [refuses(400, {"error": {"code": 400, "message": said} | more})]

        with pytest.raises(ContextOverflow, match="1024 tokens"):
            client.chat(HELLO)


class TestNumbers:
    def test_no_limit_is_told_as_engines_understand_it(self, client: LLMClient, engine: FakeEngine) -> None:
        client.chat(HELLO, max_tokens=-1)

        assert "max_tokens" not in engine.asked[-1].body
        assert engine.asked[-1].body["n_predict"] == -1

    def test_a_nucleus_of_nothing_is_one_that_every_engine_takes(self, client: LLMClient, engine: FakeEngine) -> None:
        client.chat(HELLO, top_p=0)

        assert 0 < engine.asked[-1].body["top_p"] < 0.001
