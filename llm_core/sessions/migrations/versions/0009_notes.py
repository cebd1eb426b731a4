"""What a doorway keeps with a turn, or with a session that was begun empty."""

import sqlalchemy as sa
from alembic import op

revision = "0009"
down_revision = "0008"


def upgrade() -> None:
    op.create_table(
        "turn_notes",
        sa.Column("turn", sa.Integer, sa.ForeignKey("turns.id", ondelete="CASCADE"), primary_key=True),
        sa.Column("note", sa.JSON, nullable=False),
    )
    op.create_table(
        "session_notes",
        sa.Column("session", sa.Integer, sa.ForeignKey("sessions.id", ondelete="CASCADE"), primary_key=True),
        sa.Column("note", sa.JSON, nullable=False),
    )
