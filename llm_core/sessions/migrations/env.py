"""Alembic runs this to bring a database up to date; the connection is given by `llm_core.sessions.database`."""

from __future__ import annotations

from alembic import context

context.configure(connection=context.config.attributes["connection"], transactional_ddl=True)
with context.begin_transaction():
    context.run_migrations()
