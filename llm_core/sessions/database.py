"""Opens the database of the sessions: SQLite or PostgreSQL by SQLAlchemy's URL, brought up to the newest schema.

On SQLite a commit is on the disk when it returns (`synchronous=FULL`), and readers do not wait for the writer (WAL).
"""

from __future__ import annotations

import errno
import re
import sqlite3
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path
from time import monotonic, sleep
from typing import Any

import alembic.command
import alembic.config
from alembic.util import CommandError
from sqlalchemy import URL, Connection, Engine, QueuePool, create_engine, event, func, make_url, select
from sqlalchemy.exc import ArgumentError, DBAPIError, NoSuchModuleError, TimeoutError

from llm_core.errors import SettingsError, StorageError, StorageFull, StorageReadOnly

BUSY_SECONDS = 10
ONLY_READS = "llm_core_only_reads"  # execution option of an engine whose transactions write nothing
_MIGRATIONS = Path(__file__).parent / "migrations"
_UPGRADE_LOCK = "llm_core: upgrade"
_FULL = "The disk that keeps the sessions is full, or the database may not grow: what is new is not kept."
_READ_ONLY = "The session database may be read and not written: what is new is not kept."
# As SQLite and PostgreSQL name them. IOERR_WRITE is a quota or a limit on the size of files, IOERR_SHMSIZE a full disk.
_FULL_CODES = frozenset({"SQLITE_FULL", "SQLITE_IOERR_WRITE", "SQLITE_IOERR_SHMSIZE", "53100"})
_READ_ONLY_CODES = re.compile("SQLITE_READONLY.*|25006")


def open_database(url: str | URL) -> Engine:
    """A pool of connections to `url`, with all tables there.

    Raises:
        SettingsError: `url` is not one, or its driver is not installed.
        StorageError: It cannot be opened.
    """
    try:
        parsed = make_url(url)
        if parsed.get_backend_name() == "sqlite" and parsed.database not in (None, "", ":memory:"):
            Path(parsed.database).parent.mkdir(parents=True, exist_ok=True)
        engine = create_engine(parsed, **_pool(parsed))
    except (ArgumentError, NoSuchModuleError, ImportError) as error:
        raise SettingsError(f"LLM_DATABASE_URL cannot be used: {error}.") from None
    except OSError as error:
        kind = StorageReadOnly if error.errno in (errno.EROFS, errno.EACCES) else StorageError
        raise kind(f"The folder of the session database cannot be made: {error}.") from None
    if engine.dialect.name == "sqlite":
        event.listen(engine, "connect", _set_up_sqlite)
        event.listen(engine, "begin", _begin_at_once)
    try:
        with storage_errors(), engine.begin() as connection:
            hold(connection, _UPGRADE_LOCK)
            upgrade(connection)
    except CommandError as error:
        raise SettingsError(
            f"The session database was made by a newer release ({error}). Update, or set LLM_DATABASE_URL to another."
        ) from None
    return engine


def _pool(url: URL) -> dict[str, Any]:
    if url.get_backend_name() != "sqlite":
        return {"pool_pre_ping": True}
    if url.database in (None, "", ":memory:"):  # each connection would be a database of its own
        return {"poolclass": QueuePool, "pool_size": 1, "max_overflow": 0, "connect_args": {"check_same_thread": False}}
    return {}


def hold(connection: Connection, what: str) -> None:
    """Holds `what` until the transaction ends: another process that wants to hold it waits. SQLite has one writer at a
    time in any case."""
    if connection.dialect.name == "postgresql":
        connection.execute(select(func.pg_advisory_xact_lock(func.hashtext("llm_core"), func.hashtext(what))))


@contextmanager
def storage_errors() -> Iterator[None]:
    """Turns what a database driver raises into errors that callers know."""
    try:
        yield
    except DBAPIError as error:
        message = str(error.orig)
        name = str(getattr(error.orig, "sqlite_errorname", None) or getattr(error.orig, "sqlstate", None))
        if name in _FULL_CODES or _is_full(message):
            raise StorageFull(_FULL) from error
        if _READ_ONLY_CODES.fullmatch(name):
            raise StorageReadOnly(_READ_ONLY) from error
        reason = message.strip().partition("\n")[0]  # PostgreSQL goes on with details that are nobody else's business
        raise StorageError(f"The session database failed: {reason}.") from error
    except TimeoutError as error:
        raise StorageError("The session database is busy. Try again.") from error


def _is_full(message: str) -> bool:
    """As other databases and the operating system word it."""
    return any(words in message for words in ("is full", "No space left on device", "disk full"))


def _set_up_sqlite(connection: Any, _record: Any) -> None:
    # The driver's own way of beginning transactions would leave the schema changes of a migration outside of them.
    connection.isolation_level = None
    connection.execute(f"PRAGMA busy_timeout={BUSY_SECONDS * 1000}")
    _write_ahead(connection)
    connection.execute("PRAGMA synchronous=FULL")
    connection.execute("PRAGMA foreign_keys=ON")


def _write_ahead(connection: Any) -> None:
    """Two processes that open a new database at once both change it to WAL, and SQLite refuses one of them at once: its
    `busy_timeout` does not hold where waiting could be for each other."""
    until = monotonic() + BUSY_SECONDS
    while True:
        try:
            connection.execute("PRAGMA journal_mode=WAL")
            return
        except sqlite3.OperationalError as error:
            if error.sqlite_errorcode & 0xFF != sqlite3.SQLITE_BUSY or monotonic() > until:
                raise
        sleep(0.01)


def _begin_at_once(connection: Connection) -> None:
    """A transaction that reads first and writes then could otherwise find the database changed in between."""
    only_reads = connection.get_execution_options().get(ONLY_READS, False)
    connection.exec_driver_sql("BEGIN" if only_reads else "BEGIN IMMEDIATE")


def upgrade(connection: Connection, revision: str = "head") -> None:
    """Runs the migrations up to `revision` that the database has not seen."""
    configuration = alembic.config.Config()
    configuration.set_main_option("script_location", str(_MIGRATIONS).replace("%", "%%"))
    configuration.attributes["connection"] = connection
    alembic.command.upgrade(configuration, revision)
