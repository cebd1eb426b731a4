"""A turn that is sent twice is said once: the second time comes back to the reply of the first."""

from __future__ import annotations

import threading
from collections.abc import Callable, Generator
from concurrent.futures import ThreadPoolExecutor
from typing import Any

import pytest

from llm_core.cancellation import Cancellation
from llm_core.errors import InvalidRequest, KeyReused, QueueFull, ReplyInterrupted, SessionBusy, StreamNotFound
from llm_core.events import ChatEvent, Queued, ToolCallDelta
from llm_core.request import ChatRequest
from llm_core.sessions import store as store_module
from llm_core.sessions import upkeep as upkeep_module
from llm_core.sessions.live import LiveReply
from llm_core.sessions.once import stream_of_key
from llm_core.sessions.sessions import Sessions
from llm_core.sessions.store import SessionStore
from tests.waiting import wait_until

from .conftest import DONE, Generate, says

Make = Callable[..., Sessions]
KEY = stream_of_key("key", "")


def counting(model: Generate) -> tuple[Generate, list[ChatRequest]]:
    """A model that notes what it is asked."""
    asked: list[ChatRequest] = []

    def generate(request: ChatRequest, cancellation: Cancellation) -> Generator[ChatEvent]:
        asked.append(request)
        return model(request, cancellation)

    return generate, asked


def test_the_second_time_comes_back_to_the_whole_reply_on_any_process(make_sessions: Make) -> None:
    model, asked = counting(says("Once ", "upon"))
    sessions = make_sessions(model)
    whole = list(sessions.begin_once("s", "Tell me", stream_id=KEY).events())

    again = list(sessions.begin_once("s", "Tell me", stream_id=KEY, temperature=0.1).events())
    elsewhere = list(make_sessions(model).begin_once("s", "Tell me", stream_id=KEY).events())

    assert again == elsewhere == whole
    assert len(asked) == 1
    assert [message.content for message in sessions.get("s").messages()] == ["Tell me", "Once upon"]


def test_while_it_runs_it_is_one_reply_with_two_readers(make_sessions: Make) -> None:
    go_on = threading.Event()

    def waits(_request: ChatRequest, _cancellation: Cancellation) -> Generator[ChatEvent]:
        yield Queued(0)
        assert go_on.wait(30)
        yield DONE

    sessions = make_sessions(waits)
    first = sessions.begin_once("s", "Tell me", stream_id=KEY)

    assert sessions.begin_once("s", "Tell me", stream_id=KEY) is first
    with pytest.raises(SessionBusy):
        sessions.begin_once("s", "Tell me", stream_id=stream_of_key("another", ""))
    go_on.set()
    assert [event for _, event in first.events()][-1] == DONE


def test_many_at_once_begin_one_turn(make_sessions: Make) -> None:
    model, asked = counting(says("Fine."))
    processes = [make_sessions(model) for _ in range(4)]
    for sessions in processes:
        sessions.list()  # opens the database
    together = threading.Barrier(8)

    def ask(number: int) -> Any:
        together.wait(30)
        return list(processes[number % 4].begin_once("s", "How?", stream_id=KEY).events())

    with ThreadPoolExecutor(8) as pool:
        replies = list(pool.map(ask, range(8)))

    assert len(asked) == 1
    assert all(reply == replies[0] for reply in replies)
    assert len(processes[0].get("s").turns) == 1


@pytest.mark.parametrize("version", [None, 0])
def test_one_that_is_overtaken_by_itself_comes_back_too(
    make_sessions: Make, monkeypatch: pytest.MonkeyPatch, version: int | None
) -> None:
    sessions = make_sessions(says("Fine."))
    whole = list(sessions.begin_once("s", "How?", stream_id=KEY, version=version).events())
    really, looks = SessionStore.begun, iter([None])  # the first look is before the other one has begun

    def begun(store: SessionStore, owner: str, stream_id: str) -> Any:
        return next(looks, really(store, owner, stream_id))

    monkeypatch.setattr(SessionStore, "begun", begun)

    assert list(sessions.begin_once("s", "How?", stream_id=KEY, version=version).events()) == whole
    assert len(sessions.get("s").turns) == 1


def test_another_message_or_session_under_the_same_key_is_refused_and_not_said(make_sessions: Make) -> None:
    model, asked = counting(says("Fine."))
    sessions = make_sessions(model)
    list(sessions.begin_once("s", "How?", stream_id=KEY).events())

    for session, message in (("s", "Who?"), ("other", "How?")):
        with pytest.raises(KeyReused, match="a key of its own"):
            sessions.begin_once(session, message, stream_id=KEY)
    with pytest.raises(KeyReused):
        sessions.begin_once("s", stream_id=KEY, tool_results=[{"tool_call_id": "one", "content": "4 °C"}])

    assert len(asked) == 1
    assert [session.session_id for session in sessions.list()] == ["s"]


