"""Turns that are found by their ids, forgotten, added and copied; and turns that follow another one."""

from __future__ import annotations

import threading
from collections.abc import Callable, Generator
from typing import Any

import pytest

from llm_core.cancellation import Cancellation
from llm_core.errors import InvalidRequest, SessionBusy, SessionNotFound, StreamNotFound
from llm_core.events import ChatEvent, Queued, ToolCallDelta
from llm_core.messages import Message
from llm_core.request import ChatRequest
from llm_core.sessions.following import begin_after
from llm_core.sessions.live import LiveReply
from llm_core.sessions.sessions import Sessions

from .conftest import DONE, says, user

Make = Callable[..., Sessions]
NOTE = {"kept": True}


def say(sessions: Sessions, session_id: str, text: str = "Hi", *, note: dict[str, Any] | None = NOTE) -> str:
    """A turn that has ended; its stream."""
    reply = sessions.begin(session_id, text)
    if note is not None:
        sessions.turns.keep("", reply.stream_id, note)
    return ended(reply)


def ended(reply: LiveReply) -> str:
    assert list(reply.events())
    assert reply.wait(30)
    return reply.stream_id


def said(sessions: Sessions, session_id: str) -> list[str]:
    return [message.content for message in sessions.get(session_id).messages()]


def test_a_turn_is_found_by_its_stream_with_what_is_kept_of_it(make_sessions: Make) -> None:
    sessions = make_sessions(says("Hello"))
    streams = [say(sessions, "s", "One"), say(sessions, "s", "Two", note=None)]
    found = [sessions.turns.find("", stream) for stream in streams]

    assert [(each.turn.stream_id, each.is_last, each.note) for each in found] == [
        (streams[0], False, NOTE),
        (streams[1], True, None),
    ]
    for owner, stream in (("ann", streams[0]), ("", "0" * 32)):
        with pytest.raises(StreamNotFound):
            sessions.turns.find(owner, stream)


def test_what_follows_the_last_turn_goes_on_in_its_session_and_what_follows_another_in_a_copy(
    make_sessions: Make,
) -> None:
    sessions = make_sessions(says("Hello"))
    sessions.begin("s", "One", system_prompt="Briefly.", model="m").wait(30)
    first = sessions.get("s").turns[0].stream_id
    second = ended(begin_after(sessions, first, "new", opening=(user("Two"),)))
    beside = begin_after(sessions, first, "copy", opening=(user("Beside"),))
    ended(beside)

    assert said(sessions, "s") == ["One", "Hello", "Two", "Hello"]
    assert said(sessions, "copy") == ["One", "Hello", "Beside", "Hello"]
    assert sessions.turns.find("", second).session.session_id == "s"
    copied, origin = sessions.get("copy"), sessions.get("s")
    assert (copied.system_prompt, copied.model, copied.title) == ("Briefly.", "m", origin.title)
    assert copied.turns[0].done == origin.turns[0].done
    assert copied.turns[0].stream_id != first
    assert "new" not in [each.session_id for each in sessions.list()]


def test_a_copy_that_goes_on_from_a_turn_that_was_set_aside_has_it(make_sessions: Make) -> None:
    sessions = make_sessions(says("Hello"))
    first = say(sessions, "s", "One")
    second = say(sessions, "s", "Two")
    ended(sessions.begin("s", "Zwei", replaces=second))

    ended(begin_after(sessions, second, "copy", opening=(user("Three"),)))

    assert said(sessions, "copy") == ["One", "Hello", "Two", "Hello", "Three", "Hello"]
    assert said(sessions, "s") == ["One", "Hello", "Zwei", "Hello"]
    ended(sessions.begin("s", "Eins", replaces=first))
    ended(begin_after(sessions, first, "another", opening=(user("Two"),)))
    assert said(sessions, "another") == ["One", "Hello", "Two", "Hello"]


def test_where_a_copy_cannot_be_gone_on_from_there_is_none(make_sessions: Make) -> None:
    sessions = make_sessions(says("Hello"))
    first = say(sessions, "s", "One")
    say(sessions, "s", "Two")
    orphan = Message(role="tool", content="x", tool_call_id="call")

    with pytest.raises(InvalidRequest):
        begin_after(sessions, first, "copy", opening=(orphan,))

    assert [each.session_id for each in sessions.list()] == ["s"]


