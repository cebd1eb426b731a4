"""Which backend serves a model: llama.cpp in this process, or an engine elsewhere."""

from __future__ import annotations

from collections.abc import Callable
from functools import partial
from typing import Any

from llm_core.backends.backend import Backend
from llm_core.backends.pool import Pool
from llm_core.backends.room import Room
from llm_core.extras import needs
from llm_core.models.served import served_models
from llm_core.settings import Settings


def pool_of(settings: Settings, backend: Backend[Any] | None, is_kept: Callable[[str, str], bool]) -> Pool:
    """The models that the settings name, or the one of a backend that is there.

    Args:
        is_kept: Whether there still is a session, by its owner and its id, for who keeps something of it.

    Raises:
        SettingsError: The settings name no models that can be served.
    """
    if backend is not None:
        return Pool.of(backend, settings)
    return Pool(served_models(settings), settings, partial(make_backend, is_kept=is_kept))


def make_backend(settings: Settings, room: Room, *, is_kept: Callable[[str, str], bool]) -> Backend[Any]:
    """Of one model. Imported here, since neither needs what the other one does: llama.cpp is not installed beside a
    remote engine.

    Raises:
        SettingsError: llama.cpp is not installed.
    """
    if settings.server_url:
        from llm_core.backends.remote.backend import RemoteBackend

        return RemoteBackend(settings)
    with needs("local", "A model in this process (or set LLM_SERVER_URL)"):
        from llm_core.backends.local import LocalBackend
    return LocalBackend(settings, room, is_kept)
