"""A turn from its beginning to its end: what is told to whom, what is kept, who can stop it."""

from __future__ import annotations

import threading
from collections.abc import Callable, Generator
from contextlib import closing
from functools import partial
from typing import Any, cast
from uuid import uuid4

import pytest

from llm_core.cancellation import Cancellation
from llm_core.errors import (
    EngineClosed,
    EngineFailed,
    InvalidRequest,
    LLMError,
    QueueFull,
    SequenceFailed,
    SessionBusy,
    SessionNotFound,
    StorageFull,
    StreamNotFound,
)
from llm_core.events import ChatEvent, ContentDelta, Done, Queued, Timings, Usage
from llm_core.request import ChatRequest
from llm_core.sessions import live as live_module
from llm_core.sessions import running
from llm_core.sessions.sessions import Sessions
from llm_core.sessions.store import SessionStore

from ..waiting import wait_until
from .conftest import DONE, disk_full, only_on_sqlite, read_only, says

Make = Callable[..., Sessions]


class Slowly:
    """A model that says the next word when it is told to, and stops when it is cancelled."""

    def __init__(self) -> None:
        self.requests: list[ChatRequest] = []
        self._next = threading.Semaphore(0)
        self._cancelled = False

    def __call__(self, request: ChatRequest, cancellation: Cancellation) -> Generator[ChatEvent]:
        self.requests.append(request)
        self._cancelled = False

        def stop() -> None:
            self._cancelled = True
            self._next.release()

        cancellation.bind(stop)
        yield Queued(0)
        for number in range(1000):
            self._next.acquire()
            if self._cancelled:
                yield Done("cancelled", Usage(), Timings())
                return
            yield ContentDelta(f"{number} ")

    def words(self, count: int) -> None:
        for _ in range(count):
            self._next.release()


def silent(_request: ChatRequest, cancellation: Cancellation) -> Generator[ChatEvent]:
    """A model that says nothing until it is cancelled."""
    stopped = threading.Event()
    cancellation.bind(stopped.set)
    yield Queued(0)
    assert stopped.wait(60)
    yield Done("cancelled", Usage(), Timings())


def text_of(numbered: Any) -> str:
    return "".join(event.text for _, event in numbered if isinstance(event, ContentDelta))


def test_the_next_turn_is_told_what_was_said_before(make_sessions: Make) -> None:
    asked: list[ChatRequest] = []

    def answers(request: ChatRequest, cancellation: Cancellation) -> Generator[ChatEvent]:
        asked.append(request)
        return says("Fine.")(request, cancellation)

    sessions = make_sessions(answers)
    for said in ("Hello", "How are you?"):
        list(sessions.begin("s", said, system_prompt="Be kind.", owner="ann").events())

    assert [(each.role, each.content) for each in asked[1].messages] == [
        ("system", "Be kind."),
        ("user", "Hello"),
        ("assistant", "Fine."),
        ("user", "How are you?"),
    ]
    assert asked[1].overflow == "drop_oldest"
    assert asked[1].owner == "ann"


def test_when_done_is_told_the_reply_is_in_the_history(make_sessions: Make) -> None:
    sessions = make_sessions(says("Once ", "upon"))

    for _, event in sessions.begin("s", "Tell me").events():
        if isinstance(event, Done):
            assert sessions.get("s").messages()[-1].content == "Once upon"
            assert sessions.get("s").turns[0].status == "complete"


def test_a_reader_can_leave_and_come_back_with_nothing_lost_or_twice(make_sessions: Make) -> None:
    model = Slowly()
    sessions = make_sessions(model)
    reply = sessions.begin("s", "Count")
    model.words(5)
    with closing(reply.events()) as events:
        first = [next(events) for _ in range(4)]

    model.words(5)
    again = sessions.attach(reply.stream_id).events(first[-1][0])
    rest = [next(again) for _ in range(7)]
    again.close()
    reply.cancel()

    assert text_of(first + rest) == "".join(f"{number} " for number in range(10))
    assert reply.wait(10)


def test_a_reply_without_a_reader_ends_after_a_while_and_keeps_what_came(make_sessions: Make) -> None:
    model = Slowly()
    sessions = make_sessions(model, resume_seconds=0.2)
    reply = sessions.begin("s", "Count")
    model.words(3)
    with closing(reply.events()) as events:
        for _ in range(4):
            next(events)

    assert reply.wait(10)
    (turn,) = sessions.get("s").turns
    assert turn.status == "cancelled"
    assert turn.messages[-1].content == "0 1 2 "


