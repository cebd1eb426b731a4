"""What is kept, of whom, and what another owner sees of it: nothing."""

from __future__ import annotations

import dataclasses
import sqlite3
import threading
from pathlib import Path

import pytest
from sqlalchemy import MetaData, Table, create_engine, event, insert, inspect, make_url, select, text, update

from llm_core.errors import (
    ReplyInterrupted,
    SessionBusy,
    SessionChanged,
    SessionNotFound,
    SettingsError,
    StorageFull,
    StorageReadOnly,
    StreamNotFound,
)
from llm_core.events import ContentDelta, Queued
from llm_core.messages import Attachment, Message
from llm_core.sessions import store as store_module
from llm_core.sessions.database import open_database, upgrade
from llm_core.sessions.records import OpenTurn
from llm_core.sessions.schema import messages, metadata, sessions, turns
from llm_core.sessions.store import SessionStore, title_of
from llm_core.settings import Settings

from .conftest import DONE, disk_full, file_size_limit, only_on_postgres, only_on_sqlite, read_only, user


def say(store: SessionStore, session_id: str, said: str, answer: str = "Yes.", owner: str = "ann") -> OpenTurn:
    turn = store.open_turn(owner, session_id, user(said), system_prompt=None)
    events = [(1, Queued(0)), (2, ContentDelta(answer)), (3, DONE)]
    replies = [Message(role="assistant", content=answer)]
    store.end_turn(turn.key, events, replies, status="complete", done=DONE, error=None)
    return turn


def abandon(store: SessionStore, turn: OpenTurn) -> None:
    """As if the process that makes the reply had been killed."""
    with store._engine.begin() as connection:
        connection.execute(update(turns).where(turns.c.id == turn.key).values(worker="gone/1/1.00"))
        connection.execute(update(turns).where(turns.c.id == turn.key).values(heartbeat_at=0.0))


def test_a_turn_is_kept_with_its_figures_and_survives_the_process(store: SessionStore, url: str) -> None:
    say(store, "one", "Is water wet?")
    store.close()

    again = SessionStore(open_database(url))
    session = again.session("ann", "one")
    again.close()

    assert [message.content for message in session.messages()] == ["Is water wet?", "Yes."]
    (turn,) = session.turns
    assert (turn.status, turn.finish_reason) == ("complete", "stop")
    assert turn.figures == {"usage": dataclasses.asdict(DONE.usage), "timings": dataclasses.asdict(DONE.timings)}


