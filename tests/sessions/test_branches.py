"""Versions of turns: nothing that took the place of something else is lost, and one way at a time is what was said."""

from __future__ import annotations

import json
import time
from collections.abc import Callable
from pathlib import Path

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st
from sqlalchemy import create_engine, make_url, text

from llm_core.errors import InvalidRequest, SessionBusy, SessionChanged, SessionNotFound, StreamNotFound
from llm_core.sessions.database import open_database, upgrade
from llm_core.sessions.export import to_json, to_markdown
from llm_core.sessions.sessions import Sessions
from llm_core.sessions.store import SessionStore
from tests.waiting import wait_until

from .conftest import DONE, says, user
from .test_store import abandon, said_in, say

Make = Callable[..., Sessions]


def replace(store: SessionStore, said: str, **where: str) -> str:
    """Says something in the place of a turn, or after one. Returns its stream."""
    turn = store.open_turn("ann", "s", user(said), system_prompt=None, **where)
    if turn.replaces:
        store.admit_turn(turn)
    store.end_turn(turn.key, [], [], status="complete", done=DONE, error=None)
    return turn.stream_id


def versions(store: SessionStore) -> list[list[str | None]]:
    return [[version.question for version in turn.versions] for turn in store.session("ann", "s").turns]


def test_what_was_replaced_is_a_version_and_comes_back_with_what_followed_it(store: SessionStore) -> None:
    one, two = (say(store, "s", said).stream_id for said in ("one", "two"))
    say(store, "s", "three")
    zwei = replace(store, "zwei", replaces=two)
    say(store, "s", "drei")
    assert said_in(store, "s") == ["one", "zwei", "drei"]
    assert versions(store) == [[], ["two", "zwei"], []]

    store.choose("ann", "s", two, version=store.session("ann", "s").version)

    assert said_in(store, "s") == ["one", "two", "three"]
    assert [turn.stream_id for turn in store.versions("ann", "s", two)] == [two, zwei]
    assert [turn.is_set_aside for turn in store.versions("ann", "s", zwei)] == [False, True]
    store.choose("ann", "s", zwei)
    assert said_in(store, "s") == ["one", "zwei", "drei"]
    assert [turn.stream_id for turn in store.versions("ann", "s", one)] == [one], "it has no others"


def test_a_way_comes_back_as_it_was_left_and_not_as_its_newest(store: SessionStore) -> None:
    one = say(store, "s", "one").stream_id
    two = say(store, "s", "two").stream_id
    replace(store, "zwei", replaces=two)
    store.choose("ann", "s", two)
    eins = replace(store, "eins", replaces=one)
    assert said_in(store, "s") == ["eins"]

    store.choose("ann", "s", one)

    assert said_in(store, "s") == ["one", "two"]
    assert versions(store) == [["one", "eins"], ["two", "zwei"]]
    store.choose("ann", "s", eins)
    assert said_in(store, "s") == ["eins"]


def test_what_was_taken_back_is_kept_and_stays_away_until_it_is_chosen(store: SessionStore) -> None:
    one, two = (say(store, "s", said).stream_id for said in ("one", "two"))
    say(store, "s", "three")

    store.take_back("ann", "s", two)

    assert said_in(store, "s") == ["one"]
    assert store.list_sessions("ann")[0].turns == 1
    assert store.list_sessions("ann", search="three") == ()
    assert store.open_turn("ann", "s", user("again"), system_prompt=None).earlier[-1].stream_id == one
    assert [turn.messages[0].content for turn in store.set_aside("ann", "s")] == ["two", "three"]


def test_a_turn_can_follow_an_earlier_one_also_one_that_was_set_aside(store: SessionStore) -> None:
    one = say(store, "s", "one").stream_id
    two = say(store, "s", "two").stream_id

    turn = store.open_turn("ann", "s", user("after one"), system_prompt=None, after=one)

    assert [each.messages[0].content for each in turn.earlier] == ["one"]
    assert said_in(store, "s") == ["one", "two"], "until the engine has taken it"
    assert store.set_aside("ann", "s") == (), "what waits for the engine is nothing yet"
    store.admit_turn(turn)
    store.end_turn(turn.key, [], [], status="complete", done=DONE, error=None)
    assert said_in(store, "s") == ["one", "after one"]
    replace(store, "after two", after=two)
    assert said_in(store, "s") == ["one", "two", "after two"]
    replace(store, "then", after=store.session("ann", "s").turns[-1].stream_id)
    assert said_in(store, "s") == ["one", "two", "after two", "then"]


def test_a_branch_that_is_refused_or_whose_process_dies_leaves_the_way_as_it_was(store: SessionStore) -> None:
    one = say(store, "s", "one").stream_id
    say(store, "s", "two")

    store.discard_turn(store.open_turn("ann", "s", user("no"), system_prompt=None, after=one))
    abandon(store, store.open_turn("ann", "s", user("never"), system_prompt=None, after=one))

    assert said_in(store, "s") == ["one", "two"]
    say(store, "s", "three")
    assert said_in(store, "s") == ["one", "two", "three"]
    assert versions(store) == [[], [], []]


