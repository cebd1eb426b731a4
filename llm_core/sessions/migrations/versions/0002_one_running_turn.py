"""One running turn in a session, held by the database: two processes cannot both begin one."""

import sqlalchemy as sa
from alembic import op

revision = "0002"
down_revision = "0001"


def upgrade() -> None:
    running = sa.text("status = 'running'")
    op.create_index(
        "uq_turns_one_running", "turns", ["session"], unique=True, sqlite_where=running, postgresql_where=running
    )