def test_a_copy_makes_room_as_any_new_session_does(make_sessions: Make) -> None:
    sessions = make_sessions(says("Hello"), session_limit=1)
    first = say(sessions, "s", "One")
    say(sessions, "s", "Two")
    ended(begin_after(sessions, first, "copy", opening=(user("Beside"),)))

    assert [each.session_id for each in sessions.list()] == ["copy"]
    assert said(sessions, "copy") == ["One", "Hello", "Beside", "Hello"]


def test_results_that_come_first_answer_the_calls_of_the_last_reply_and_more_may_follow(make_sessions: Make) -> None:
    def calls(request: ChatRequest, _cancellation: Cancellation) -> Generator[ChatEvent]:
        yield Queued(0)
        if request.messages[-1].content == "Hi":
            yield ToolCallDelta(0, "c1", "f", "{}")
        yield DONE

    sessions = make_sessions(calls)
    say(sessions, "s")
    result = Message(role="tool", content="4", tool_call_id="c1")
    ended(sessions.begin("s", opening=(result, user("So?"))))

    assert said(sessions, "s") == ["Hi", "", "4", "So?"]


def test_instructions_are_of_one_turn(make_sessions: Make) -> None:
    asked: list[ChatRequest] = []

    def noting(request: ChatRequest, _cancellation: Cancellation) -> Generator[ChatEvent]:
        asked.append(request)
        yield Queued(0)
        yield DONE

    sessions = make_sessions(noting)
    for options in ({"system_prompt": "Mine."}, {"instructions": "Other."}, {}):
        ended(sessions.begin("s", "Hi", **options))

    assert [request.messages[0].content for request in asked] == ["Mine.", "Other.", "Mine."]


def test_a_turn_that_is_forgotten_stays_for_those_that_go_on_from_it(make_sessions: Make) -> None:
    sessions = make_sessions(says("Hello"))
    first, second, third = (say(sessions, "s", text) for text in ("One", "Two", "Three"))
    sessions.turns.forget("", second)

    for ask in (sessions.turns.find, sessions.turns.forget):
        with pytest.raises(StreamNotFound):
            ask("", second)
    assert said(sessions, "s")[::2] == ["One", "Two", "Three"]
    sessions.turns.forget("", third)
    assert said(sessions, "s")[::2] == ["One"]
    sessions.turns.forget("", first)
    with pytest.raises(SessionNotFound):
        sessions.get("s")


def test_what_others_said_is_not_forgotten_with_it(make_sessions: Make) -> None:
    sessions = make_sessions(says("Hello"))
    first = say(sessions, "s", "One")
    other = say(sessions, "s", "Two", note=None)
    sessions.turns.forget("", first)

    with pytest.raises(StreamNotFound):
        sessions.turns.forget("", other)
    assert said(sessions, "s")[::2] == ["One", "Two"]


def test_a_session_begins_empty_and_takes_what_was_said_elsewhere(make_sessions: Make) -> None:
    sessions = make_sessions(says("Hello"))
    sessions.turns.begin_session("", "s", "A title", NOTE)
    sessions.turns.add("", "s", (user("One"), Message(role="assistant", content="Two")))
    stream = say(sessions, "s", "Three")

    assert said(sessions, "s") == ["One", "Two", "Three", "Hello"]
    assert sessions.get("s").title == "A title"
    assert sessions.turns.note_of("", "s") == NOTE
    sessions.turns.set_note("", "s", {"other": 1})
    assert sessions.turns.note_of("", "s") == {"other": 1}
    sessions.turns.forget("", stream)
    assert said(sessions, "s") == ["One", "Two"]
    with pytest.raises(SessionNotFound):
        sessions.turns.note_of("ann", "s")


def test_an_empty_session_outlives_the_turns_that_are_forgotten(make_sessions: Make) -> None:
    sessions = make_sessions(says("Hello"))
    sessions.turns.begin_session("", "s", "A title", NOTE)
    sessions.turns.forget("", say(sessions, "s", "One"))

    assert said(sessions, "s") == []


def test_nothing_is_added_or_forgotten_while_a_reply_is_made(make_sessions: Make) -> None:
    go_on = threading.Event()

    def waits(_request: ChatRequest, _cancellation: Cancellation) -> Generator[ChatEvent]:
        yield Queued(0)
        assert go_on.wait(30)
        yield DONE

    sessions = make_sessions(waits)
    reply = sessions.begin("s", "One")
    sessions.turns.keep("", reply.stream_id, NOTE)
    with pytest.raises(SessionBusy):
        sessions.turns.add("", "s", (user("Two"),))
    with pytest.raises(SessionBusy):
        sessions.turns.forget("", reply.stream_id)
    go_on.set()
    ended(reply)

    assert said(sessions, "s") == ["One"]
