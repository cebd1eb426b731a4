"""The requests that have been received, in the database that all workers share: each is answered once, and by someone.

A request is in the ledger before the broker hears that it has been received. What happens to it is written down before
anyone can see it: that its reply has begun, how it ended, that the broker has the answer. So whoever finds a worker
gone knows of each of its requests what is left to do.

Blocking calls, safe from any thread.
"""

from __future__ import annotations

import time
from collections.abc import Sequence
from contextlib import suppress
from dataclasses import dataclass
from typing import Any, Literal

import sqlalchemy as sa
from sqlalchemy import ColumnElement, Connection, Engine, RowMapping, Select, and_, delete, insert, select, update
from sqlalchemy.exc import IntegrityError

from llm_core.mqtt.packets import ReplyTo
from llm_core.mqtt.topics import RequestKey
from llm_core.sessions.database import ONLY_READS, storage_errors
from llm_core.sessions.schema import metadata
from llm_core.sessions.worker import is_gone, this_worker

KEPT_SECONDS = 3600.0  # how long an answer is sent again to who asks again
NOBODY = ""

# Beside the tables of the sessions: workers that share a broker share both. Times are seconds since 1970, UTC.
workers = sa.Table(
    "mqtt_workers",
    metadata,
    sa.Column("name", sa.String(200), primary_key=True),
    # Host, process id and its beginning, as `llm_core.sessions.worker` tells whether it still runs.
    sa.Column("process", sa.String(200), nullable=False),
    sa.Column("heartbeat_at", sa.Float, nullable=False),
    # Who takes up what it left behind, once it has gone.
    sa.Column("heir", sa.String(200)),
)

requests = sa.Table(
    "mqtt_requests",
    metadata,
    sa.Column("id", sa.Integer, primary_key=True),
    sa.Column("project", sa.String(128), nullable=False),
    sa.Column("client", sa.String(128), nullable=False),
    sa.Column("request_id", sa.String(128), nullable=False),
    # waiting, begun (its reply may have been seen in part), ended (the answer is known), delivered (the broker has it)
    sa.Column("status", sa.String(16), nullable=False),
    # Who has it; empty where nobody does, after a worker that ended in good order.
    sa.Column("worker", sa.String(200), nullable=False, index=True),
    sa.Column("attempts", sa.Integer, nullable=False),
    sa.Column("payload", sa.LargeBinary(2**24), nullable=False),
    sa.Column("reply_topic", sa.String(1024), nullable=False),
    sa.Column("correlation", sa.LargeBinary),
    sa.Column("expires_at", sa.Float),
    sa.Column("answer", sa.LargeBinary(2**24)),
    sa.Column("created_at", sa.Float, nullable=False),
    sa.Column("ended_at", sa.Float, index=True),
    sa.UniqueConstraint("project", "client", "request_id", name="uq_mqtt_requests_key"),
)

_WORKERS = select(workers)

Status = Literal["waiting", "begun", "ended", "delivered"]


@dataclass(frozen=True, slots=True)
class Entry:
    """A request as it came.

    Attributes:
        reply_topic: Where its reply goes.
        correlation: What the client wants back with each message of it.
        expires_at: Seconds since 1970 after which it is not to be started.
    """

    key: RequestKey
    payload: bytes
    reply_topic: str
    correlation: bytes | None = None
    expires_at: float | None = None

    @property
    def to(self) -> ReplyTo:
        return ReplyTo(self.reply_topic, self.correlation)


@dataclass(frozen=True, slots=True)
class Record:
    """What the ledger knew of a request when it was recorded.

    Attributes:
        status: None where it is new.
        worker: Who has it.
        answer: The last message of its reply, where that is known.
    """

    status: Status | None = None
    worker: str = NOBODY
    answer: bytes | None = None


@dataclass(frozen=True, slots=True)
class Claimed:
    """A request of a worker that has gone; now it is ours.

    Attributes:
        attempts: How many workers have had it, with this one.
    """

    entry: Entry
    status: Status
    attempts: int
    answer: bytes | None


