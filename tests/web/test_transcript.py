"""A conversation on the page, and what of it the model is told."""

from __future__ import annotations

from typing import Any

from llm_core.events import ContentDelta, Done, Queued, ReasoningDelta, Timings, Usage
from llm_core.web.transcript import ShownReply, conversation, failure, settled, shown, spoken_text

END = Done("stop", Usage(10, 0, 5), Timings(0, 100, 50))


class Clock:
    """Says the time that it was told."""

    def __init__(self) -> None:
        self.seconds = 0.0

    def __call__(self) -> float:
        return self.seconds


def metadata_of(reply: ShownReply) -> list[dict[str, Any]]:
    return [dict(message["metadata"]) for message in reply.messages()]


def asked(text: str) -> dict[str, Any]:
    return dict(shown("user", text))


def answered(text: str) -> list[dict[str, Any]]:
    reply = ShownReply()
    reply.add(ContentDelta(text))
    reply.add(END)
    return [dict(message) for message in reply.messages()]


def refused() -> list[dict[str, Any]]:
    reply = ShownReply()
    reply.fail("Try again in a minute.")
    return [dict(message) for message in reply.messages()]


def stopped_before_its_first_word() -> list[dict[str, Any]]:
    return [dict(message) for message in ShownReply().messages()]


def test_a_reply_that_waits_says_for_what() -> None:
    reply = ShownReply()
    reply.add(Queued(3))

    assert metadata_of(reply) == [{"log": "Waiting: 3 requests ahead of yours", "id": "waiting"}]


def test_a_reply_that_is_written_has_no_line() -> None:
    reply = ShownReply()
    reply.add(Queued(0))
    reply.add(ContentDelta("Hello"))

    assert metadata_of(reply) == [{"log": "", "id": "writing"}]
    assert "".join(map(spoken_text, reply.messages())) == "Hello"


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


def test_a_failure_keeps_the_text_that_came_before_it() -> None:
    reply = ShownReply()
    reply.add(ContentDelta("Half a"))
    reply.fail("The engine failed.")

    assert failure(reply.messages()) == "The engine failed."
    assert "".join(map(spoken_text, reply.messages())) == "Half a"


def test_the_model_is_told_what_was_said_and_nothing_about_it() -> None:
    thoughtful = ShownReply()
    thoughtful.add(ReasoningDelta("Hm."))
    thoughtful.add(ContentDelta("Blue."))
    thoughtful.add(END)
    history = [asked("A colour?"), *(dict(message) for message in thoughtful.messages()), asked("Another?")]

    assert conversation(history) == [
        {"role": "user", "content": "A colour?"},
        {"role": "assistant", "content": "Blue."},
        {"role": "user", "content": "Another?"},
    ]


def test_a_message_that_was_refused_is_not_said_again() -> None:
    history = [asked("One"), *answered("1"), asked("far too long"), *refused(), asked("Two")]

    assert [message["content"] for message in conversation(history)] == ["One", "1", "Two"]


def test_a_message_whose_reply_was_stopped_at_once_is_joined_to_the_next() -> None:
    history = [asked("I am Ann."), *stopped_before_its_first_word(), asked("Who am I?")]

    assert conversation(history) == [{"role": "user", "content": "I am Ann.\n\nWho am I?"}]


def test_plain_strings_as_callers_of_the_endpoint_have_them_are_understood() -> None:
    history = [{"role": "user", "content": "Hi"}, {"role": "assistant", "content": "Hello", "metadata": None}]

    assert conversation(history) == [{"role": "user", "content": "Hi"}, {"role": "assistant", "content": "Hello"}]


def test_what_is_not_text_is_left_out() -> None:
    file = {"type": "file", "file": {"path": "/etc/passwd"}}
    history = [{"role": "user", "content": [{"type": "text", "text": "See "}, file, {"type": "text", "text": "it."}]}]

    assert conversation(history) == [{"role": "user", "content": "See it."}]


def test_a_reply_that_was_stopped_is_settled_as_such() -> None:
    reply = ShownReply()
    reply.add(ReasoningDelta("Hm"))
    history = [asked("Well?"), *(dict(message) for message in reply.messages())]

    assert [message["metadata"] for message in settled(history)][1:] == [
        {"title": "Stopped thinking", "status": "done"},
        {"log": "Stopped", "id": "done"},
    ]


def test_what_has_ended_stays_as_it_is_when_settled() -> None:
    history = [asked("One"), *answered("1"), asked("Two"), *refused()]

    assert settled(history) == history


def test_indentation_and_empty_lines_are_kept() -> None:
    text = "  Look:\n\n    if a:\n        b()\n"

    assert conversation([asked(text)]) == [{"role": "user", "content": text}]
