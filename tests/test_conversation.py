"""The shape of a conversation: where its turns begin, and messages in a row from one speaker."""

from __future__ import annotations

from itertools import chain, pairwise

from hypothesis import given
from hypothesis import strategies as st

from llm_core.conversation import (
    begun_reply,
    count_leading_system,
    merge_neighbours,
    said_now,
    split_turns,
    turn_starts,
)
from llm_core.messages import FunctionCall, Message, ToolCall

CALL = ToolCall(id="call_1", function=FunctionCall(name="add"))
CALLING = Message(role="assistant", content="", tool_calls=(CALL,))
RESULT = Message(role="tool", content="3", tool_call_id="call_1")
conversations = st.lists(
    st.one_of(
        st.builds(Message, role=st.sampled_from(("system", "user", "assistant")), content=st.sampled_from("abc")),
        st.sampled_from((CALLING, RESULT)),
    ),
    max_size=12,
)


@given(conversations)
def test_the_system_messages_and_the_turns_are_the_whole_conversation(messages: list[Message]) -> None:
    system, turns = split_turns(messages)

    assert [*system, *chain.from_iterable(turns)] == messages
    assert len(system) == count_leading_system(messages)
    assert all(message.role == "system" for message in system)
    assert all(turn_starts(turn, 1) == [] for turn in turns)
    assert all(turn[0].role == "user" for turn in turns[1:])
    assert all(turns)


@given(conversations)
def test_what_is_said_now_comes_after_the_last_reply_or_the_system_messages(messages: list[Message]) -> None:
    now = said_now(messages)
    before = messages[: len(messages) - len(now)]

    assert messages[len(before) :] == now
    assert all(message.role != "assistant" for message in now if message is not begun_reply(messages))
    assert before[-1:] == [] or before[-1].role == "assistant" or len(before) == count_leading_system(messages)


@given(conversations)
def test_after_merging_only_calls_and_results_have_neighbours_of_their_role(messages: list[Message]) -> None:
    merged = merge_neighbours(messages)

    assert all(
        one.role != other.role or one.role == "tool" or one.tool_calls or other.tool_calls
        for one, other in pairwise(merged)
    )
    assert [message for message in merged if message in (CALLING, RESULT)] == [
        message for message in messages if message in (CALLING, RESULT)
    ]


def test_what_is_merged_keeps_its_text_and_its_thinking() -> None:
    said = [
        Message(role="assistant", content="One.", reasoning="First"),
        Message(role="assistant", content=""),
        Message(role="assistant", content="Two.", reasoning="Then"),
    ]

    assert merge_neighbours(said) == [Message(role="assistant", content="One.\n\nTwo.", reasoning="First\n\nThen")]
