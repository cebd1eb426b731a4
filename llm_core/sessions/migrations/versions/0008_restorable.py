"""Sessions that stand first in the list, and deleted ones that can still be taken back."""

import sqlalchemy as sa
from alembic import op

revision = "0008"
down_revision = "0007"


def upgrade() -> None:
    op.add_column("sessions", sa.Column("pinned", sa.Boolean, nullable=False, server_default=sa.false()))
    op.add_column("sessions", sa.Column("forget_at", sa.Float))