def test_a_new_database_that_another_process_sets_up_meanwhile_is_waited_for(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    file = tmp_path / "sessions.db"
    other = sqlite3.connect(file, isolation_level=None)
    other.execute("BEGIN IMMEDIATE")
    waited: list[float] = []

    def wait(seconds: float) -> None:
        waited.append(seconds)
        other.rollback()

    monkeypatch.setattr("llm_core.sessions.database.sleep", wait)

    open_database(f"sqlite:///{file}").dispose()

    assert len(waited) == 1
    assert other.execute("PRAGMA journal_mode").fetchall() == [("wal",)]
    other.close()


def test_files_are_kept_with_their_message_and_forgotten_with_the_session(store: SessionStore) -> None:
    files = (Attachment(name="a.md", media_type="text/markdown", text="Grüße\0\n```"), Attachment(name="b", text="x"))
    asked = Message(role="user", content="Read them.", attachments=files)
    turn = store.open_turn("ann", "one", asked, system_prompt=None)
    store.end_turn(turn.key, [], [Message(role="assistant", content="Yes.")], status="complete", done=None, error=None)

    assert store.session("ann", "one").messages()[0] == asked
    assert store.begun("ann", turn.stream_id) == ("one", (asked,))
    assert store.begun("bob", turn.stream_id) is None
    assert store.session("ann", "one").title == "Read them."
    store.delete("ann", "one")
    with store._engine.begin() as connection:
        assert connection.execute(select(messages)).all() == []


def test_the_message_is_there_before_the_reply_begins(store: SessionStore) -> None:
    store.open_turn("ann", "one", user("Hello"), system_prompt=None)

    (turn,) = store.session("ann", "one").turns

    assert turn.status == "running"
    assert [message.content for message in turn.messages] == ["Hello"]


def test_a_running_reply_can_be_read_as_far_as_it_is_saved(store: SessionStore) -> None:
    turn = store.open_turn("ann", "one", user("Hello"), system_prompt=None)
    store.checkpoint(turn.key, [(1, Queued(0)), (2, ContentDelta("Hi "))])
    store.checkpoint(turn.key, [(3, ContentDelta("there"))])

    assert store.session("ann", "one").messages()[-1].content == "Hi there"


def test_what_was_saved_though_nobody_heard_of_it_is_saved_again(store: SessionStore) -> None:
    turn = store.open_turn("ann", "one", user("Hello"), system_prompt=None)
    saved = [(1, Queued(0)), (2, ContentDelta("Hi "))]

    store.checkpoint(turn.key, saved)  # and then the connection broke
    store.checkpoint(turn.key, [*saved, (3, ContentDelta("there"))])

    assert store.session("ann", "one").messages()[-1].content == "Hi there"


@only_on_postgres
@pytest.mark.parametrize("wanted", ["keep", "find"])
def test_a_turn_that_is_refused_while_it_is_asked_for_is_not_there(store: SessionStore, wanted: str) -> None:
    turn = store.open_turn("ann", "one", user("Hello"), system_prompt=None)

    refused = threading.Event()

    @event.listens_for(store._engine, "after_cursor_execute")
    def refuse(*_: object) -> None:
        if not refused.is_set():
            refused.set()
            store.discard_turn(turn)

    if wanted == "keep":
        store.turns.keep("ann", turn.stream_id, {"kept": True})
    else:
        with pytest.raises(StreamNotFound):
            store.turns.find("ann", turn.stream_id)

    assert not store.list_sessions("ann")


def test_one_turn_at_a_time_also_for_another_connection(store: SessionStore, url: str) -> None:
    store.open_turn("ann", "one", user("Hello"), system_prompt=None)
    other = SessionStore(open_database(url))

    for each in (store, other):
        with pytest.raises(SessionBusy):
            each.open_turn("ann", "one", user("Hello?"), system_prompt=None)
        with pytest.raises(SessionBusy):
            each.delete("ann", "one")
    other.close()

    assert len(store.session("ann", "one").turns) == 1


def test_a_turn_whose_process_was_killed_reads_interrupted_and_keeps_what_was_saved(store: SessionStore) -> None:
    turn = store.open_turn("ann", "one", user("Hello"), system_prompt=None)
    store.checkpoint(turn.key, [(1, Queued(0)), (2, ContentDelta("Once upon"))])
    abandon(store, turn)

    session = store.session("ann", "one")

    assert session.turns[0].status == "interrupted"
    assert session.messages()[-1].content == "Once upon"
    reply = store.reply("ann", turn.stream_id)
    assert [event for _, event in reply.saved] == [Queued(0), ContentDelta("Once upon")]
    assert isinstance(reply.error, ReplyInterrupted)
    store.open_turn("ann", "one", user("Go on"), system_prompt=None)


def test_another_owner_finds_nothing_and_changes_nothing(store: SessionStore) -> None:
    turn = say(store, "one", "A secret")

    with pytest.raises(SessionNotFound):
        store.session("bob", "one")
    with pytest.raises(SessionNotFound):
        store.rename("bob", "one", "Mine")
    with pytest.raises(SessionNotFound):
        store.delete("bob", "one")
    with pytest.raises(SessionNotFound):
        store.take_back("bob", "one", turn.stream_id)
    with pytest.raises(StreamNotFound):
        store.reply("bob", turn.stream_id)
    assert store.list_sessions("bob") == ()
    assert store.list_sessions("bob", search="secret") == ()

    say(store, "one", "Another conversation", owner="bob")
    assert [message.content for message in store.session("ann", "one").messages()] == ["A secret", "Yes."]


def test_the_list_has_the_newest_first_and_can_be_searched(store: SessionStore) -> None:
    say(store, "a", "About whales")
    say(store, "b", "About 100% of something", answer="It is a WHALE of a question.")
    say(store, "c", "About cats")
    say(store, "a", "More")

    assert [each.session_id for each in store.list_sessions("ann")] == ["a", "c", "b"]
    assert [each.turns for each in store.list_sessions("ann")] == [2, 1, 1]
    assert {each.session_id for each in store.list_sessions("ann", search="whale")} == {"a", "b"}
    assert [each.session_id for each in store.list_sessions("ann", search="0%")] == ["b"], "% is a character"
    assert [each.session_id for each in store.list_sessions("ann", limit=1, offset=1)] == ["c"]


def test_a_session_can_be_renamed_cut_and_deleted(store: SessionStore) -> None:
    turns = [say(store, "s", said) for said in ("one", "two", "three")]

    store.rename("ann", "s", "Numbers")
    assert store.session("ann", "s").title == "Numbers"
    store.take_back("ann", "s", turns[1].stream_id)
    assert [message.content for message in store.session("ann", "s").messages()] == ["one", "Yes."]
    store.delete("ann", "s")
    with pytest.raises(SessionNotFound):
        store.session("ann", "s")


def said_in(store: SessionStore, session_id: str) -> list[str]:
    return [turn.messages[0].content for turn in store.session("ann", session_id).turns]


def test_the_version_is_raised_whenever_a_turn_comes_or_goes_and_never_else(store: SessionStore) -> None:
    def version() -> int:
        return store.session("ann", "s").version

    turn = say(store, "s", "one")
    assert (turn.version, version()) == (1, 1)
    store.rename("ann", "s", "Numbers")
    assert version() == 1
    two = say(store, "s", "two")
    assert version() == 2
    refused = store.open_turn("ann", "s", user("three"), system_prompt=None)
    assert store.discard_turn(refused) == version() == 4
    store.take_back("ann", "s", two.stream_id, version=4)
    assert version() == 5
    assert said_in(store, "s") == ["one"]


def test_what_is_done_on_a_version_that_is_not_there_any_more_is_refused_and_changes_nothing(
    store: SessionStore,
) -> None:
    turn = say(store, "s", "one")
    say(store, "s", "two")

    with pytest.raises(SessionChanged):
        store.open_turn("ann", "s", user("three"), system_prompt="Be brief.", version=1)
    with pytest.raises(SessionChanged):
        store.open_turn("ann", "new", user("three"), system_prompt=None, version=1)
    with pytest.raises(SessionChanged):
        store.take_back("ann", "s", turn.stream_id, version=1)
    with pytest.raises(SessionChanged):
        store.take_back("ann", "s", "0" * 32)
    with pytest.raises(SessionChanged):
        store.open_turn("ann", "s", user("three"), system_prompt=None, replaces="0" * 32)

    assert said_in(store, "s") == ["one", "two"]
    assert store.session("ann", "s").system_prompt is None
    assert [each.session_id for each in store.list_sessions("ann")] == ["s"]


def test_a_turn_that_replaces_others_takes_their_place_when_it_is_admitted(store: SessionStore) -> None:
    turns = [say(store, "s", said) for said in ("one", "two", "three")]

    turn = store.open_turn("ann", "s", user("zwei"), system_prompt=None, version=3, replaces=turns[1].stream_id)

    assert [each.messages[0].content for each in turn.earlier] == ["one"]
    assert said_in(store, "s") == ["one", "two", "three"]
    assert store.list_sessions("ann")[0].turns == 3
    assert store.list_sessions("ann", search="zwei") == ()
    with pytest.raises(SessionBusy):
        store.open_turn("ann", "s", user("four"), system_prompt=None)
    assert store.admit_turn(turn) == 4
    assert said_in(store, "s") == ["one", "zwei"]
    assert store.session("ann", "s").version == 4


def test_a_turn_that_was_to_replace_others_and_is_refused_leaves_them(store: SessionStore) -> None:
    one = say(store, "s", "one")

    assert (
        store.discard_turn(store.open_turn("ann", "s", user("eins"), system_prompt=None, replaces=one.stream_id)) == 1
    )
    assert said_in(store, "s") == ["one"]

    abandon(store, store.open_turn("ann", "s", user("eins"), system_prompt=None, replaces=one.stream_id))
    assert said_in(store, "s") == ["one"]
    assert store.session("ann", "s").version == 1
    say(store, "s", "two")
    assert said_in(store, "s") == ["one", "two"], "a killed process holds nothing up"


def test_a_refused_turn_leaves_no_trace(store: SessionStore) -> None:
    store.discard_turn(store.open_turn("ann", "new", user("Hello"), system_prompt=None))
    assert store.list_sessions("ann") == ()

    say(store, "old", "Hello")
    store.discard_turn(store.open_turn("ann", "old", user("Hello again"), system_prompt=None))
    assert len(store.session("ann", "old").turns) == 1


def test_the_session_used_longest_ago_makes_room(url: str) -> None:
    store = SessionStore(open_database(url), session_limit=2)
    for session_id in ("a", "b", "c"):
        say(store, session_id, "Hello")
    say(store, "z", "Hello", owner="bob")

    assert [each.session_id for each in store.list_sessions("ann")] == ["c", "b"]
    assert [each.session_id for each in store.list_sessions("bob")] == ["z"]
    store.close()


def test_a_session_in_which_a_reply_is_made_makes_no_room(url: str) -> None:
    store = SessionStore(open_database(url), session_limit=1, session_days=30)
    running = store.open_turn("ann", "busy", user("Hello"), system_prompt=None)
    with store._engine.begin() as connection:
        connection.execute(update(sessions).values(updated_at=sessions.c.updated_at - 31 * 86_400))
    say(store, "new", "Hello")

    assert {each.session_id for each in store.list_sessions("ann")} == {"busy", "new"}
    assert store.reply("ann", running.stream_id).status == "running"
    store.close()


def test_an_unused_session_is_deleted_after_its_days(url: str) -> None:
    forgotten: list[tuple[str, str]] = []
    store = SessionStore(open_database(url), session_days=30, forget=lambda *session: forgotten.append(session))
    say(store, "old", "Hello")
    with store._engine.begin() as connection:
        connection.execute(update(sessions).values(updated_at=sessions.c.updated_at - 31 * 86_400))
    say(store, "new", "Hello")

    assert [each.session_id for each in store.list_sessions("ann")] == ["new"]
    assert forgotten == [("ann", "old")]
    store.close()


def test_the_events_of_an_ended_stream_are_kept_for_a_time(
    store: SessionStore, monkeypatch: pytest.MonkeyPatch
) -> None:
    turn = say(store, "one", "Hello")
    assert [number for number, _ in store.reply("ann", turn.stream_id).saved] == [1, 2, 3]

    monkeypatch.setattr(store_module, "EVENTS_KEPT_SECONDS", -1.0)
    say(store, "two", "Hello")

    with pytest.raises(StreamNotFound, match="history has the reply"):
        store.reply("ann", turn.stream_id)


def test_what_was_set_is_kept_with_a_session_until_something_else_is(store: SessionStore) -> None:
    store.discard_turn(store.open_turn("ann", "s", user("a"), system_prompt=None, settings={"temperature": 0.1}))
    for settings in ({"temperature": 1.5}, None):
        turn = store.open_turn("ann", "s", user("Hello"), system_prompt=None, settings=settings)
        store.end_turn(turn.key, (), (), status="complete", done=None, error=None)
        assert store.session("ann", "s").settings == {"temperature": 1.5}


@only_on_sqlite
def test_a_full_disk_is_told_and_what_was_there_stays(store: SessionStore) -> None:
    say(store, "one", "Hello")

    with disk_full(store), pytest.raises(StorageFull, match="full"):
        store.open_turn("ann", "one", user("long " * 100_000), system_prompt=None)

    assert [message.content for message in store.session("ann", "one").messages()] == ["Hello", "Yes."]
    say(store, "one", "Still here?")


@only_on_sqlite
def test_a_file_that_may_not_grow_is_told_as_a_full_disk(store: SessionStore) -> None:
    say(store, "one", "Hello")

    with file_size_limit(store), pytest.raises(StorageFull, match="may not grow"):
        store.open_turn("ann", "one", user("long " * 100_000), system_prompt=None)

    say(store, "one", "Still here?")


def test_a_database_that_may_only_be_read_is_told(store: SessionStore) -> None:
    say(store, "one", "Hello")

    with read_only(store), pytest.raises(StorageReadOnly, match="read and not written"):
        store.open_turn("ann", "one", user("Hello"), system_prompt=None)

    say(store, "one", "Still here?")


@pytest.mark.parametrize(
    ("message", "title"),
    [
        ("Hello", "Hello"),
        ("  two \n lines ", "two lines"),
        ("word " * 40, "word " * 11 + "word…"),
        ("x" * 100, "x" * 60 + "…"),
    ],
)
def test_a_title_is_the_beginning_of_the_first_message(message: str, title: str) -> None:
    assert title_of(message) == title


# ── where it is ──────────────────────────────────────────────────────────────────────────────────────────────────────


@pytest.mark.parametrize("name", ["what?", "c#", "50%", "%3F", "a b", "file:x", "a&b=c", "ümläut 🙂", "';\\"])
def test_the_database_is_in_the_folder_that_was_named(tmp_path: Path, name: str) -> None:
    settings = Settings(data_dir=tmp_path / name)
    store = SessionStore(open_database(settings.sessions_url()))
    say(store, "one", "Hello")
    store.close()

    assert (tmp_path / name / "sessions.db").is_file()
    assert [file.name for file in tmp_path.iterdir()] == [name]


def test_a_relative_folder_that_looks_like_a_url_is_a_folder(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.chdir(tmp_path)
    open_database(Settings(data_dir="file:x").sessions_url()).dispose()

    assert (tmp_path / "file:x" / "sessions.db").is_file()


# ── the schema ───────────────────────────────────────────────────────────────────────────────────────────────────────


def test_the_migrations_make_the_tables_that_the_code_knows(url: str) -> None:
    engine = open_database(url)
    found = inspect(engine)

    for table in metadata.sorted_tables:
        columns = {column["name"]: column["nullable"] for column in found.get_columns(table.name)}
        assert columns == {column.name: bool(column.nullable) for column in table.columns}
        assert {index["name"] for index in found.get_indexes(table.name)} >= {index.name for index in table.indexes}
    engine.dispose()


def test_an_older_database_is_brought_up_to_date_with_what_is_in_it(url: str) -> None:
    if (folder := Path(make_url(url).database or "").parent).is_absolute():  # a file's
        folder.mkdir()
    old = create_engine(url)
    with old.begin() as connection:
        upgrade(connection, "0001")
        row = {"owner": "ann", "session_id": "one", "title": "Hello", "created_at": 1.0, "updated_at": 1.0}
        then = Table("sessions", MetaData(), autoload_with=connection)
        connection.execute(insert(then).values(row))
    assert "uq_turns_one_running" not in {index["name"] for index in inspect(old).get_indexes("turns")}
    old.dispose()

    new = open_database(url)

    assert "uq_turns_one_running" in {index["name"] for index in inspect(new).get_indexes("turns")}
    assert SessionStore(new).session("ann", "one").title == "Hello"
    new.dispose()


def test_a_database_of_a_newer_release_is_refused_in_a_sentence(url: str) -> None:
    engine = open_database(url)
    with engine.begin() as connection:
        connection.execute(text("UPDATE alembic_version SET version_num = '9999'"))
    engine.dispose()

    with pytest.raises(SettingsError, match="newer release"):
        open_database(url)


@pytest.mark.parametrize("url", ["", "nonsense", "nosuch://host/db"])
def test_an_url_that_is_none_is_a_settings_error(url: str) -> None:
    with pytest.raises(SettingsError, match="LLM_DATABASE_URL"):
        open_database(url)


@only_on_sqlite
def test_on_sqlite_a_commit_is_on_the_disk_and_readers_do_not_wait(store: SessionStore) -> None:
    with store._engine.connect() as connection:
        assert connection.exec_driver_sql("PRAGMA synchronous").scalar() == 2
        assert connection.exec_driver_sql("PRAGMA journal_mode").scalar() == "wal"


def test_a_database_in_memory_is_one_for_all_its_connections() -> None:
    store = SessionStore(open_database("sqlite://"))
    say(store, "one", "Hello")
    assert len(store.list_sessions("ann")) == 1
    store.close()
