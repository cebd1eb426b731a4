"""The ledger of requests over MQTT, and the workers that share it."""

import sqlalchemy as sa
from alembic import op

revision = "0003"
down_revision = "0002"


def upgrade() -> None:
    op.create_table(
        "mqtt_workers",
        sa.Column("name", sa.String(200), primary_key=True),
        sa.Column("process", sa.String(200), nullable=False),
        sa.Column("heartbeat_at", sa.Float, nullable=False),
        sa.Column("heir", sa.String(200)),
    )
    op.create_table(
        "mqtt_requests",
        sa.Column("id", sa.Integer, primary_key=True),
        sa.Column("project", sa.String(128), nullable=False),
        sa.Column("client", sa.String(128), nullable=False),
        sa.Column("request_id", sa.String(128), nullable=False),
        sa.Column("status", sa.String(16), nullable=False),
        sa.Column("worker", sa.String(200), nullable=False),
        sa.Column("attempts", sa.Integer, nullable=False),
        sa.Column("payload", sa.LargeBinary(2**24), nullable=False),
        sa.Column("reply_topic", sa.String(1024), nullable=False),
        sa.Column("correlation", sa.LargeBinary),
        sa.Column("expires_at", sa.Float),
        sa.Column("answer", sa.LargeBinary(2**24)),
        sa.Column("created_at", sa.Float, nullable=False),
        sa.Column("ended_at", sa.Float),
        sa.UniqueConstraint("project", "client", "request_id", name="uq_mqtt_requests_key"),
    )
    op.create_index("ix_mqtt_requests_worker", "mqtt_requests", ["worker"])
    op.create_index("ix_mqtt_requests_ended_at", "mqtt_requests", ["ended_at"])
