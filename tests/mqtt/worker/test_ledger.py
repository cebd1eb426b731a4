"""The ledger: what several workers on one database know of each request."""

from __future__ import annotations

from collections.abc import Callable, Iterator
from concurrent.futures import ThreadPoolExecutor
from dataclasses import replace
from pathlib import Path

import pytest
from sqlalchemy import Connection, event, inspect, update
from sqlalchemy.exc import IntegrityError, OperationalError

from llm_core.errors import StorageError
from llm_core.mqtt.topics import RequestKey
from llm_core.mqtt.worker.ledger import KEPT_SECONDS, Entry, Ledger, Record, requests, workers
from llm_core.sessions.database import open_database
from llm_core.sessions.schema import metadata
from tests.sessions.conftest import postgres as postgres  # the same fixture
from tests.sessions.postgres import Postgres

KEY, OTHER = RequestKey("lab", "oven", "r1"), RequestKey("lab", "oven", "other")
ENTRY = Entry(KEY, b"{}", "llm/lab/reply/oven/r1", b"7", 99.0)


@pytest.fixture(params=["sqlite", "postgresql"])
def url(request: pytest.FixtureRequest, tmp_path: Path) -> str:
    """An empty database: what holds for one kind holds for the other."""
    if request.param == "sqlite":
        return f"sqlite:///{tmp_path}/sessions.db"
    postgres: Postgres = request.getfixturevalue("postgres")
    return postgres.make_database()


@pytest.fixture
def make_ledger(url: str) -> Iterator[Callable[[str], Ledger]]:
    """Makes the ledger of a worker that has joined; all are on one database."""
    made: list[Ledger] = []

    def make(worker: str) -> Ledger:
        made.append(Ledger(open_database(url), worker))
        made[-1].join()
        return made[-1]

    yield make
    for ledger in made:
        ledger.close()


def kill(ledger: Ledger) -> None:
    """Its worker's process has ended: there is no such one any more."""
    with ledger._engine.begin() as connection:
        gone = (
            update(workers).where(workers.c.name == ledger._worker).values(process="elsewhere/1/1.00", heartbeat_at=0)
        )
        connection.execute(gone)


def test_a_request_is_new_once_and_then_known(make_ledger: Callable[[str], Ledger]) -> None:
    one, other = make_ledger("one"), make_ledger("other")

    assert one.record([ENTRY, ENTRY]) == [Record(), Record("waiting", "one")]
    assert other.record([ENTRY]) == [Record("waiting", "one")]
    assert one.begin(KEY)
    assert other.record([ENTRY]) == [Record("begun", "one")]
    assert one.finish(KEY, b"done")
    assert other.record([ENTRY]) == [Record("ended", "one", b"done")]
    assert other.answer(KEY) == b"done"


def test_of_many_that_record_the_same_at_once_one_is_the_first(make_ledger: Callable[[str], Ledger]) -> None:
    ledgers = [make_ledger(f"w{number}") for number in range(4)]
    with ThreadPoolExecutor(4) as pool:
        standings = [each for (each,) in pool.map(lambda ledger: ledger.record([ENTRY]), ledgers)]

    assert [each.status for each in standings].count(None) == 1
    assert len({each.worker for each in standings if each.status}) == 1


def test_of_many_that_look_at_once_one_claims(make_ledger: Callable[[str], Ledger]) -> None:
    one, *others = [make_ledger(f"w{number}") for number in range(4)]
    one.record([ENTRY])
    kill(one)
    with ThreadPoolExecutor(3) as pool:
        claimed = [each for found, _ in pool.map(Ledger.claim, others) for each in found]

    assert len(claimed) == 1


def test_what_another_forgets_in_the_moment_in_which_it_is_recorded_is_new(
    make_ledger: Callable[[str], Ledger], monkeypatch: pytest.MonkeyPatch
) -> None:
    ledger, insert, taken = make_ledger("one"), Ledger._insert, [ENTRY.key]

    def insert_later(ledger: Ledger, connection: Connection, entry: Entry) -> None:
        if taken:
            taken.pop()
            raise IntegrityError("another was first", None, Exception())
        insert(ledger, connection, entry)

    monkeypatch.setattr(Ledger, "_insert", insert_later)

    assert ledger.record([ENTRY]) == [Record()]
    assert ledger.record([ENTRY]) == [Record("waiting", "one")]


@pytest.mark.parametrize(
    "key", [RequestKey("lab", "oven", "r2"), RequestKey("lab", "fridge", "r1"), RequestKey("shop", "oven", "r1")]
)
def test_the_same_id_of_another_client_or_project_is_another_request(
    make_ledger: Callable[[str], Ledger], key: RequestKey
) -> None:
    ledger = make_ledger("one")
    ledger.record([ENTRY])

    assert ledger.record([Entry(key, b"{}", "t")]) == [Record()]


def test_what_is_forgotten_is_new_again(make_ledger: Callable[[str], Ledger]) -> None:
    ledger = make_ledger("one")
    ledger.record([ENTRY])

    assert ledger.forget(KEY)
    assert ledger.record([ENTRY]) == [Record()]