class Ledger:
    """The ledger, as one worker sees it.

    Args:
        engine: Of `llm_core.sessions.database.open_database`.
        worker: This worker's name, which no other has or had.
    """

    def __init__(self, engine: Engine, worker: str) -> None:
        self._engine, self._worker = engine, worker
        self._reads = engine.execution_options(**{ONLY_READS: True})
        # What the tables do not know of yet. Adding, copying and taking away are one step each for other threads.
        self._delivered: set[RequestKey] = set()

    def join(self) -> None:
        """Says that this worker is there."""
        with storage_errors(), self._engine.begin() as connection:
            self._join(connection)

    def _join(self, connection: Connection) -> None:
        row = {"name": self._worker, "process": this_worker(), "heartbeat_at": time.time()}
        connection.execute(insert(workers).values(row))

    def delivered(self, key: RequestKey) -> None:
        """The broker has the answer, which is written down with the next heartbeat. Does not block."""
        self._delivered.add(key)

    def heartbeat(self) -> None:
        """Says that this worker is still there, and forgets what is kept for a time only."""
        now, delivered = time.time(), self._delivered.copy()
        with storage_errors(), self._engine.begin() as connection:
            for key in delivered:
                connection.execute(update(requests).where(_is(key)).values(status="delivered"))
            alive = update(workers).where(workers.c.name == self._worker).values(heartbeat_at=now, heir=None)
            if not connection.execute(alive).rowcount:  # it was taken for gone, and removed
                self._join(connection)
            old = and_(requests.c.status == "delivered", requests.c.ended_at < now - KEPT_SECONDS)
            connection.execute(delete(requests).where(old))
        self._delivered -= delivered

    def leave(self, *, has_session: bool) -> None:
        """Says that this worker ends. What it has not answered is anybody's from now on.

        Args:
            has_session: Whether the broker may still deal it requests. Then an heir is to look after those.
        """
        self.heartbeat()
        with storage_errors(), self._engine.begin() as connection:
            mine = and_(requests.c.worker == self._worker, requests.c.status != "delivered")
            connection.execute(update(requests).where(mine).values(worker=NOBODY))
            this = workers.c.name == self._worker
            gone = {"process": NOBODY, "heartbeat_at": 0.0}  # also where the process goes on without it
            connection.execute(update(workers).where(this).values(gone) if has_session else delete(workers).where(this))

    # ── a request ────────────────────────────────────────────────────────────────────────────────────────────────────

    def record(self, entries: Sequence[Entry]) -> list[Record]:
        """Takes requests down, each as this worker's unless it is known, and says of each what was known.

        Raises:
            StorageError: None was taken down.
        """
        with storage_errors(), self._engine.begin() as connection:
            return [self._record(connection, entry) for entry in entries]

    def _record(self, connection: Connection, entry: Entry) -> Record:
        while (found := self._find(connection, entry.key)) is None:
            with suppress(IntegrityError), connection.begin_nested():  # another worker, in this very moment
                self._insert(connection, entry)
                return Record()
        # Whoever answers it does so where it was last asked for.
        where_to = {"reply_topic": entry.reply_topic, "correlation": entry.correlation}
        connection.execute(update(requests).where(_is(entry.key)).values(where_to))
        return Record(found["status"], found["worker"], found["answer"])

    def _find(self, connection: Connection, key: RequestKey) -> RowMapping | None:
        columns = (requests.c.status, requests.c.worker, requests.c.answer)
        return connection.execute(select(*columns).where(_is(key))).mappings().first()

    def _insert(self, connection: Connection, entry: Entry) -> None:
        row = {
            "project": entry.key.project,
            "client": entry.key.client,
            "request_id": entry.key.request_id,
            "status": "waiting",
            "worker": self._worker,
            "attempts": 1,
            "payload": entry.payload,
            "reply_topic": entry.reply_topic,
            "correlation": entry.correlation,
            "expires_at": entry.expires_at,
            "created_at": time.time(),
        }
        connection.execute(insert(requests).values(row))

    def begin(self, key: RequestKey) -> bool:
        """From now on its reply may be seen in part, or be in a session. Whether it is still ours, as of all these."""
        return self._update(key, status="begun")

    def finish(self, key: RequestKey, answer: bytes) -> bool:
        """The reply has ended; `answer` is its last message."""
        return self._update(key, status="ended", answer=answer, payload=b"", ended_at=time.time())

    def release(self, key: RequestKey) -> bool:
        """Leaves it to another worker, as if it had just come."""
        return self._update(key, status="waiting", worker=NOBODY)

    def forget(self, key: RequestKey) -> bool:
        """It was refused, or failed: the same request may be sent again."""
        with storage_errors(), self._engine.begin() as connection:
            return connection.execute(delete(requests).where(self._is_mine(key))).rowcount > 0

    def answer(self, key: RequestKey) -> bytes | None:
        """The last message of its reply, where that is known."""
        with storage_errors(), self._reads.connect() as connection:
            answer: bytes | None = connection.execute(select(requests.c.answer).where(_is(key))).scalar()
            return answer

    def _update(self, key: RequestKey, **values: object) -> bool:
        with storage_errors(), self._engine.begin() as connection:
            return connection.execute(update(requests).where(self._is_mine(key)).values(values)).rowcount > 0

    def _is_mine(self, key: RequestKey) -> ColumnElement[bool]:
        """A worker that stood still for so long that it was taken for gone may find that another has its requests."""
        return and_(_is(key), requests.c.worker == self._worker)

    # ── workers that have gone ───────────────────────────────────────────────────────────────────────────────────────

    def claim(self) -> tuple[list[Claimed], list[str]]:
        """Takes over what workers that have gone left behind.

        Returns:
            The requests, oldest first, and the names of the workers; to be removed when nothing is left of them.
        """
        with storage_errors(), self._reads.connect() as connection:
            if not self._gone(connection) and not connection.execute(_OWNERLESS).first():
                return [], []
        with storage_errors(), self._engine.begin() as connection:
            gone = self._gone(connection, select(workers).with_for_update())
            of_gone = and_(requests.c.worker.in_([*gone, NOBODY]), requests.c.status != "delivered")
            # Locked, where the database can: of two workers that look at the same time one finds nothing.
            left = select(requests).where(of_gone).order_by(requests.c.id).with_for_update()
            rows = connection.execute(left).mappings().all()
            taken = {"worker": self._worker, "attempts": requests.c.attempts + 1}
            # Just these: what is released in this moment fits the condition too, and nobody would know that it is ours.
            connection.execute(update(requests).where(requests.c.id.in_([row["id"] for row in rows])).values(taken))
            connection.execute(update(workers).where(workers.c.name.in_(gone)).values(heir=self._worker))
        return [_claimed(row) for row in rows], gone

    def _gone(self, connection: Connection, query: Select[Any] = _WORKERS) -> list[str]:
        """Workers that have gone and have no living heir."""
        rows = {row["name"]: row for row in connection.execute(query).mappings()}
        now = time.time()
        alive = {name for name, row in rows.items() if not is_gone(row["process"], row["heartbeat_at"], now)}
        return [name for name, row in rows.items() if name not in alive and row["heir"] not in alive]

    def remove(self, worker: str) -> None:
        """Nothing is left of a worker that has gone."""
        with storage_errors(), self._engine.begin() as connection:
            connection.execute(delete(workers).where(workers.c.name == worker))

    def close(self) -> None:
        self._engine.dispose()


_OWNERLESS = select(requests.c.id).where(requests.c.worker == NOBODY, requests.c.status != "delivered").limit(1)


def _is(key: RequestKey) -> ColumnElement[bool]:
    return and_(
        requests.c.project == key.project, requests.c.client == key.client, requests.c.request_id == key.request_id
    )


def _claimed(row: RowMapping) -> Claimed:
    key = RequestKey(row["project"], row["client"], row["request_id"])
    entry = Entry(key, row["payload"], row["reply_topic"], row["correlation"], row["expires_at"])
    return Claimed(entry, row["status"], row["attempts"] + 1, row["answer"])
