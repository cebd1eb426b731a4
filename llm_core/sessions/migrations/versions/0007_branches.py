"""Turns make a tree: what took the place of others stands beside them, and they are kept."""

import sqlalchemy as sa
from alembic import op

revision = "0007"
down_revision = "0006"


def upgrade() -> None:
    op.add_column("turns", sa.Column("parent", sa.Integer))
    op.add_column("turns", sa.Column("set_aside", sa.Integer))
    turns = sa.table("turns", *(sa.column(name) for name in ("id", "session", "parent", "set_aside", "replaces")))
    before = turns.alias("before")
    follows = before.c.id < sa.func.coalesce(turns.c.replaces, turns.c.id)
    last = sa.select(sa.func.max(before.c.id)).where(
        before.c.session == turns.c.session, before.c.replaces.is_(None), follows
    )
    op.execute(sa.update(turns).values(parent=last.scalar_subquery()))
    op.execute(sa.update(turns).where(turns.c.replaces.is_not(None)).values(set_aside=turns.c.id))
    op.drop_column("turns", "replaces")
