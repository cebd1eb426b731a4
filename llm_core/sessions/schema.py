"""The tables of the session store, as they are now. How older ones become these is in `migrations/`.

A session has turns, which make a tree (branches.py). A turn has messages: what the user said, and what came of it.
While a reply is made its events go into `stream_events`, batch by batch, so that a killed process loses no more than
the last batch; the reply's own message is written when it has ended.
"""

from __future__ import annotations

from typing import Any

from sqlalchemy import (
    JSON,
    Boolean,
    Column,
    Dialect,
    Float,
    ForeignKey,
    Index,
    Integer,
    MetaData,
    String,
    Table,
    Text,
    TypeDecorator,
    UniqueConstraint,
)

metadata = MetaData()


class SafeText(TypeDecorator[str]):
    """Text that somebody said. PostgreSQL's cannot have the character U+0000: it becomes U+FFFD there."""

    impl = Text
    cache_ok = True

    def process_bind_param(self, value: Any, dialect: Dialect) -> Any:
        return value.replace("\0", "\ufffd") if isinstance(value, str) and dialect.name == "postgresql" else value


# Times are seconds since 1970, UTC.
sessions = Table(
    "sessions",
    metadata,
    Column("id", Integer, primary_key=True),
    Column("owner", String(200), nullable=False),
    Column("session_id", String(128), nullable=False),
    Column("title", SafeText(200), nullable=False),
    Column("system_prompt", SafeText),
    # The name of the model that was asked for last; none: the default one.
    Column("model", String(200)),
    # What its reader has set for the replies; nothing here looks into it.
    Column("settings", JSON(none_as_null=True)),
    Column("created_at", Float, nullable=False),
    Column("updated_at", Float, nullable=False),
    # Raised whenever a turn comes onto the way or leaves it: whoever has seen this version has seen these turns.
    Column("version", Integer, nullable=False, default=0),
    Column("pinned", Boolean, nullable=False, default=False),
    # It was deleted, and can be taken back until then.
    Column("forget_at", Float),
    UniqueConstraint("owner", "session_id", name="uq_sessions_owner_session_id"),
    Index("ix_sessions_owner_updated_at", "owner", "updated_at"),
)

turns = Table(
    "turns",
    metadata,
    Column("id", Integer, primary_key=True),
    Column("session", Integer, ForeignKey("sessions.id", ondelete="CASCADE"), nullable=False, index=True),
    Column("stream_id", String(64), nullable=False, unique=True),
    Column("status", String(16), nullable=False),
    Column("finish_reason", String(16)),
    Column("figures", JSON),
    Column("error_code", String(64)),
    Column("error_message", SafeText),
    # Who makes the reply, and when it last said so: how a turn whose process was killed is told from a running one.
    Column("worker", String(200), nullable=False),
    Column("heartbeat_at", Float, nullable=False),
    # Of readers on other processes: whether one has stopped the reply, and when one last read it.
    Column("stop_wanted", Boolean, nullable=False, default=False),
    Column("followed_at", Float),
    # The turn that it follows; none: it is one of the first. No foreign key: turns go with their whole session.
    Column("parent", Integer),
    # None: it is on the way, which is what was said. Else the first of the turns that left the way together with it.
    Column("set_aside", Integer),
    Column("created_at", Float, nullable=False),
    Column("ended_at", Float),
)
# One turn at a time in a session, whoever asks: two processes cannot both insert theirs.
Index(
    "uq_turns_one_running",
    turns.c.session,
    unique=True,
    sqlite_where=turns.c.status == "running",
    postgresql_where=turns.c.status == "running",
)

messages = Table(
    "messages",
    metadata,
    Column("id", Integer, primary_key=True),
    Column("turn", Integer, ForeignKey("turns.id", ondelete="CASCADE"), nullable=False, index=True),
    Column("role", String(16), nullable=False),
    Column("content", SafeText, nullable=False),
    Column("reasoning", SafeText),
    Column("tool_calls", JSON),
    Column("tool_call_id", String(128)),
    # Files of the user's: name, media type and text of each.
    Column("attachments", JSON),
)

stream_events = Table(
    "stream_events",
    metadata,
    Column("turn", Integer, ForeignKey("turns.id", ondelete="CASCADE"), primary_key=True),
    Column("first_id", Integer, primary_key=True),
    Column("events", JSON, nullable=False),
)

# What a doorway keeps with a turn, or with a session that was begun empty; nothing here looks into it. An empty note of
# a turn: it was forgotten, and is still there because later ones go on from it.
turn_notes = Table(
    "turn_notes",
    metadata,
    Column("turn", Integer, ForeignKey("turns.id", ondelete="CASCADE"), primary_key=True),
    Column("note", JSON, nullable=False),
)

session_notes = Table(
    "session_notes",
    metadata,
    Column("session", Integer, ForeignKey("sessions.id", ondelete="CASCADE"), primary_key=True),
    Column("note", JSON, nullable=False),
)

# What people keep under a name, and which of it a new conversation begins with. The operator's own are in a file.
presets = Table(
    "presets",
    metadata,
    Column("owner", String(200), primary_key=True),
    Column("name", String(60), primary_key=True),
    Column("fields", JSON, nullable=False),
    Column("created_at", Float, nullable=False),
)

preset_defaults = Table(
    "preset_defaults",
    metadata,
    Column("owner", String(200), primary_key=True),
    Column("name", String(60), nullable=False),
)