def test_the_same_key_of_another_owner_is_another_key(make_sessions: Make) -> None:
    model, asked = counting(says("Fine."))
    sessions = make_sessions(model)

    for owner in ("ann", "bob"):
        turn: dict[str, Any] = {"stream_id": stream_of_key("key", owner), "owner": owner}
        whole = list(sessions.begin_once("s", f"I am {owner}", **turn).events())
        assert list(sessions.begin_once("s", f"I am {owner}", **turn).events()) == whole

    assert len(asked) == 2
    assert [turn.messages[0].content for turn in sessions.get("s", owner="bob").turns] == ["I am bob"]


def test_what_was_refused_can_be_said_under_the_same_key_at_once(
    make_sessions: Make, monkeypatch: pytest.MonkeyPatch
) -> None:
    refusals, left, go_on = [QueueFull("Full.")], threading.Event(), threading.Event()
    really = LiveReply.run

    def model(request: ChatRequest, cancellation: Cancellation) -> Generator[ChatEvent]:
        if refusals:
            raise refusals.pop()
        yield Queued(0)
        assert go_on.wait(30)
        yield DONE

    def lingering(reply: LiveReply, generate: Any) -> None:
        is_refused = bool(refusals)
        really(reply, generate)
        assert not is_refused or left.wait(30)

    monkeypatch.setattr(LiveReply, "run", lingering)
    sessions = make_sessions(model)
    refused = sessions.begin_once("s", "How?", stream_id=KEY)
    thread = sessions._running._live[KEY].thread
    with pytest.raises(QueueFull):
        list(refused.events())
    reply = sessions.begin_once("s", "How?", stream_id=KEY)
    left.set()
    thread.join()

    assert sessions.attach(KEY) is reply, "the refused one has taken nothing with it"
    go_on.set()
    assert [event for _, event in reply.events()][-1] == DONE


def test_a_turn_whose_process_was_killed_is_not_said_again(
    make_sessions: Make, monkeypatch: pytest.MonkeyPatch
) -> None:
    go_on = threading.Event()

    def waits(_request: ChatRequest, _cancellation: Cancellation) -> Generator[ChatEvent]:
        yield Queued(0)
        assert go_on.wait(30)
        yield DONE

    model, asked = counting(waits)
    killed = make_sessions(model).begin_once("s", "How?", stream_id=KEY)
    assert isinstance(killed, LiveReply)
    monkeypatch.setattr(upkeep_module, "is_gone", lambda *_worker: True)

    with pytest.raises(ReplyInterrupted):
        list(make_sessions(model).begin_once("s", "How?", stream_id=KEY).events())

    assert len(asked) == 1
    go_on.set()
    assert killed.wait(30)


def test_results_of_calls_are_given_once(make_sessions: Make) -> None:
    def calls(request: ChatRequest, cancellation: Cancellation) -> Generator[ChatEvent]:
        yield Queued(0)
        if request.messages[-1].role == "user":
            yield ToolCallDelta(0, id="one", name="get_weather", arguments="{}")
        yield DONE

    model, asked = counting(calls)
    sessions = make_sessions(model)
    list(sessions.begin("s", "Oslo?").events())
    results = [{"tool_call_id": "one", "content": "4 °C\0"}]

    whole, again = (
        list(sessions.begin_once("s", stream_id=KEY, tool_results=results).events()) for _ in ("once", "again")
    )

    assert whole == again
    assert len(asked) == 2
    for other in ({"content": "5 °C"}, {"tool_call_id": "two"}):
        with pytest.raises(KeyReused):
            sessions.begin_once("s", stream_id=KEY, tool_results=[results[0] | other])


def test_after_an_hour_the_key_is_refused_and_the_history_has_the_reply(
    make_sessions: Make, monkeypatch: pytest.MonkeyPatch
) -> None:
    model, asked = counting(says("Fine."))
    sessions = make_sessions(model)
    list(sessions.begin_once("s", "How?", stream_id=KEY).events())
    wait_until(lambda: sessions.running("s") is None, "only the database has it")
    monkeypatch.setattr(store_module, "EVENTS_KEPT_SECONDS", -1.0)

    with pytest.raises(StreamNotFound, match="history has the reply"):
        sessions.begin_once("s", "How?", stream_id=KEY)
    assert len(asked) == 1


def test_a_message_that_is_not_allowed_leaves_the_key_free(make_sessions: Make) -> None:
    sessions = make_sessions(says("Fine."))

    with pytest.raises(InvalidRequest):
        sessions.begin_once("s", "How?", stream_id=KEY, temperature=7)

    assert list(sessions.begin_once("s", "How?", stream_id=KEY).events())
