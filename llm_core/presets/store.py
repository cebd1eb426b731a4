"""People's own presets, in the database of the sessions: every query has the owner in it. Blocking calls."""

from __future__ import annotations

import time
from collections.abc import Callable, Iterator
from contextlib import contextmanager

from sqlalchemy import Connection, Engine, delete, func, insert, select, update
from sqlalchemy.exc import IntegrityError

from llm_core.errors import InvalidRequest, PresetExists, PresetNotFound, StorageError
from llm_core.presets.preset import Preset
from llm_core.sessions.database import hold, storage_errors
from llm_core.sessions.schema import preset_defaults, presets

MAX_PRESETS = 100


class PresetStore:
    """All owners' presets.

    Args:
        engine: Gives the database, which is opened on first use.
    """

    def __init__(self, engine: Callable[[], Engine]) -> None:
        self._engine = engine

    def all(self, owner: str) -> tuple[Preset, ...]:
        """An owner's, the oldest first."""
        query = select(presets.c.name, presets.c.fields).where(presets.c.owner == owner)
        with storage_errors(), self._engine().connect() as connection:
            rows = connection.execute(query.order_by(presets.c.created_at, presets.c.name)).all()
        return tuple(Preset(name=name, **fields) for name, fields in rows)

    def default(self, owner: str) -> str | None:
        """The name of the one that new conversations begin with."""
        query = select(preset_defaults.c.name).where(preset_defaults.c.owner == owner)
        with storage_errors(), self._engine().connect() as connection:
            return connection.execute(query).scalar()

    def set_default(self, owner: str, name: str | None) -> None:
        """Has new conversations begin with a preset; None: with none."""
        with storage_errors(), self._engine().begin() as connection:
            hold(connection, f"preset_defaults: {owner}")
            connection.execute(delete(preset_defaults).where(preset_defaults.c.owner == owner))
            if name is not None:
                connection.execute(insert(preset_defaults).values(owner=owner, name=name))

    def add(self, owner: str, preset: Preset) -> None:
        """Keeps a new one.

        Raises:
            PresetExists: There is one of that name.
            InvalidRequest: There are as many as may be.
        """
        count = select(func.count()).where(presets.c.owner == owner)
        row = {"owner": owner, "name": preset.name, "fields": preset.fields(), "created_at": time.time()}
        with self._naming(preset.name) as connection:
            if connection.execute(count).scalar_one() >= MAX_PRESETS:
                raise InvalidRequest(f"There are {MAX_PRESETS} presets already. Delete one first.")
            connection.execute(insert(presets).values(row))

    def replace(self, owner: str, name: str, preset: Preset) -> None:
        """Keeps a preset in the place of another one, maybe under another name, which the default follows.

        Raises:
            PresetNotFound: There is none of that name.
            PresetExists: There is another one of the new name.
        """
        mine = (presets.c.owner == owner, presets.c.name == name)
        with self._naming(preset.name) as connection:
            changed = update(presets).where(*mine).values(name=preset.name, fields=preset.fields())
            if not connection.execute(changed).rowcount:
                raise missing(name)
            is_default = (preset_defaults.c.owner == owner, preset_defaults.c.name == name)
            connection.execute(update(preset_defaults).where(*is_default).values(name=preset.name))

    def delete(self, owner: str, name: str) -> None:
        """Forgets one. Raises `PresetNotFound`."""
        with storage_errors(), self._engine().begin() as connection:
            if not connection.execute(delete(presets).where(presets.c.owner == owner, presets.c.name == name)).rowcount:
                raise missing(name)

    @contextmanager
    def _naming(self, name: str) -> Iterator[Connection]:
        """A transaction in which a preset gets a name. Raises `PresetExists` where another one has it."""
        try:
            with storage_errors(), self._engine().begin() as connection:
                yield connection
        except StorageError as error:
            if isinstance(error.__cause__, IntegrityError):
                taken = f"There is a preset {name!r} already. Choose another name, or replace that one."
                raise PresetExists(taken) from None
            raise


def missing(name: str) -> PresetNotFound:
    return PresetNotFound(f"There is no preset {name!r}.")
