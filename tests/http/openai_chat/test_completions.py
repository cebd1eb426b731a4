"""One completion in OpenAI's shapes, where its end is not OpenAI's."""

from __future__ import annotations

import pytest

from llm_core.errors import TimedOut
from llm_core.events import ChatEvent, ChatReply, ContentDelta, Done, ReasoningDelta, Timings, ToolCallDelta, Usage
from llm_core.http.openai_chat.completions import Answer

NOTHING, LATE = Usage(20), Timings(queue_ms=5.0)


def reply(content: str, usage: Usage) -> ChatReply:
    return ChatReply(content, None, "timeout", usage, LATE)


def test_a_whole_reply_whose_time_was_over_before_its_first_token_is_an_error() -> None:
    with pytest.raises(TimedOut):
        Answer("m").whole([reply("", NOTHING)])


def test_a_whole_reply_that_its_time_cut_short_is_cut() -> None:
    for cut in (reply("Once", Usage(20, 0, 1)), reply("Once", NOTHING), reply("", Usage(20, 0, 1))):
        assert Answer("m").whole([cut])["choices"][0]["finish_reason"] == "length"


def test_a_stream_whose_time_was_over_before_its_first_token_ends_with_an_error() -> None:
    with pytest.raises(TimedOut):
        Answer("m").chunks(Done("timeout", NOTHING, LATE), with_usage=True)


@pytest.mark.parametrize("event", [ContentDelta("a"), ReasoningDelta("a"), ToolCallDelta(0, "call_1", "f")])
def test_a_stream_that_its_time_cut_short_is_cut(event: ChatEvent) -> None:
    answer = Answer("m")
    answer.chunks(event, with_usage=False)

    (last,) = answer.chunks(Done("timeout", NOTHING, LATE), with_usage=False)

    assert last["choices"][0]["finish_reason"] == "length"