def test_many_replies_have_one_clock(make_sessions: Make) -> None:
    sessions = make_sessions(silent)
    before = set(threading.enumerate())
    replies = [sessions.begin(f"s{number}", "Count") for number in range(5)]
    new = [thread.name for thread in threading.enumerate() if thread not in before]
    for reply in replies:
        reply.cancel()
        assert reply.wait(10)

    assert [name for name in new if not name.startswith("reply-")] == ["session-clock"]


def test_a_reply_that_the_clock_stumbles_over_does_not_stop_it_for_others(
    make_sessions: Make, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(running, "CHECKPOINT_SECONDS", 0.01)
    sessions = make_sessions(silent, resume_seconds=0.1)
    bad, good = sessions.begin("bad", "Count"), sessions.begin("good", "Count")
    monkeypatch.setattr(bad, "tick", None)
    with closing(good.events()) as events:
        next(events)

    assert good.wait(10), "nobody reads it any more"
    bad.cancel()
    assert bad.wait(10)


def test_a_reply_goes_on_while_one_of_its_readers_stays(make_sessions: Make) -> None:
    model = Slowly()
    sessions = make_sessions(model, resume_seconds=0.0)
    reply = sessions.begin("s", "Count")
    with closing(reply.events()) as stays:
        next(stays)
        with closing(reply.events()) as leaves:
            next(leaves)
        model.words(1)
        assert next(stays)[1] == ContentDelta("0 ")
    assert reply.wait(10)


def test_an_ended_reply_can_be_read_again_from_any_event(make_sessions: Make) -> None:
    sessions = make_sessions(says("Once ", "upon ", "a time"))
    reply = sessions.begin("s", "Tell me")
    whole = list(reply.events())
    assert reply.wait(10)

    for after in range(len(whole) + 1):
        assert list(sessions.attach(reply.stream_id).events(after)) == whole[after:]
    with pytest.raises(StreamNotFound):
        sessions.attach(reply.stream_id, owner="bob")


def test_a_running_reply_is_nobody_elses(make_sessions: Make) -> None:
    model = Slowly()
    sessions = make_sessions(model)
    reply = sessions.begin("s", "Count", owner="ann")

    with pytest.raises(StreamNotFound):
        sessions.attach(reply.stream_id, owner="bob")
    with pytest.raises(SessionNotFound):
        sessions.get("s", owner="bob")
    with pytest.raises(SessionBusy):
        sessions.begin("s", "Count", owner="ann")
    other = sessions.begin("s", "Count", owner="bob")

    for each in (reply, other):
        each.cancel()
        assert each.wait(10)


def test_text_is_saved_while_it_is_made(make_sessions: Make, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(running, "CHECKPOINT_SECONDS", 0.01)
    model = Slowly()
    sessions = make_sessions(model)
    reply = sessions.begin("s", "Count")
    model.words(2)

    other = make_sessions(model)  # another process would see the same
    for _ in range(1000):
        if other.get("s").messages()[-1].content == "0 1 ":
            break
        threading.Event().wait(0.01)
    else:
        pytest.fail("nothing was saved before the end")
    reply.cancel()
    assert reply.wait(10)


@pytest.mark.parametrize(
    ("error", "status"), [(SequenceFailed("It failed."), "failed"), (EngineClosed("Closed."), "interrupted")]
)
def test_a_reply_that_fails_keeps_what_came_and_says_why(make_sessions: Make, error: Exception, status: str) -> None:
    def fails(_request: ChatRequest, _cancellation: Cancellation) -> Generator[ChatEvent]:
        yield Queued(0)
        yield ContentDelta("Once")
        raise error

    sessions = make_sessions(fails)
    reply = sessions.begin("s", "Tell me")
    with pytest.raises(type(error)):
        list(reply.events())

    (turn,) = sessions.get("s").turns
    assert (turn.status, turn.messages[-1].content, turn.error) == (status, "Once", str(error))


def test_a_reply_that_cannot_be_saved_ends_for_its_readers(
    make_sessions: Make, monkeypatch: pytest.MonkeyPatch
) -> None:
    def broken(*_arguments: object, **_options: object) -> None:
        raise RuntimeError("a bug")

    monkeypatch.setattr(SessionStore, "end_turn", broken)
    reply = make_sessions(says("Hi")).begin("s", "Hello")

    with pytest.raises(LLMError, match="log"):
        list(reply.events())


@only_on_sqlite
@pytest.mark.parametrize("retry_seconds", [0.1, 60.0], ids=["by itself", "when something is said"])
def test_a_reply_for_which_the_disk_has_no_room_is_given_and_marked_and_saved_when_there_is(
    make_sessions: Make, monkeypatch: pytest.MonkeyPatch, caplog: pytest.LogCaptureFixture, retry_seconds: float
) -> None:
    monkeypatch.setattr(running, "CHECKPOINT_SECONDS", 0.01)
    monkeypatch.setattr(live_module, "RETRY_SECONDS", retry_seconds)
    texts = ["long " * 20_000] * 3
    begun, full = threading.Event(), threading.Event()

    def model(_request: ChatRequest, _cancellation: Cancellation) -> Generator[ChatEvent]:
        yield Queued(0)
        begun.set()
        assert full.wait(30)
        for text in texts:
            yield ContentDelta(text)
            wait_until(lambda: bool(caplog.records), "it was tried to save that")
        yield DONE

    sessions = make_sessions(model)
    reply = sessions.begin("s", "Hello")
    assert begun.wait(30)
    with disk_full(sessions._store()):
        full.set()
        *events, (_, done) = list(reply.events())
        for said in (partial(sessions.begin, "s", "Again"), partial(sessions.delete, "s")):
            with pytest.raises(StorageFull):  # and not that a reply is being made
                said()
        assert len([record for record in caplog.records if record.levelname == "WARNING"]) == 1, "not at each try"

    assert isinstance(done, Done)
    assert text_of(events) == "".join(texts)
    assert "disk" in done.not_kept
    if retry_seconds < 1:
        wait_until(lambda: sessions.get("s").turns[-1].status == "complete", "it is saved")
    assert list(sessions.begin("s", "Again").events()), "the session goes on as soon as there is room"
    assert [turn.status for turn in sessions.get("s").turns] == ["complete", "complete"]
    assert sessions.get("s").turns[0].messages[-1].content == "".join(texts)
    assert [event for _, event in sessions.attach(reply.stream_id).events()][-1] == DONE


def test_a_reply_that_is_refused_where_nothing_can_be_written_says_why_it_was_refused(make_sessions: Make) -> None:
    begun, unwritable = threading.Event(), threading.Event()

    def refuses(_request: ChatRequest, _cancellation: Cancellation) -> Generator[ChatEvent]:
        begun.set()
        assert unwritable.wait(30)
        raise QueueFull("The queue is full.")
        yield

    sessions = make_sessions(refuses)
    reply = sessions.begin("s", "Hello")
    assert begun.wait(30)
    with read_only(sessions._store()):
        unwritable.set()
        with pytest.raises(QueueFull):
            list(reply.events())


def test_what_is_refused_before_it_begins_leaves_no_trace(make_sessions: Make) -> None:
    def full(_request: ChatRequest, _cancellation: Cancellation) -> Generator[ChatEvent]:
        raise QueueFull("Full.")
        yield

    sessions = make_sessions(full)
    with pytest.raises(QueueFull):
        list(sessions.begin("s", "Hello").events())
    for bad in ({"temperature": 9}, {"nonsense": 1}):
        with pytest.raises(InvalidRequest):
            sessions.begin("s", "Hello", **bad)
    for no_id in ("not/an/id", cast(str, 5)):
        with pytest.raises(InvalidRequest, match="session_id"):
            sessions.begin(no_id, "Hello")

    assert sessions.list() == ()


def test_no_owner_is_as_good_as_none_that_is_given(make_sessions: Make) -> None:
    nobody = cast(str, None)
    sessions = make_sessions(says("Hi"))
    list(sessions.begin("s", "Hello", owner=nobody).events())
    list(sessions.begin_once("s", "Again", stream_id=uuid4().hex, owner=nobody).events())

    assert [message.content for message in sessions.get("s").messages() if message.role == "user"] == ["Hello", "Again"]


def test_a_reply_takes_the_place_of_another_when_the_engine_has_taken_it(make_sessions: Make) -> None:
    model = Slowly()
    sessions = make_sessions(says("One."))
    first = sessions.begin("s", "one", owner="ann")
    list(first.events())
    sessions._generate = model  # type: ignore[assignment]

    again = sessions.begin("s", "eins", owner="ann", version=1, replaces=first.stream_id, stream_id="a" * 32)

    assert again.wait_for_first(60)
    assert (again.stream_id, again.version, again.discarded) == ("a" * 32, 2, False)
    session = sessions.get("s", owner="ann")
    assert [turn.messages[0].content for turn in session.turns] == ["eins"]
    assert [message.content for message in model.requests[0].messages] == ["eins"], "what it replaces is not told"
    again.cancel()
    assert again.wait(60)


@pytest.mark.parametrize("refuses", [QueueFull("Full."), SequenceFailed("Too long.")])
def test_a_reply_that_is_refused_leaves_what_it_was_to_replace(make_sessions: Make, refuses: Exception) -> None:
    def refuse(_request: ChatRequest, _cancellation: Cancellation) -> Generator[ChatEvent]:
        raise refuses
        yield DONE

    sessions = make_sessions(says("One."))
    first = sessions.begin("s", "one", owner="ann")
    list(first.events())
    sessions._generate = refuse

    again = sessions.begin("s", "eins", owner="ann", replaces=first.stream_id)

    assert again.wait(60)
    assert again.discarded
    session = sessions.get("s", owner="ann")
    assert [message.content for message in session.messages()] == ["one", "One."]
    assert session.version == again.version == 1


def test_a_reply_that_is_stopped_before_the_engine_took_it_leaves_what_it_was_to_replace(make_sessions: Make) -> None:
    def stopped(_request: ChatRequest, _cancellation: Cancellation) -> Generator[ChatEvent]:
        yield Done("cancelled", Usage(), Timings())

    sessions = make_sessions(says("One."))
    first = sessions.begin("s", "one", owner="ann")
    list(first.events())
    sessions._generate = stopped

    again = sessions.begin("s", "eins", owner="ann", replaces=first.stream_id)

    assert again.wait(60)
    assert again.discarded
    assert [message.content for message in sessions.get("s", owner="ann").messages()] == ["one", "One."]


def test_a_message_that_cannot_become_a_request_leaves_no_turn_behind(make_sessions: Make) -> None:
    sessions = make_sessions(says("Yes."))
    prepare = sessions._prepare
    calls: list[None] = []

    def second_time_refused(messages: Any, options: Any) -> ChatRequest:
        calls.append(None)
        if len(calls) == 2:  # after the message was saved
            raise QueueFull("Full.")
        return prepare(messages, options)

    sessions._prepare = second_time_refused
    with pytest.raises(QueueFull):
        sessions.begin("s", "Hello", owner="ann")

    assert sessions.list(owner="ann") == ()
    list(sessions.begin("s", "Hello", owner="ann").events())


@pytest.mark.parametrize("error", [EngineClosed("Over."), EngineFailed("Broke."), SequenceFailed("No.")])
def test_a_message_that_came_to_nothing_is_not_told_again(make_sessions: Make, error: Exception) -> None:
    asked: list[ChatRequest] = []

    def fails_first(request: ChatRequest, cancellation: Cancellation) -> Generator[ChatEvent]:
        asked.append(request)
        if len(asked) == 1:
            yield Queued(0)
            raise error
        yield from says("Fine.")(request, cancellation)

    sessions = make_sessions(fails_first)
    with pytest.raises(type(error)):
        list(sessions.begin("s", "poison", owner="ann").events())
    list(sessions.begin("s", "Hello", owner="ann").events())

    assert [message.content for message in asked[1].messages] == ["Hello"]


def test_a_message_that_failed_is_not_told_again_and_one_that_was_stopped_is(make_sessions: Make) -> None:
    asked: list[ChatRequest] = []
    endings = iter(["fail", "stop", "say"])

    def model(request: ChatRequest, _cancellation: Cancellation) -> Generator[ChatEvent]:
        asked.append(request)
        yield Queued(0)
        match next(endings):
            case "fail":
                raise SequenceFailed("It failed.")
            case "stop":
                yield Done("cancelled", Usage(), Timings())
            case "say":
                yield DONE

    sessions = make_sessions(model)
    for said in ("poison", "My name is Bo.", "Who am I?"):
        with_error = sessions.begin("s", said)
        try:
            list(with_error.events())
        except SequenceFailed:
            assert said == "poison"

    assert [message.content for message in asked[-1].messages] == ["My name is Bo.\n\nWho am I?"]
    assert [turn.status for turn in sessions.get("s").turns] == ["failed", "cancelled", "complete"]


def test_closing_saves_what_runs(make_sessions: Make, url: str) -> None:
    model = Slowly()
    sessions = make_sessions(model)
    reply = sessions.begin("s", "Count")
    model.words(2)
    with closing(reply.events()) as events:
        assert text_of(next(events) for _ in range(3)) == "0 1 "
    sessions.close()

    assert make_sessions(model).get("s").messages()[-1].content == "0 1 "