def test_what_a_worker_leaves_behind_goes_to_one_other_and_with_all_that_is_needed(
    make_ledger: Callable[[str], Ledger],
) -> None:
    one, other, third = make_ledger("one"), make_ledger("other"), make_ledger("third")
    one.record([ENTRY])
    assert other.claim() == ([], []), "as long as it lives"

    kill(one)
    (claimed,), gone = other.claim()
    assert (claimed.entry, claimed.status, claimed.attempts) == (ENTRY, "waiting", 2)
    assert gone == ["one"]
    assert third.claim() == ([], []), "it has an heir"
    assert not one.finish(KEY, b"late"), "it is not its any more"
    assert other.finish(KEY, b"done")

    kill(other)
    (claimed,), gone = third.claim()
    assert (claimed.status, claimed.answer, claimed.attempts) == ("ended", b"done", 3)
    assert set(gone) == {"one", "other"}, "an heir that has gone too had not removed the first one"
    for worker in gone:
        third.remove(worker)
    assert third.claim() == ([], [])


def test_a_worker_that_ends_in_good_order_leaves_what_it_has_to_anybody(make_ledger: Callable[[str], Ledger]) -> None:
    one, other = make_ledger("one"), make_ledger("other")
    one.record([ENTRY, Entry(RequestKey("lab", "oven", "r2"), b"{}", "t")])
    one.finish(KEY, b"done")
    one.delivered(KEY)
    one.leave(has_session=False)

    claimed, gone = other.claim()
    assert ([each.entry.key.request_id for each in claimed], gone) == (["r2"], [])


def test_who_ends_in_good_order_but_not_for_the_broker_has_an_heir(make_ledger: Callable[[str], Ledger]) -> None:
    one, other = make_ledger("one"), make_ledger("other")
    one.record([ENTRY])
    one.leave(has_session=True)

    claimed, gone = other.claim()
    assert ([each.entry.key for each in claimed], gone) == ([KEY], ["one"])


def test_a_released_request_is_anybodys(make_ledger: Callable[[str], Ledger]) -> None:
    one, other = make_ledger("one"), make_ledger("other")
    one.record([ENTRY])
    one.begin(KEY)
    assert one.release(KEY)

    (claimed,), _ = other.claim()
    assert claimed.status == "waiting"


@pytest.mark.parametrize("url", ["postgresql"], indirect=True)  # on SQLite nobody writes while another claims
def test_what_is_released_while_another_claims_is_left_to_the_next_claim(make_ledger: Callable[[str], Ledger]) -> None:
    one, other = make_ledger("one"), make_ledger("other")
    one.record([ENTRY, replace(ENTRY, key=OTHER)])
    assert one.release(KEY)

    def release(_connection: object, _cursor: object, statement: str, *_more: object) -> None:
        if statement.startswith("UPDATE mqtt_requests"):  # what is there to be claimed has been read
            one.release(OTHER)

    event.listen(other._engine, "before_cursor_execute", release)

    for key in (KEY, OTHER):
        (claimed,), _ = other.claim()
        assert (claimed.entry.key, claimed.attempts) == (key, 2)


def test_who_was_taken_for_gone_and_removed_joins_again(make_ledger: Callable[[str], Ledger]) -> None:
    one, other = make_ledger("one"), make_ledger("other")
    other.remove("one")
    one.heartbeat()
    one.record([ENTRY])

    assert other.claim() == ([], [])


def test_answers_are_forgotten_after_a_time_and_not_before_the_broker_has_them(
    make_ledger: Callable[[str], Ledger],
) -> None:
    ledger = make_ledger("one")
    ledger.record([ENTRY])
    ledger.finish(KEY, b"done")
    ledger.record([replace(ENTRY, key=OTHER)])
    ledger.finish(OTHER, b"just done")
    with ledger._engine.begin() as connection:
        old = update(requests).where(requests.c.request_id == KEY.request_id)
        connection.execute(old.values(ended_at=requests.c.ended_at - KEPT_SECONDS - 1))

    ledger.delivered(OTHER)
    ledger.heartbeat()
    assert ledger.answer(OTHER) == b"just done"
    assert ledger.answer(KEY) == b"done"
    ledger.delivered(KEY)
    ledger.heartbeat()
    assert ledger.answer(KEY) is None


def test_what_a_heartbeat_could_not_write_down_is_written_with_the_next(
    make_ledger: Callable[[str], Ledger], monkeypatch: pytest.MonkeyPatch
) -> None:
    ledger = make_ledger("one")
    ledger.record([ENTRY])
    ledger.finish(KEY, b"done")
    ledger.delivered(KEY)

    def full(_table: object) -> None:
        raise OperationalError("DELETE", {}, Exception("the disk is full"))

    with monkeypatch.context() as patch:
        patch.setattr("llm_core.mqtt.worker.ledger.delete", full)
        with pytest.raises(StorageError):
            ledger.heartbeat()
    ledger.heartbeat()

    assert ledger.record([ENTRY]) == [Record("delivered", "one", b"done")]


def test_the_migrations_make_the_ledgers_tables(make_ledger: Callable[[str], Ledger]) -> None:
    found = inspect(make_ledger("one")._engine)
    for table in (requests, workers):
        columns = {column["name"]: column["nullable"] for column in found.get_columns(table.name)}
        assert table.metadata is metadata
        assert columns == {column.name: bool(column.nullable) for column in table.columns}
        assert {index["name"] for index in found.get_indexes(table.name)} >= {index.name for index in table.indexes}


def test_who_asks_again_elsewhere_is_answered_there_also_by_another_worker(
    make_ledger: Callable[[str], Ledger],
) -> None:
    ledger = make_ledger("one")
    ledger.record([ENTRY])
    ledger.record([Entry(KEY, b"{}", "llm/lab/reply/oven/elsewhere", None)])
    kill(ledger)

    (claimed,), _ = make_ledger("other").claim()
    assert (claimed.entry.reply_topic, claimed.entry.correlation) == ("llm/lab/reply/oven/elsewhere", None)
