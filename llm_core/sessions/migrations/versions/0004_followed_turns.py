"""What readers on other processes want of a running turn: that it stops, or that it goes on because they read it."""

import sqlalchemy as sa
from alembic import op

revision = "0004"
down_revision = "0003"


def upgrade() -> None:
    op.add_column("turns", sa.Column("stop_wanted", sa.Boolean, nullable=False, server_default=sa.false()))
    op.add_column("turns", sa.Column("followed_at", sa.Float))
