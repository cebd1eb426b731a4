"""All models that people can choose: those that are served, that lie on this machine, and that are being fetched."""

from __future__ import annotations

import threading
import time
from dataclasses import dataclass, replace
from functools import lru_cache
from typing import Literal

from llm_core.backends.member import Member, ModelState
from llm_core.backends.pool import Pool
from llm_core.errors import InvalidRequest, ModelError, ModelLoading, ModelNotFound
from llm_core.models.downloads import Download, Downloads, DownloadStatus
from llm_core.models.fit import Fit, fit_of
from llm_core.models.folder import models_below
from llm_core.models.here import ModelHere, Wish, found, look_at
from llm_core.models.info import ModelInfo
from llm_core.models.resolve import find
from llm_core.models.served import ServedModel
from llm_core.models.source import BundledModel, ResolvedModel, parse_source
from llm_core.settings import Settings, is_loopback

_SCAN_SECONDS = 5.0  # between two looks at the disk
_MISS_SECONDS = 60.0  # the same, for a name that nobody has: programs send one with every request
_NEVER: tuple[float, list[ResolvedModel]] = (float("-inf"), [])

EntryState = Literal["absent", "fetching", "here", "loading", "ready", "failed"]
_STATES: dict[ModelState, EntryState] = {"absent": "here", "loading": "loading", "ready": "ready", "failed": "failed"}


@dataclass(frozen=True, slots=True)
class CatalogEntry:
    """One of them. Texts of `info` are whatever its maker wrote.

    Attributes:
        name: By which requests name it.
        source: As in `LLM_MODEL`.
        state: `absent`: it has to be fetched first; `fetching`; `here`: on this machine, and not loaded; `loading`;
            `ready`; `failed`.
        message: The state in a sentence for people.
        progress: 0 to 1, of fetching or loading.
        seconds_left: Of fetching; None while that is not known.
        is_served: Requests can name it.
        is_default: Requests that name none get it.
        info: What it is; None while that is not known.
        need_bytes: Memory that it needs as it is served, or would be.
        fit: Whether that is there.
    """

    name: str
    source: str
    state: EntryState
    message: str
    progress: float = 0.0
    seconds_left: float | None = None
    aliases: tuple[str, ...] = ()
    is_served: bool = False
    is_default: bool = False
    is_pinned: bool = False
    info: ModelInfo | None = None
    need_bytes: int | None = None
    fit: Fit | None = None


