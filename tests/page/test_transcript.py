"""A conversation on the page, and what of it the model is told."""

from __future__ import annotations

from copy import deepcopy
from typing import Any

from llm_core.events import (
    ChatEvent,
    ContentDelta,
    Done,
    Queued,
    ReasoningDelta,
    Timings,
    ToolCallDelta,
    ToolResult,
    Usage,
)
from llm_core.page.transcript import Changes, ShownMessage, ShownReply, changes
from llm_core.texts.told import english, english_line

END = Done("stop", Usage(10, 0, 5), Timings(0, 100, 50))


class Clock:
    """Says the time that it was told."""

    def __init__(self) -> None:
        self.seconds = 0.0

    def __call__(self) -> float:
        return self.seconds


def metadata_of(reply: ShownReply) -> list[dict[str, Any]]:
    """Of each message, in English."""
    found = [dict[str, Any](message["metadata"]) for message in reply.messages()]
    for metadata in found:
        metadata.pop("called", None)
        if "log" in metadata:
            metadata["log"] = english_line(metadata["log"])
        if "title" in metadata:
            metadata["title"] = english(metadata["title"])
    return found


def test_a_reply_that_waits_says_for_what() -> None:
    reply = ShownReply()
    reply.add(Queued(3))

    assert metadata_of(reply) == [{"log": "Waiting: 3 requests ahead of yours", "id": "waiting"}]


def test_a_reply_that_is_written_has_no_line() -> None:
    reply = ShownReply()
    reply.add(Queued(0))
    reply.add(ContentDelta("Hello"))

    assert metadata_of(reply) == [{"log": "", "id": "writing"}]
    assert [text_of(message) for message in reply.messages()] == ["Hello"]


def test_an_empty_delta_does_not_end_the_waiting() -> None:
    reply = ShownReply()
    reply.add(Queued(0))
    reply.add(ContentDelta(""))

    assert reply.state == "waiting"


def test_thinking_is_a_message_of_its_own_and_says_how_long_it_took() -> None:
    clock = Clock()
    reply = ShownReply(now=clock)
    clock.seconds = 10
    reply.add(ReasoningDelta("Let me "))
    reply.add(ReasoningDelta("see."))
    assert metadata_of(reply)[0] == {"title": "Thinking", "status": "pending"}
    clock.seconds = 13
    reply.add(ContentDelta("Blue."))
    clock.seconds = 20
    reply.add(END)

    assert metadata_of(reply)[0] == {"title": "Thought for 3.0 s", "status": "done"}
    assert [message["content"][0]["text"] for message in reply.messages()] == ["Let me see.", "Blue."]


def test_what_changes_makes_the_next_drawing_of_the_last_and_a_long_text_is_sent_once() -> None:
    reply, drawn, sent = ShownReply(), list[ShownMessage](), 0
    words = [f"word {number} 🙂 " for number in range(200)]
    events: list[ChatEvent] = [Queued(0), *map(ReasoningDelta, words), ToolCallDelta(0, id="one", name="calculate")]
    events += [ToolCallDelta(0, arguments='{"expression": "6 * 7"}'), ToolResult("one", "calculate", "42")]
    for event in [*events, *map(ContentDelta, words), END]:
        reply.add(event)
        found = changes(drawn, reply.messages())
        drawn = with_changes(drawn, found)
        sent += sum(len(text_of(message)) for message in found["add"])

        assert drawn == reply.messages()
    assert sent == 2 * len("".join(words)), "each text once"


def with_changes(before: list[ShownMessage], found: Changes) -> list[ShownMessage]:
    """As the page's script does it (replies.js)."""
    added = deepcopy(found["add"])
    if found["goes_on"]:
        added[0]["content"][0]["text"] = text_of(before[found["keep"]]) + text_of(added[0])
    return [*before[: found["keep"]], *added]


def test_a_failure_keeps_the_text_that_came_before_it() -> None:
    reply = ShownReply()
    reply.add(ContentDelta("Half a"))
    reply.fail("The engine failed.")

    assert metadata_of(reply) == [{"log": "The engine failed.", "id": "failed"}]
    assert [text_of(message) for message in reply.messages()] == ["Half a"]


# ── calls of tools ───────────────────────────────────────────────────────────────────────────────────────────────────


def calling() -> ShownReply:
    """A reply that has said something and called something, and waits for what comes of it."""
    reply = ShownReply()
    reply.add(ContentDelta("Let me see."))
    reply.add(ToolCallDelta(0, id="one", name="calculate"))
    reply.add(ToolCallDelta(0, arguments='{"expression": '))
    reply.add(ToolCallDelta(0, arguments='"6 * 7"}'))
    return reply


def text_of(message: Any) -> str:
    text: str = message["content"][0]["text"]
    return text


def result_of(message: Any) -> str:
    result: str = message["metadata"]["called"]["result"]
    return result


def test_a_call_is_a_message_of_its_own_between_the_texts() -> None:
    reply = calling()
    assert metadata_of(reply) == [
        {},
        {"title": "Calculator", "log": "6 * 7", "status": "pending"},
        {"log": "", "id": "writing"},
    ]
    reply.add(ToolResult("one", "calculate", "42"))
    reply.add(Queued(0))
    assert metadata_of(reply)[1:] == [
        {"title": "Calculator", "log": "6 * 7", "status": "done"},
        {"log": "Reading what came of it", "id": "waiting"},
    ]
    reply.add(ContentDelta("It is 42."))
    reply.add(END)

    assert [text_of(message) for message in reply.messages()][::2] == ["Let me see.", "It is 42."]
    assert "42" in result_of(reply.messages()[1])
    assert metadata_of(reply)[-1]["id"] == "done"


def test_thoughts_between_calls_are_messages_of_their_own() -> None:
    reply = ShownReply(now=lambda: 0.0)
    for number in range(2):
        reply.add(ReasoningDelta(f"Hm {number}."))
        reply.add(ToolCallDelta(0, id=f"call-{number}", name="calculate", arguments="{}"))
        reply.add(ToolResult(f"call-{number}", "calculate", str(number)))
    reply.add(ContentDelta("Done."))
    reply.add(END)

    assert [metadata.get("title") for metadata in metadata_of(reply)] == [
        *["Thought", "Calculator"] * 2,
        None,
    ]
    assert "0" in result_of(reply.messages()[1])
    assert "1" in result_of(reply.messages()[3]), "calls of two steps have the same place and are two calls"


def test_a_call_that_nobody_ran_says_so_when_the_reply_has_ended() -> None:
    reply = calling()
    reply.add(Done("length", Usage(10, 0, 5), Timings()))

    assert metadata_of(reply)[1] == {"title": "Calculator", "log": "not run", "status": "done"}


def test_a_long_reply_grows_at_its_end_alone() -> None:
    reply = ShownReply()
    paragraph = "word " * 150 + "\n\n"
    for _ in range(3):
        reply.add(ContentDelta(paragraph))
    before = [text_of(message) for message in reply.messages()]
    reply.add(ContentDelta(paragraph))
    after = [text_of(message) for message in reply.messages()]

    assert len(before) > 1
    assert after[: len(before) - 1] == before[:-1], "what is finished is drawn once"
    assert "".join(after) == paragraph * 4
