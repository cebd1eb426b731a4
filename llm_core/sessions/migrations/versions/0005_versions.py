"""Versions of sessions, and turns that take the place of others once they are admitted."""

import sqlalchemy as sa
from alembic import op

revision = "0005"
down_revision = "0004"


def upgrade() -> None:
    op.add_column("sessions", sa.Column("version", sa.Integer, nullable=False, server_default="0"))
    op.add_column("turns", sa.Column("replaces", sa.Integer))
