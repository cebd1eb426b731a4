"""The messages of a reply: gathered, numbered, cut, told again."""

from __future__ import annotations

import asyncio
import json
from collections.abc import Iterable
from typing import Any

from hypothesis import given
from hypothesis import strategies as st

from llm_core.errors import InvalidRequest, QueueFull
from llm_core.events import (
    ChatEvent,
    ChatReply,
    ContentDelta,
    Done,
    Queued,
    ReasoningDelta,
    Timings,
    ToolCallDelta,
    Usage,
)
from llm_core.mqtt.packets import Outgoing, ReplyTo
from llm_core.mqtt.worker.outbox import Outbox, Pace, payload_limit
from llm_core.reply_builder import ReplyBuilder

TO = ReplyTo("llm/lab/reply/oven/r1", b"7")
DONE = Done("stop", Usage(10, 4, 2), Timings(1.0, 20.0, 50.0))


class Post:
    """A port without a broker: what has been published there."""

    worker, largest_packet = "w1", 10**7

    def __init__(self, *, pace: Pace | None = None, limit: int = 10**6, stream: bool = True) -> None:
        self.sent: list[Outgoing] = []
        self.publish = self.sent.append
        self.outbox = Outbox(self, TO, pace=pace or Pace(0, 1), max_bytes=limit, stream=stream)

    @property
    def messages(self) -> list[dict[str, Any]]:
        return [json.loads(message.payload) for message in self.sent]

    def tell(self, events: Iterable[ChatEvent]) -> None:
        builder = ReplyBuilder()
        for event in [*events, DONE]:
            builder.add(event)
            if isinstance(event, Queued):
                self.outbox.queued(event)
            elif not isinstance(event, Done):
                self.outbox.add(event)
        self.outbox.end(self.outbox.last_of(builder.reply()))


def joined(messages: Iterable[dict[str, Any]], kind: str = "content") -> str:
    deltas = [message for message in messages if message["type"] == "delta"]
    assert [message["seq"] for message in deltas] == list(range(1, len(deltas) + 1))
    return "".join(message.get(kind, "") for message in deltas)


async def test_the_first_piece_goes_at_once_and_the_next_ones_together_after_a_moment() -> None:
    post = Post(pace=Pace(0.05, 512))
    for text in ("One", " two", " three"):
        post.outbox.add(ContentDelta(text))
    assert [message["content"] for message in post.messages] == ["One"]

    await asyncio.sleep(0.1)
    assert [message["content"] for message in post.messages] == ["One", " two three"]


async def test_enough_bytes_do_not_wait() -> None:
    post = Post(pace=Pace(60, 8))
    for text in ("One", " two", " three", " four"):
        post.outbox.add(ContentDelta(text))
    assert [message["content"] for message in post.messages] == ["One", " two three"]


async def test_text_and_thinking_and_calls_are_kept_apart_and_in_order() -> None:
    post = Post(pace=Pace(60, 512))
    post.tell(
        [
            Queued(0),
            ReasoningDelta("Hm"),
            ReasoningDelta("."),
            ContentDelta("Let me"),
            ContentDelta(" see"),
            ToolCallDelta(0, "c1", "now", "{"),
            ToolCallDelta(0, arguments='"a"'),
            ToolCallDelta(0, arguments=":1}"),
        ]
    )
    kinds = [next(name for name in message if name not in ("type", "seq", "worker")) for message in post.messages]
    assert kinds == ["queue_position", "reasoning", "reasoning", "content", "tool_calls", "tool_calls", "content"]
    assert post.messages[-2]["tool_calls"] == [{"index": 0, "function": {"arguments": '"a":1}'}}]
    assert post.messages[-1]["tool_calls"][0]["function"] == {"name": "now", "arguments": '{"a":1}'}
    assert post.messages[-1]["seq"] == 6


async def test_every_message_has_the_topic_and_the_correlation_data() -> None:
    post = Post()
    post.tell([Queued(0), ContentDelta("Hi")])
    assert {(message.topic, message.correlation) for message in post.sent} == {(TO.topic, TO.correlation)}


async def test_the_place_in_the_queue_is_told_when_it_has_changed_but_not_all_the_time() -> None:
    post = Post()
    for position in (3, 3, 2, 1, 0, 0):
        post.outbox.queued(Queued(position))
    assert [message["queue_position"] for message in post.messages] == [3, 0]


@given(st.lists(st.text(max_size=80), max_size=12), st.integers(256, 700))
def test_no_payload_is_longer_than_it_may_be_and_no_character_is_lost(texts: list[str], limit: int) -> None:
    async def tell() -> Post:
        post = Post(limit=limit, pace=Pace(0, 300))
        post.tell(ContentDelta(text) for text in texts)
        return post

    post = asyncio.run(tell())
    assert max(len(message.payload) for message in post.sent) <= limit
    assert joined(post.messages) == "".join(texts).encode("utf-8", "replace").decode()
    assert post.messages[-1]["content"] in (joined(post.messages), None)


async def test_who_wants_no_pieces_gets_a_text_in_pieces_where_it_does_not_fit_otherwise() -> None:
    short, long = Post(limit=400, stream=False), Post(limit=400, stream=False)
    short.tell([ContentDelta("x" * 50)])
    long.tell([ContentDelta("x" * 1000)])

    assert [message["type"] for message in short.messages] == ["done"]
    assert joined(long.messages) == "x" * 1000
    assert (long.messages[-1]["content"], long.messages[-1]["split"]) == (None, True)


async def test_what_was_told_is_told_again_from_any_message_on_and_then_goes_on_there() -> None:
    post = Post()
    post.outbox.queued(Queued(0))
    for text in "abc":
        post.outbox.add(ContentDelta(text))
    other = ReplyTo("llm/lab/reply/oven/elsewhere")
    post.sent.clear()
    post.outbox.resend(other, 1)
    post.outbox.add(ContentDelta("d"))

    assert {message.topic for message in post.sent} == {other.topic}
    assert [message.get("content", "accepted") for message in post.messages] == ["accepted", "b", "c", "d"]


async def test_an_error_takes_the_place_of_the_end_and_fits_too() -> None:
    post = Post(limit=256)
    post.outbox.add(ContentDelta("Hi"))
    post.outbox.fail(InvalidRequest("x" * 900, param="y" * 900))
    post.outbox.fail(QueueFull("Full.", retry_after=5))

    assert [message["type"] for message in post.messages] == ["delta", "error", "error"]
    assert len(post.sent[1].payload) <= 256
    assert post.messages[2] == {"type": "error", "code": "busy", "message": "Full.", "retry_after": 5}


async def test_a_piece_that_fits_only_without_what_is_around_it_comes_in_two() -> None:
    post = Post(limit=300)
    post.tell([ContentDelta("a" * 290)])

    assert joined(post.messages) == "a" * 290
    assert max(len(message.payload) for message in post.sent) <= 300


def test_the_limit_of_a_payload_leaves_room_for_its_packet() -> None:
    assert payload_limit(TO, 1000, None) < 1000 - len(TO.topic)
    assert payload_limit(TO, 10**9, 300) == 300


def test_a_reply_is_not_needed_to_have_text() -> None:
    async def tell() -> Post:
        post = Post()
        post.outbox.end(post.outbox.last_of(ChatReply("", None, "cancelled", Usage(), Timings())))
        return post

    assert asyncio.run(tell()).messages[-1]["content"] == ""
