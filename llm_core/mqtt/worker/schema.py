"""The tables of the ledger, beside those of the sessions: workers that share a broker share both."""

from __future__ import annotations

from sqlalchemy import Column, Float, Integer, LargeBinary, String, Table, UniqueConstraint

from llm_core.sessions.schema import metadata

# Times are seconds since 1970, UTC.
workers = Table(
    "mqtt_workers",
    metadata,
    Column("name", String(200), primary_key=True),
    # Host, process id and its beginning, as `llm_core.sessions.worker` tells whether it still runs.
    Column("process", String(200), nullable=False),
    Column("heartbeat_at", Float, nullable=False),
    # Who takes up what it left behind, once it has gone.
    Column("heir", String(200)),
)

requests = Table(
    "mqtt_requests",
    metadata,
    Column("id", Integer, primary_key=True),
    Column("project", String(128), nullable=False),
    Column("client", String(128), nullable=False),
    Column("request_id", String(128), nullable=False),
    # waiting, begun (its reply may have been seen in part), ended (the answer is known), delivered (the broker has it)
    Column("status", String(16), nullable=False),
    # Who has it; empty where nobody does, after a worker that ended in good order.
    Column("worker", String(200), nullable=False, index=True),
    Column("attempts", Integer, nullable=False),
    Column("payload", LargeBinary(2**24), nullable=False),
    Column("reply_topic", String(1024), nullable=False),
    Column("correlation", LargeBinary),
    Column("expires_at", Float),
    Column("answer", LargeBinary(2**24)),
    Column("created_at", Float, nullable=False),
    Column("ended_at", Float, index=True),
    UniqueConstraint("project", "client", "request_id", name="uq_mqtt_requests_key"),
)
