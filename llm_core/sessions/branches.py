"""Which of a session's turns were said: they make a tree, and one way from its root is the conversation.

A turn follows another one (`parent`). Those that follow the same one are versions of each other, and no more than one
of them is on the way. The others were set aside, each with what followed it then: `set_aside` names the first of the
turns that left the way together, so that they come back together. A turn that is to take the place of others, and that
the engine has not taken yet, is set aside alone.
"""

from __future__ import annotations

import hashlib
import json
from collections import defaultdict
from collections.abc import Iterable, Iterator
from heapq import heapify, heappop, heappush
from typing import Any

from sqlalchemy import ColumnElement, Connection, and_, func, or_, select, update

from llm_core.sessions.records import Turn, Version
from llm_core.sessions.schema import messages, turns


def on_the_way() -> ColumnElement[bool]:
    return turns.c.set_aside.is_(None)


def is_begun() -> ColumnElement[bool]:
    """Not of a turn that waits for the engine before it takes the place of others."""
    return or_(on_the_way(), turns.c.status != "running")


def last_turn(connection: Connection, session: int) -> int | None:
    """The key of the turn that the way ends with."""
    last: int | None = connection.execute(
        select(func.max(turns.c.id)).where(turns.c.session == session, on_the_way())
    ).scalar()
    return last


def way_to(connection: Connection, session: int, turn: int) -> list[int]:
    """The keys of the turns up to this one, from the first."""
    query = select(turns.c.id, turns.c.parent).where(turns.c.session == session)
    parents: dict[int, int | None] = dict(connection.execute(query).all())
    way: list[int] = []
    key: int | None = turn
    while key is not None:
        way.append(key)
        key = parents[key]
    return way[::-1]


def from_the_first(found: Iterable[Turn]) -> Iterator[Turn]:
    """Turns by their age, but each after the one that it follows. One that follows none of them is left out."""
    following: defaultdict[str | None, list[tuple[float, int, Turn]]] = defaultdict(list)
    for nth, turn in enumerate(found):
        following[turn.after].append((turn.created_at, nth, turn))
    ready = following.pop(None, [])
    heapify(ready)
    while ready:
        _, _, turn = heappop(ready)
        yield turn
        for each in following.pop(turn.stream_id, ()):
            heappush(ready, each)


def end_way(connection: Connection, session: int, after: int | None) -> None:
    """What follows a turn of the way is set aside; None: all of it. Keys on a way only grow."""
    later = and_(turns.c.session == session, on_the_way(), turns.c.id > (after or 0))
    first = connection.execute(select(func.min(turns.c.id)).where(later)).scalar()
    if first is not None:
        connection.execute(update(turns).where(later).values(set_aside=first))


def choose(connection: Connection, session: int, turn: int) -> None:
    """The way leads to this turn, and on to what last followed it."""
    before: int | None = None
    for key in way_to(connection, session, turn):
        if connection.execute(select(turns.c.set_aside).where(turns.c.id == key)).scalar() is not None:
            end_way(connection, session, before)
            together = and_(turns.c.session == session, turns.c.set_aside == key)
            connection.execute(update(turns).where(together).values(set_aside=None))
        before = key


def load_versions(connection: Connection, session: int) -> dict[int, tuple[Version, ...]]:
    """The versions of each turn that has others, by its key, the oldest first."""
    query = select(turns.c.id, turns.c.parent, turns.c.stream_id).where(turns.c.session == session, is_begun())
    beside: defaultdict[int | None, dict[int, str]] = defaultdict(dict)
    for key, parent, stream_id in connection.execute(query.order_by(turns.c.id)):
        beside[parent][key] = stream_id
    several = [streams for streams in beside.values() if len(streams) > 1]
    asked = _questions(connection, session) if several else {}
    made: dict[int, tuple[Version, ...]] = {}
    for streams in several:
        versions = tuple(Version(stream_id, *asked.get(key, (None, None))) for key, stream_id in streams.items())
        made |= dict.fromkeys(streams, versions)
    return made


def _questions(connection: Connection, session: int) -> dict[int, tuple[str, str | None]]:
    """What the user said in those turns of a session that have versions, and a digest of the files."""
    place = func.coalesce(turns.c.parent, 0)
    several = select(place).where(turns.c.session == session).group_by(place).having(func.count() > 1)
    query = (
        select(messages.c.turn, messages.c.content, messages.c.attachments)
        .join(turns, turns.c.id == messages.c.turn)
        .where(turns.c.session == session, messages.c.role == "user", place.in_(several))
    )
    return {turn: (content, _digest(attached)) for turn, content, attached in connection.execute(query)}


def _digest(attached: Any) -> str | None:
    return hashlib.sha256(json.dumps(attached, sort_keys=True).encode()).hexdigest() if attached else None