def test_no_other_way_is_chosen_while_a_reply_is_made_or_on_what_nobody_has_seen(store: SessionStore) -> None:
    one = say(store, "s", "one").stream_id
    eins = replace(store, "eins", replaces=one)

    with pytest.raises(SessionChanged):
        store.choose("ann", "s", one, version=1)
    with pytest.raises(SessionChanged):
        store.choose("ann", "s", "0" * 32)
    with pytest.raises(SessionNotFound):
        store.choose("bob", "s", one)
    with pytest.raises(SessionNotFound):
        store.versions("bob", "s", one)
    with pytest.raises(SessionNotFound):
        store.set_aside("bob", "s")
    store.open_turn("ann", "s", user("two"), system_prompt=None)
    with pytest.raises(SessionBusy):
        store.choose("ann", "s", one)
    assert next(turn.stream_id for turn in store.session("ann", "s").turns) == eins


@given(st.lists(st.tuples(st.sampled_from(["say", "replace", "after", "choose", "take back"]), st.integers(0, 99))))
@settings(max_examples=60, deadline=None)
def test_whatever_is_done_the_way_is_that_of_a_tree_whose_nodes_each_have_a_chosen_child(
    steps: list[tuple[str, int]],
) -> None:
    store = SessionStore(open_database("sqlite://"))
    chosen: dict[str | None, str | None] = {}  # the child of each turn that the way goes on with
    parents: dict[str, str | None] = {}

    def way() -> list[str]:
        found, turn = [], chosen.get(None)
        while turn is not None:
            found.append(turn)
            turn = chosen.get(turn)
        return found

    def lead_to(stream: str) -> None:
        key: str | None = stream
        while key is not None:
            chosen[parents[key]] = key
            key = parents[key]

    for kind, number in steps:
        target = [*parents][number % len(parents)] if parents else None
        if kind == "say" or target is None:
            stream, parent = say(store, "s", "x").stream_id, (way() or [None])[-1]
        elif kind == "replace":
            stream, parent = replace(store, "x", replaces=target), parents[target]
        elif kind == "after":
            stream, parent = replace(store, "x", after=target), target
        elif kind == "choose":
            store.choose("ann", "s", target)
            lead_to(target)
            continue
        else:
            store.take_back("ann", "s", target)
            lead_to(target)
            chosen[parents[target]] = None
            continue
        parents[stream] = parent
        lead_to(stream)
        assert [turn.stream_id for turn in store.session("ann", "s").turns] == way()
    if parents:
        assert [turn.stream_id for turn in store.session("ann", "s").turns] == way()
        assert len(store.set_aside("ann", "s")) == len(parents) - len(way())
    store.close()


def test_the_model_is_told_the_chosen_way_alone(make_sessions: Make) -> None:
    sessions = make_sessions(says("Yes."))
    first = sessions.begin("s", "one")
    assert first.wait(60)
    second = sessions.begin("s", "two", replaces=first.stream_id)
    assert second.wait(60)
    sessions.choose("s", first.stream_id)
    told: list[list[str]] = []
    prepare = sessions._prepare

    def look(messages, options):  # type: ignore[no-untyped-def]
        kept = list(messages)
        told.append([message.content for message in kept])
        return prepare(kept, options)

    sessions._prepare = look
    assert sessions.begin("s", "then", after=first.stream_id).wait(60)

    assert told[-1] == ["one", "Yes.", "then"]
    with pytest.raises(InvalidRequest, match="after"):
        sessions.begin("s", "both", after=first.stream_id, replaces=first.stream_id)


def test_a_file_of_json_has_what_was_set_aside_and_one_of_markdown_what_was_said(store: SessionStore) -> None:
    one = say(store, "s", "one").stream_id
    eins = replace(store, "eins", replaces=one)
    session, aside = store.session("ann", "s"), store.set_aside("ann", "s")

    document = json.loads(to_json(session, aside))

    assert document["messages"][-1]["versions"] == [one, eins]
    (turn,) = document["set_aside"]
    assert (turn["stream_id"], turn["after"], turn["chosen"]) == (one, None, False)
    assert [message["content"] for message in turn["messages"]] == ["one", "Yes."]
    assert "\neins\n" in to_markdown(session)
    assert "\none\n" not in to_markdown(session)


