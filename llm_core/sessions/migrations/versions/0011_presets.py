"""Settings that are kept with a session, and those that people keep under a name."""

import sqlalchemy as sa
from alembic import op

revision = "0011"
down_revision = "0010"


def upgrade() -> None:
    op.add_column("sessions", sa.Column("settings", sa.JSON))
    op.create_table(
        "presets",
        sa.Column("owner", sa.String(200), primary_key=True),
        sa.Column("name", sa.String(60), primary_key=True),
        sa.Column("fields", sa.JSON, nullable=False),
        sa.Column("created_at", sa.Float, nullable=False),
    )
    op.create_table(
        "preset_defaults",
        sa.Column("owner", sa.String(200), primary_key=True),
        sa.Column("name", sa.String(60), nullable=False),
    )
