"""Several processes on one database: a reply that one makes is read, kept going and stopped from another."""

from __future__ import annotations

import asyncio
from collections.abc import Callable, Iterator
from concurrent.futures import ThreadPoolExecutor
from contextlib import closing, suppress

import pytest

from llm_core.errors import ReplyInterrupted, SessionBusy
from llm_core.events import ContentDelta, Done
from llm_core.messages import Message
from llm_core.sessions import follow, live, running
from llm_core.sessions.database import open_database
from llm_core.sessions.sessions import Sessions
from llm_core.sessions.store import SessionStore

from .conftest import says, user
from .test_sessions import Slowly, text_of
from .test_store import abandon

Make = Callable[..., Sessions]


@pytest.fixture(autouse=True)
def _quick(monkeypatch: pytest.MonkeyPatch) -> None:
    """The same waits, but shorter."""
    monkeypatch.setattr(running, "CHECKPOINT_SECONDS", 0.02)
    monkeypatch.setattr(follow, "POLL_SECONDS", 0.02)


@pytest.fixture
def other_store(url: str, store: SessionStore) -> Iterator[SessionStore]:
    """As another process would open it."""
    other = SessionStore(open_database(url))
    yield other
    other.close()


def test_a_reply_that_another_process_makes_is_read_from_any_event_to_its_end(make_sessions: Make) -> None:
    model = Slowly()
    maker, other = make_sessions(model), make_sessions(says("unused"))
    made = maker.begin("s", "Count")
    model.words(3)

    with closing(other.attach(made.stream_id).events(after=2)) as events:
        assert next(events) == (3, ContentDelta("1 "))
        assert next(events) == (4, ContentDelta("2 "))
        model.words(1)
        assert next(events) == (5, ContentDelta("3 "))
        made.cancel()
        rest = list(events)

    assert isinstance(rest[-1][1], Done)
    assert [number for number, _ in rest] == list(range(6, 6 + len(rest)))


async def test_the_same_in_an_event_loop(make_sessions: Make) -> None:
    model = Slowly()
    maker, other = make_sessions(model), make_sessions(says("unused"))
    made = await asyncio.to_thread(maker.begin, "s", "Count")
    model.words(2)
    reply = await asyncio.to_thread(other.attach, made.stream_id)

    read = []
    async for numbered in reply.aevents():
        read.append(numbered)
        if len(read) == 3:
            made.cancel()

    assert text_of(read) == "0 1 "
    assert isinstance(read[-1][1], Done)


def test_a_stop_from_another_process_is_heeded(make_sessions: Make) -> None:
    model = Slowly()
    maker, other = make_sessions(model), make_sessions(says("unused"))
    made = maker.begin("s", "Count")
    model.words(1)

    other.attach(made.stream_id).cancel()

    assert made.wait(10)
    assert maker.get("s").turns[-1].status == "cancelled"


def test_a_stop_by_somebody_else_is_not(make_sessions: Make, other_store: SessionStore) -> None:
    model = Slowly()
    maker = make_sessions(model)
    made = maker.begin("s", "Count", owner="ann")

    other_store.request_stop("bob", made.stream_id)

    assert not made.wait(0.2)
    made.cancel()
    assert made.wait(10)


def test_a_reader_on_another_process_keeps_a_reply_going(make_sessions: Make, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(live, "FIRST_READER_SECONDS", 5)
    monkeypatch.setattr(live, "FOLLOWED_SECONDS", 5)
    monkeypatch.setattr(follow, "MARK_SECONDS", 0.05)
    model = Slowly()
    maker, other = make_sessions(model, resume_seconds=0.1), make_sessions(says("unused"))
    made = maker.begin("s", "Count")

    with closing(other.attach(made.stream_id).events()) as events:
        for _ in range(4):
            next(events)
            assert not made.wait(2), "it goes on although nobody reads it on its own process"
            model.words(1)
    assert made.wait(60), "and ends when that reader has left too"


def test_a_reply_whose_process_has_gone_ends_with_what_was_saved(
    make_sessions: Make, store: SessionStore, other_store: SessionStore
) -> None:
    turn = store.open_turn("", "s", user("Count"), system_prompt=None)
    store.checkpoint(turn.key, [(1, ContentDelta("One"))])
    with closing(make_sessions(says("unused")).attach(turn.stream_id).events()) as events:
        assert next(events) == (1, ContentDelta("One"))
        abandon(store, turn)
        with pytest.raises(ReplyInterrupted):
            next(events)


def test_a_process_that_was_taken_for_dead_adds_nothing_afterwards(
    store: SessionStore, other_store: SessionStore
) -> None:
    turn = store.open_turn("ann", "s", user("Count"), system_prompt=None)
    store.checkpoint(turn.key, [(1, ContentDelta("One"))])
    abandon(store, turn)
    assert other_store.session("ann", "s").turns[-1].status == "interrupted"

    assert store.checkpoint(turn.key, [(2, ContentDelta(" two"))]).stop
    late = [Message(role="assistant", content="One two")]
    store.end_turn(turn.key, [(2, ContentDelta(" two"))], late, status="complete", done=None, error=None)

    (only,) = other_store.session("ann", "s").turns
    assert (only.status, [message.content for message in only.messages]) == ("interrupted", ["Count", "One"])


def test_of_many_who_make_the_same_session_at_once_one_begins_its_turn(
    store: SessionStore, other_store: SessionStore
) -> None:
    def begin(number: int) -> int:
        with suppress(SessionBusy):
            (store, other_store)[number % 2].open_turn("ann", "new", user(f"{number}"), system_prompt=None)
            return 1
        return 0

    with ThreadPoolExecutor(8) as pool:
        assert sum(pool.map(begin, range(8))) == 1
    assert len(store.session("ann", "new").turns) == 1


def test_of_many_who_find_a_dead_process_one_ends_its_turn(store: SessionStore, other_store: SessionStore) -> None:
    turn = store.open_turn("ann", "s", user("Count"), system_prompt=None)
    store.checkpoint(turn.key, [(1, ContentDelta("One"))])
    abandon(store, turn)

    with ThreadPoolExecutor(8) as pool:
        list(pool.map(lambda number: (store, other_store)[number % 2].session("ann", "s"), range(8)))
    assert [message.content for message in store.session("ann", "s").messages()] == ["Count", "One"]


def test_any_character_can_be_said(store: SessionStore) -> None:
    turn = store.open_turn("ann", "s", user("a\0b 🙂"), system_prompt="\0")
    store.end_turn(turn.key, [(1, ContentDelta("\0"))], [], status="complete", done=None, error=None)

    assert store.session("ann", "s").messages()[0].content in ("a\0b 🙂", "a\ufffdb 🙂")
    assert store.reply("ann", turn.stream_id).saved == ((1, ContentDelta("\0")),)