def test_an_older_database_gets_its_turns_in_a_row_and_what_waited_beside_them(url: str) -> None:
    if make_url(url).get_backend_name() == "sqlite":
        Path(make_url(url).database or "").parent.mkdir(parents=True, exist_ok=True)
    old = create_engine(url)
    with old.begin() as connection:
        upgrade(connection, "0006")
        connection.execute(
            text(
                "INSERT INTO sessions (id, owner, session_id, title, created_at, updated_at, version)"
                " VALUES (1, 'ann', 's', 't', 1, 1, 3)"
            )
        )
        for key, status, replaces in ((1, "complete", None), (2, "complete", None), (3, "running", 2)):
            connection.execute(
                text(
                    "INSERT INTO turns (id, session, stream_id, status, worker, heartbeat_at, created_at, stop_wanted,"
                    " replaces) VALUES (:key, 1, :stream, :status, 'gone/1/1.00', 0, 1, false, :replaces)"
                ),
                {"key": key, "stream": str(key) * 32, "status": status, "replaces": replaces},
            )
            words = {"turn": key, "content": f"text {key}"}
            connection.execute(
                text("INSERT INTO messages (turn, role, content) VALUES (:turn, 'user', :content)"), words
            )
    old.dispose()

    engine = open_database(url)
    with engine.connect() as connection:
        rows = connection.execute(text("SELECT id, parent, set_aside FROM turns ORDER BY id")).all()
    store = SessionStore(engine)

    assert [tuple(row) for row in rows] == [(1, None, None), (2, 1, None), (3, 1, 3)]
    assert said_in(store, "s") == ["text 1", "text 2"]
    store.close()


# ── deletions that can be taken back ─────────────────────────────────────────────────────────────────────────────────


def test_a_deletion_can_be_taken_back_for_a_time_and_nobody_sees_the_session_meanwhile(store: SessionStore) -> None:
    turn = say(store, "s", "one")
    store.delete("ann", "s", forget_at=time.time() + 60)

    assert store.list_sessions("ann") == ()
    for look in (
        lambda: store.session("ann", "s"),
        lambda: store.rename("ann", "s", "x"),
        lambda: store.restore("bob", "s"),
    ):
        with pytest.raises(SessionNotFound):
            look()
    with pytest.raises(StreamNotFound):
        store.reply("ann", turn.stream_id)

    store.forget_deleted()
    store.restore("ann", "s")

    assert said_in(store, "s") == ["one"]
    assert store.reply("ann", turn.stream_id).status == "complete"
    store.restore("ann", "s")  # it is there: nothing is to do


def test_a_session_is_there_for_those_who_keep_something_of_it_as_long_as_it_can_come_back(store: SessionStore) -> None:
    say(store, "s", "one")
    store.delete("ann", "s", forget_at=time.time() + 60)
    assert (store.has("ann", "s"), store.has("bob", "s"), store.has("ann", "t")) == (True, False, False)

    store.restore("ann", "s")
    store.delete("ann", "s")
    assert not store.has("ann", "s")


def test_when_the_time_is_over_it_is_forgotten_by_whoever_tidies_up(url: str) -> None:
    gone: list[tuple[str, str]] = []
    store = SessionStore(open_database(url), forget=lambda *session: gone.append(session))
    say(store, "s", "one")
    say(store, "t", "one")
    store.delete("ann", "s", forget_at=time.time() - 1)
    store.delete("ann", "t", forget_at=time.time() - 1)
    with pytest.raises(SessionNotFound):
        store.restore("ann", "s")
    assert gone == []

    store.open_turn("ann", "other", user("Hello"), system_prompt=None)

    assert sorted(gone) == [("ann", "s"), ("ann", "t")]
    store.close()


def test_the_name_of_a_deleted_session_is_free_at_once(store: SessionStore) -> None:
    say(store, "s", "one")
    store.delete("ann", "s", forget_at=time.time() + 60)

    say(store, "s", "two")

    assert said_in(store, "s") == ["two"]
    store.delete("ann", "s")
    with pytest.raises(SessionNotFound):
        store.restore("ann", "s")


def test_a_process_forgets_what_it_has_deleted_by_itself(make_sessions: Make) -> None:
    sessions = make_sessions(says("Yes."))
    assert sessions.begin("s", "one").wait(60)
    sessions.delete("s", restorable_seconds=0.01)

    def is_forgotten() -> bool:
        with sessions._store()._engine.connect() as connection:
            return connection.execute(text("SELECT count(*) FROM sessions")).scalar() == 0

    wait_until(is_forgotten, "it is forgotten", 60)


# ── the list ─────────────────────────────────────────────────────────────────────────────────────────────────────────


def test_pinned_sessions_stand_first_and_make_room_last(url: str) -> None:
    store = SessionStore(open_database(url), session_limit=3)
    for session in "abc":
        say(store, session, "Hello")
    store.pin("ann", "a", True)
    assert [each.session_id for each in store.list_sessions("ann")] == ["a", "c", "b"]

    say(store, "d", "Hello")

    assert [each.session_id for each in store.list_sessions("ann")] == ["a", "d", "c"]
    store.pin("ann", "a", False)
    assert [each.pinned for each in store.list_sessions("ann")] == [False] * 3
    store.close()
