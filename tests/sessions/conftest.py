"""Sessions without a model: what the "model" says is given, so that these tests are about what is kept of it."""

from __future__ import annotations

import resource
from collections.abc import Callable, Generator, Iterable, Iterator, Mapping
from contextlib import contextmanager
from pathlib import Path
from typing import Any

import pytest
from sqlalchemy import event
from sqlalchemy.engine.interfaces import DBAPIConnection

from llm_core.cancellation import Cancellation
from llm_core.events import ChatEvent, ContentDelta, Done, Queued, Timings, Usage
from llm_core.messages import Message
from llm_core.request import ChatRequest, build_request
from llm_core.sessions.database import open_database
from llm_core.sessions.sessions import Sessions
from llm_core.sessions.store import SessionStore
from llm_core.settings import Settings
from scripts.system_packages import NO_POSTGRES, find_postgres
from tests.missing import skip_unless_ci
from tests.sessions.postgres import Postgres, running_postgres

Generate = Callable[[ChatRequest, Cancellation], Generator[ChatEvent]]
DONE = Done("stop", Usage(10, 4, 2, "evicted"), Timings(1.0, 20.0, 50.0))


def user(text: str) -> Message:
    return Message(role="user", content=text)


@pytest.fixture(scope="session")
def postgres() -> Iterator[Postgres]:
    """A running PostgreSQL. Without one its tests skip, but never in CI."""
    if find_postgres() is None:
        skip_unless_ci("the tests on PostgreSQL", NO_POSTGRES)
    with running_postgres() as postgres:
        yield postgres


@pytest.fixture(params=["sqlite", "postgresql"])
def url(request: pytest.FixtureRequest, tmp_path: Path) -> str:
    """An empty database: what holds for one kind holds for the other."""
    if request.param == "sqlite":
        return f"sqlite:///{tmp_path}/deep/sessions.db"
    postgres: Postgres = request.getfixturevalue("postgres")
    return postgres.make_database()


only_on_sqlite = pytest.mark.parametrize("url", ["sqlite"], indirect=True)
only_on_postgres = pytest.mark.parametrize("url", ["postgresql"], indirect=True)


@pytest.fixture
def store(url: str) -> Iterator[SessionStore]:
    store = SessionStore(open_database(url))
    yield store
    store.close()


def prepare(messages: Iterable[Message], options: Mapping[str, Any]) -> ChatRequest:
    return build_request(messages, **({"max_tokens": 100, "timeout": 60.0} | dict(options)))


def says(*texts: str) -> Generate:
    """A model that says these pieces of text."""

    def generate(_request: ChatRequest, _cancellation: Cancellation) -> Generator[ChatEvent]:
        yield Queued(0)
        for text in texts:
            yield ContentDelta(text)
        yield DONE

    return generate


@pytest.fixture
def make_sessions(url: str) -> Iterator[Callable[..., Sessions]]:
    """Makes `Sessions` with a model of the test's own."""
    made = []

    def make(generate: Generate, **settings: Any) -> Sessions:
        made.append(Sessions(Settings(database_url=url, **settings), prepare, generate, lambda *_session: None))
        return made[-1]

    yield make
    for sessions in made:
        sessions.close()


@contextmanager
def disk_full(store: SessionStore) -> Iterator[None]:
    """A database that may not grow: SQLite's own SQLITE_FULL."""
    with store._engine.connect() as connection:
        pages = connection.exec_driver_sql("PRAGMA page_count").scalar()
    with each_connection(store, f"PRAGMA max_page_count={pages}"):
        yield


@contextmanager
def read_only(store: SessionStore) -> Iterator[None]:
    """A database that refuses to be written."""
    is_sqlite = store._engine.dialect.name == "sqlite"
    with each_connection(store, "PRAGMA query_only=ON" if is_sqlite else "SET default_transaction_read_only = on"):
        yield


@contextmanager
def file_size_limit(store: SessionStore) -> Iterator[None]:
    """No file of this process may grow beyond the largest of the database's, as with `ulimit -f` or a quota."""
    database = Path(store._engine.url.database or "")
    largest = max(file.stat().st_size for file in database.parent.iterdir())
    before = resource.getrlimit(resource.RLIMIT_FSIZE)
    resource.setrlimit(resource.RLIMIT_FSIZE, (largest, before[1]))
    try:
        yield
    finally:
        resource.setrlimit(resource.RLIMIT_FSIZE, before)


@contextmanager
def each_connection(store: SessionStore, begins_with: str) -> Iterator[None]:
    """Every connection to the database begins with a statement."""

    def tell(connection: DBAPIConnection, _record: object) -> None:
        cursor = connection.cursor()
        cursor.execute(begins_with)
        cursor.close()
        connection.commit()

    event.listen(store._engine, "connect", tell)
    store._engine.dispose()
    yield
    event.remove(store._engine, "connect", tell)
    store._engine.dispose()
