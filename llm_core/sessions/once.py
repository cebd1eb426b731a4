"""A turn that may be asked for twice, and is begun once: the name of its stream, and whether it is the same turn."""

from __future__ import annotations

import hashlib
from collections.abc import Iterable

from llm_core.messages import Message


def stream_of_key(key: str, owner: str) -> str:
    """The id of the stream that a key names, whatever that looks like; the same key of another owner names another."""
    return hashlib.sha256(f"{owner}\0{key}".encode()).hexdigest()[:32]


def words_of(messages: Iterable[Message]) -> list[tuple[str, str, str | None, tuple[str, ...]]]:
    """What was said, to be compared: PostgreSQL keeps no U+0000."""
    return [
        (
            each.role,
            each.content.replace("\0", "\ufffd"),
            each.tool_call_id,
            tuple(file.model_dump_json() for file in each.attachments or ()),
        )
        for each in messages
    ]