class Catalog:
    """Safe from any thread.

    Args:
        pool: What is served. Where nobody but this machine can call, it serves what lies here too, by name.
        settings: Where models are, and how they are served.
    """

    def __init__(self, pool: Pool, settings: Settings) -> None:
        self._pool, self._settings = pool, settings
        self._downloads = Downloads(self._arrived)
        self._lock = threading.Lock()
        self._scanned: tuple[float, list[ResolvedModel]] = _NEVER
        has_tokens = settings.api_tokens or settings.admin_tokens
        if is_loopback(settings.server_name) and not has_tokens and not settings.public:
            pool.look_further = self._served_from_here

    def entries(self) -> list[CatalogEntry]:
        """All of them: what is served first, then what lies here, then what is being fetched. Reads the disk."""
        fetching = {each.status.source: each.status for each in self._downloads.all()}
        served = [self._of_member(member, fetching.pop(member.served.source, None)) for member in self._pool.members]
        known = {entry.info.path for entry in served if entry.info is not None}
        sources = {member.served.source for member in self._pool.members if member.served.server_url is None}
        others = [each for each in self._here() if each.path not in known and str(each.source) not in sources]
        here = [entry for each in others if (entry := self._of_file(each)) is not None]
        return [*served, *here, *map(_of_download, fetching.values())]

    def entry(self, name: str) -> CatalogEntry:
        """One of them.

        Raises:
            ModelNotFound: There is none of that name.
        """
        entry = next((each for each in self.entries() if name in (each.name, *each.aliases, each.source)), None)
        if entry is None:
            raise ModelNotFound(f"There is no model {name[:200]!r}.")
        return entry

    def fetch(self, spec: str) -> Download:
        """Begins to fetch a model of the Hub, which is served when it has come; or comes back to the download.

        Raises:
            InvalidRequest: `spec` names no file of the Hub.
            ModelError: Too many are being fetched.
        """
        return self._downloads.begin(spec)

    def load(self, name: str) -> Member:
        """Serves a model that is here, and begins to load it.

        Raises:
            ModelNotFound: There is none of that name.
            ModelLoading: It is still being fetched.
        """
        entry = self.entry(name)
        if entry.state == "fetching":
            raise ModelLoading(f"{entry.name} is still being fetched. {entry.message}", retry_after=5)
        member = self._pool.member(entry.name) if entry.is_served else self._pool.add(ServedModel(source=entry.source))
        self._pool.load(member.name)
        return member

    def unload(self, name: str) -> None:
        """Frees a model's memory, when the replies that it makes have ended; returns at once.

        Raises:
            ModelNotFound: There is none of that name.
        """
        entry = self.entry(name)
        if entry.is_served:
            threading.Thread(target=self._pool.unload, args=(entry.name,), name="llm-unload", daemon=True).start()

    def remove(self, name: str) -> int:
        """Stops the download of a model; or removes its files, once the replies that it makes have ended.

        Returns:
            The bytes that were freed.

        Raises:
            ModelNotFound: There is none of that name.
            InvalidRequest: It is the default model, or no file of the Hub's cache or of `LLM_MODELS_DIR`.
        """
        entry = self.entry(name)
        if entry.state == "absent":
            raise ModelNotFound(f"{entry.name} is not on this machine.")
        if (running := self._running(entry)) is not None:
            running.cancel()
            return 0
        if entry.is_default:
            raise InvalidRequest(f"{entry.name} is the default model. Change LLM_MODEL first.", param="name")
        from llm_core.models.removal import remove_model

        if entry.is_served:
            self._pool.unload(entry.name)  # one that is being loaded would have its files fetched again
        try:
            removed = remove_model(parse_source(entry.source), models_dir=self._settings.models_dir)
        except ModelError as error:
            raise InvalidRequest(error.message, param="name") from None
        if entry.is_served:
            self._pool.remove(entry.name)
        self._scanned = _NEVER
        return removed.freed_bytes

    def stop(self, name: str) -> None:
        """Breaks the download of a model off, and removes nothing; one that has ended meanwhile stays as it is.

        Raises:
            ModelNotFound: There is none of that name.
            ModelError: It is fetched because the server needs it.
        """
        entry = self.entry(name)
        if (running := self._running(entry)) is not None:
            running.cancel()
        elif entry.state == "fetching":
            raise ModelError(f"{entry.name} is fetched since it was asked for. That ends with the server.")

    def close(self) -> None:
        """Breaks off what is being fetched."""
        self._downloads.close()

    def _running(self, entry: CatalogEntry) -> Download | None:
        download = next((each for each in self._downloads.all() if each.status.source == entry.source), None)
        return download if download is not None and download.status.state == "fetching" else None

    # ── what is here ─────────────────────────────────────────────────────────────────────────────────────────────────

    def _here(self, seconds: float = _SCAN_SECONDS) -> list[ResolvedModel]:
        """What is on this machine, as it was at most so many seconds ago."""
        from llm_core.models.cache import cached_models  # the Hub's library takes long to import, as in `removal`

        with self._lock:
            looked, models = self._scanned
            if time.monotonic() - looked > seconds:
                folder = self._settings.models_dir
                of_folder = models_below(folder) if folder is not None else []
                models = [*found([BundledModel()]), *of_folder, *cached_models()]
                self._scanned = (time.monotonic(), models)
            return models

    def _served_from_here(self, name: str) -> ServedModel | None:
        for resolved in self._here(_MISS_SECONDS):
            served = ServedModel(source=str(resolved.source))
            if name in (served.short_name, served.source):
                return served
        return None

    def _arrived(self, resolved: ResolvedModel) -> None:
        self._scanned = _NEVER
        self._pool.add(ServedModel(source=str(resolved.source)))

    def _of_member(self, member: Member, download: DownloadStatus | None) -> CatalogEntry:
        served, status = member.served, member.status()
        entry = CatalogEntry(
            name=member.name,
            source=served.source,
            state="fetching" if status.state == "downloading" else _STATES[member.state],
            message=status.message,
            progress=status.progress,
            aliases=served.aliases,
            is_served=True,
            is_default=member is self._pool.members[0],
            is_pinned=served.pinned,
            info=member.info,
            need_bytes=member.reserved or None,
        )
        if download is not None:
            return _fetching(entry, download)
        if served.server_url is None and member.backend is None:
            try:
                on_disk = self._on_disk(entry, find(parse_source(served.source)), member.settings)
            except ModelError as error:
                return replace(entry, state="absent", message=error.message)
            entry = _with_own_template(on_disk, member.settings)
        return replace(entry, fit=self._fit(entry.need_bytes))

    def _of_file(self, resolved: ResolvedModel) -> CatalogEntry | None:
        """None where the file is gone since the last look at the disk."""
        source = str(resolved.source)
        entry = CatalogEntry(ServedModel(source=source).short_name, source, "here", "It is on this machine.")
        try:
            return self._on_disk(entry, resolved, self._settings)
        except ModelError:
            return None

    def _on_disk(self, entry: CatalogEntry, resolved: ResolvedModel, settings: Settings) -> CatalogEntry:
        """What a file's header says of a model that is not loaded.

        Raises:
            ModelError: The file is not there any more, or nobody may look at it.
        """
        try:
            changed = resolved.path.stat().st_mtime_ns
        except OSError as error:
            raise ModelError(f"{resolved.path} cannot be read: {error.strerror}.") from None
        here = _look_at(resolved, changed, Wish.of(settings, self._pool.limit))
        if here.problem is not None:
            entry = replace(entry, state="failed", message=f"It cannot be used: {here.problem}")
        if here.memory is None:
            return replace(entry, info=here.info)
        return replace(entry, info=here.info, need_bytes=here.memory.need.total, fit=here.memory.fit)

    def _fit(self, need: int | None) -> Fit | None:
        return None if need is None else fit_of(need, self._pool.limit)


def _with_own_template(entry: CatalogEntry, settings: Settings) -> CatalogEntry:
    """Where the operator has a template for a model it has one, whatever its file says."""
    if settings.chat_template is None or entry.info is None:
        return entry
    return replace(entry, info=replace(entry.info, has_chat_template=True))


def _fetching(entry: CatalogEntry, download: DownloadStatus) -> CatalogEntry:
    state: EntryState = "fetching" if download.state == "fetching" else "absent"
    return replace(
        entry,
        state=state,
        message=download.message,
        progress=download.progress,
        seconds_left=download.seconds_left,
    )


def _of_download(download: DownloadStatus) -> CatalogEntry:
    name = ServedModel(source=download.source).short_name
    return _fetching(CatalogEntry(name, download.source, "fetching", download.message), download)


@lru_cache(maxsize=256)
def _look_at(resolved: ResolvedModel, _changed: int, wish: Wish) -> ModelHere:
    return look_at(resolved, wish)
