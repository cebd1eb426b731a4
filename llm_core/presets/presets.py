"""The room's front: the presets that somebody may choose from, their own before the operator's."""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import dataclass

from sqlalchemy import Engine

from llm_core.errors import Forbidden, PresetNotFound
from llm_core.presets.preset import Preset, operators_presets
from llm_core.presets.store import PresetStore, missing
from llm_core.settings import Settings


@dataclass(frozen=True, slots=True)
class Kept:
    """A preset that somebody may choose.

    Attributes:
        is_own: It is theirs to change, and not the operator's.
        is_default: Their new conversations on the page begin with it.
    """

    preset: Preset
    is_own: bool
    is_default: bool


class Presets:
    """All presets. Safe from any thread. One of somebody's own stands in the place of the operator's of that name.

    Args:
        engine: Gives the database of people's own.

    Raises:
        SettingsError: The operator's file cannot be used.
    """

    def __init__(self, settings: Settings, engine: Callable[[], Engine]) -> None:
        self._operators = operators_presets(settings.presets)
        self._store = PresetStore(engine)

    def list(self, *, owner: str = "") -> tuple[Kept, ...]:
        """Somebody's own, the oldest first, then the operator's."""
        own, default = self._store.all(owner), self._store.default(owner)
        names = {preset.name for preset in own}
        others = [preset for preset in self._operators if preset.name not in names]
        found = [(preset, True) for preset in own] + [(preset, False) for preset in others]
        return tuple(Kept(preset, is_own, preset.name == default) for preset, is_own in found)

    def get(self, name: str, *, owner: str = "") -> Kept:
        """One of them. Raises `PresetNotFound`."""
        found = next((kept for kept in self.list(owner=owner) if kept.preset.name == name), None)
        if found is None:
            raise missing(name)
        return found

    def add(self, preset: Preset, *, owner: str = "") -> None:
        """Keeps a new one of somebody's own.

        Raises:
            PresetExists: They have one of that name.
            InvalidRequest: They have as many as may be.
        """
        self._store.add(owner, preset)

    def put(self, name: str, preset: Preset, *, owner: str = "") -> None:
        """Keeps one of somebody's own in the place of `name`, or as a new one where there is none.

        Raises:
            PresetExists: It has another name, of which they have one.
            InvalidRequest: They have as many as may be.
        """
        try:
            self._store.replace(owner, name, preset)
        except PresetNotFound:
            self._store.add(owner, preset)

    def delete(self, name: str, *, owner: str = "") -> None:
        """Forgets one of somebody's own.

        Raises:
            PresetNotFound: There is none of that name.
            Forbidden: It is the operator's.
        """
        if not self.get(name, owner=owner).is_own:
            raise Forbidden(
                f"The preset {name!r} is the operator's. Keep one of your own under this name in its place."
            )
        self._store.delete(owner, name)

    def set_default(self, name: str | None, *, owner: str = "") -> None:
        """Has somebody's new conversations begin with a preset; None: as the settings say. Raises `PresetNotFound`."""
        if name is not None:
            self.get(name, owner=owner)
        self._store.set_default(owner, name)
