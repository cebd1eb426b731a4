"""Several models behind the one seam: each has a backend of its own, and they share the machine's memory.

A model is loaded when somebody asks for it, and leaves when another needs its memory, the least recently used first;
the replies that it makes end before. With one model this is that model's backend, and nothing more.
"""

from __future__ import annotations

import logging
import threading
import time
from collections.abc import Callable, Sequence
from concurrent.futures import Future
from contextlib import AbstractContextManager, suppress
from dataclasses import astuple, replace
from typing import Any

from llm_core.backends.backend import Backend, LoadStatus, Submission
from llm_core.backends.counted import Counted, Named
from llm_core.backends.member import Member
from llm_core.backends.room import Room
from llm_core.backends.waiting import WaitingSubmission
from llm_core.engine.facts import EngineStats
from llm_core.engine.kv.state_path import remove_states_of
from llm_core.errors import EngineClosed, ModelError, ModelNotFound, QueueFull
from llm_core.memory import free_memory, memory_limit
from llm_core.models.info import ModelInfo
from llm_core.models.served import ServedModel
from llm_core.models.source import BundledModel
from llm_core.reading import Sink
from llm_core.request import ChatRequest
from llm_core.settings import Settings

log = logging.getLogger(__name__)

_MIB = 1024 * 1024
_LONGEST_LOOK_SECONDS = 30.0
MakeBackend = Callable[[Settings, Room], Backend[Any]]


class Pool:
    """All models that are served. A `llm_core.backends.backend.Backend`.

    Args:
        served: The models; the first one is the default.
        settings: Of all of them.
        make: Makes the backend of one.

    Attributes:
        limit: Bytes of memory that all loaded ones may have together.
        look_further: Finds a model that is not served yet by its name.
    """

    def __init__(self, served: Sequence[ServedModel], settings: Settings, make: MakeBackend) -> None:
        self._settings, self._make = settings, make
        self.limit = settings.memory_mb * _MIB if settings.memory_mb else memory_limit()
        self._changed = threading.Condition()
        self._loading = threading.Lock()
        self._members = [Member(each, each.settings(settings)) for each in served]
        self._answers_to_all = len(self._members) == 1
        self._closed, self._over = False, threading.Event()
        if settings.model_idle_minutes:
            threading.Thread(target=self._watch_idle, name="llm-idle", daemon=True).start()
        self.look_further: Callable[[str], ServedModel | None] = lambda _name: None

    @classmethod
    def of(cls, backend: Backend[Any], settings: Settings) -> Pool:
        """A pool of one model, whose backend is there already."""
        pool = cls([ServedModel(source=settings.model)], settings, lambda _settings, _room: backend)
        pool._members[0].backend, pool._members[0].settings = backend, settings
        return pool

    # ── which ────────────────────────────────────────────────────────────────────────────────────────────────────────

    @property
    def members(self) -> tuple[Member, ...]:
        """All models, the default one first."""
        return tuple(self._members)

    def member(self, name: str = "") -> Member:
        """A model by its name or an alias; without one the default. The one that the operator has named answers to any
        name.

        Raises:
            ModelNotFound: There is none of that name; the message has those that there are.
        """
        members = self._members
        if not name:
            return self._stand_in() or members[0]
        if found := self.find(name):
            return found
        if further := self.look_further(name):
            return self.add(further)
        if self._answers_to_all:
            return members[0]
        names = ", ".join(each.name for each in members)
        raise ModelNotFound(f"The model {name[:200]!r} is not here. There is: {names}.")

    def find(self, name: str) -> Member | None:
        """The model of a name or an alias, where it is served; None of any other."""
        return next((each for each in self._members if name in each.names), None)

    def _stand_in(self) -> Member | None:
        """The bundled model for as long as the default one is being fetched, where it may answer in its place."""
        default = self._members[0]
        if not self._settings.fallback or default.backend is None or default.status().state != "downloading":
            return None
        return self.add(ServedModel(source=str(BundledModel())))

    def add(self, served: ServedModel) -> Member:
        """Serves one more model from now on; the same one again is no other.

        Raises:
            ModelError: Another model has one of its names.
        """
        with self._changed:
            for member in self._members:
                if (member.served.source, member.served.server_url) == (served.source, served.server_url):
                    return member
                if taken := set(member.names) & set(served.names):
                    raise ModelError(f"Another model has the name {min(taken)!r} already.")
            member = Member(served, served.settings(self._settings))
            self._members.append(member)
        return member

    # ── the seam ─────────────────────────────────────────────────────────────────────────────────────────────────────

    def start(self, name: str = "") -> Future[ModelInfo]:
        """Begins to load a model, or says that it has been: the default one, or that of a name.

        Raises:
            ModelNotFound: There is no model of that name.
            EngineClosed: The pool has been closed.
        """
        member = self.member(name) if name else self._members[0]
        with self._changed:
            if self._closed:
                raise EngineClosed("The client has been closed.")
            if member.is_leaving:  # it is asked for again when it has left
                return Future()
            if member.backend is None:
                member.backend = self._make(member.settings, _Share(self, member))
                member.info = None
            backend = member.backend
        loaded = backend.start()
        if member.info is None:
            member.last_used = time.monotonic()
            loaded.add_done_callback(lambda done: self._know(member, done))
        return loaded

    def start_pinned(self) -> None:
        """Begins to load the default model, and those that are to stay loaded."""
        for member in self._members:
            if member is self._members[0] or member.served.pinned:
                self.start(member.name)

    def info(self, name: str = "") -> ModelInfo | None:
        """What a model is that has been loaded and has left; None of others: `start` says that."""
        member = self.member(name) if name else self._members[0]
        return member.info if member.backend is None else None

    def status(self, name: str = "") -> LoadStatus:
        """How far loading of a model is: of the default one, or that of a name."""
        return (self.member(name) if name else self._members[0]).status()

    def submit(self, request: ChatRequest, sink: Sink[Any]) -> Submission[Any]:
        """Hands a request to its model, as soon as that is ready.

        Raises:
            ModelNotFound: There is no model of that name.
            LLMError: It is refused.
        """
        member = self.member(request.model)
        submission = self._submit_to(member, request, sink)
        if submission is None and (loaded := self.start(member.name)).done():
            loaded.result()  # what it failed with is told at once
            submission = self._submit_to(member, request, sink)
        if submission is not None:
            return submission
        self._count_waiting(member)
        return WaitingSubmission(
            lambda: self.start(member.name),
            member.status,
            lambda: self._submit_to(member, request, sink),
            sink,
            request.timeout,
            lambda: self._waits_no_more(member),
        )

    def count_tokens(self, request: ChatRequest) -> int:
        member = self.member(request.model)
        self.start(member.name).result()
        backend = member.backend
        if backend is None:
            raise ModelError(f"{member.name} has just been unloaded. Ask again.")
        return backend.count_tokens(request)

    def stats(self) -> EngineStats | None:
        """A look at all engines together; None where there is none."""
        seen = [stats for each in self._members if (stats := each.stats()) is not None]
        if len(seen) < 2:
            return seen[0] if seen else None
        return EngineStats(*(sum(numbers) for numbers in zip(*map(astuple, seen), strict=True)))

    def also_has(self) -> tuple[str, ...]:
        """They are all served."""
        return ()

    def clear_cache(self) -> None:
        """Of all models that are ready."""
        for member in self._members:
            if (backend := member.backend) is not None and member.state == "ready":
                backend.clear_cache()

    def forget(self, owner: str, session: str) -> None:
        """With every model, also those that are not loaded: a session may have had several."""
        remove_states_of(self._settings.data_dir, owner, session)
        for member in self._members:
            if (backend := member.backend) is not None:
                backend.forget(owner, session)

    def close(self) -> None:
        with self._changed:
            self._closed = True
            self._over.set()
            backends = [each.backend for each in self._members if each.backend is not None]
            self._changed.notify_all()
        for backend in backends:
            backend.close()

    # ── loading and unloading ────────────────────────────────────────────────────────────────────────────────────────

    def load(self, name: str) -> Future[ModelInfo]:
        """Loads a model, and tries again where that has failed.

        Raises:
            ModelNotFound: There is no model of that name.
        """
        member = self.member(name)
        if member.state == "failed":
            self._unload(member)
        return self.start(name)

    def unload(self, name: str) -> None:
        """Frees a model's memory as soon as the replies that it makes have ended; returns then.

        Raises:
            ModelNotFound: There is no model of that name.
        """
        self._unload(self.member(name))

    def remove(self, name: str) -> None:
        """Serves a model no more, once the replies that it makes have ended. The default one stays.

        Raises:
            ModelNotFound: There is no model of that name.
        """
        member = self.member(name)
        self._unload(member)
        with self._changed:
            self._members = [each for each in self._members if each is not member or each is self._members[0]]

    def _watch_idle(self) -> None:
        """Unloads models that nobody has asked for in so long as the settings say."""
        seconds = self._settings.model_idle_minutes * 60
        while not self._over.wait(min(seconds / 4, _LONGEST_LOOK_SECONDS)):
            now = time.monotonic()
            for member in self._members:
                is_idle = member.state == "ready" and not member.replies and now - member.last_used > seconds
                if is_idle and not member.served.pinned:
                    self._unload(member)

    def _unload(self, member: Member) -> None:
        with self._changed:
            if member.backend is None or member.is_leaving:
                return
            member.is_leaving = True
            while member.replies and not self._closed:
                self._changed.wait()
            backend = member.backend
        log.info("%s is unloaded", member.name)
        backend.close()
        with self._changed:
            member.backend, member.reserved, member.is_leaving = None, 0, False
            self._changed.notify_all()

    def _know(self, member: Member, loaded: Future[ModelInfo]) -> None:
        if loaded.exception() is None:
            info = loaded.result()
            member.info = replace(info, name=member.served.name) if member.served.name else info
            for name in member.backend.also_has() if member.backend is not None else ():
                self._add_beside(member, name)
        elif member.reserved:
            self._release(member)

    def _add_beside(self, member: Member, name: str) -> None:
        """Serves another model of the engine that serves a model."""
        own = {"source": name, "name": None, "aliases": (), "pinned": False, "logit_bias": None}
        with suppress(ModelError):  # its name is another one's
            self.add(member.served.model_copy(update=own))

    def _submit_to(self, member: Member, request: ChatRequest, sink: Sink[Any]) -> Submission[Any] | None:
        """Hands a request to a model that is ready; None where it is not."""
        with self._changed:
            # An engine elsewhere that is down for a while is its backend's own business.
            if member.backend is None or member.is_leaving or member.info is None:
                return None
            backend = member.backend
            member.replies += 1
            member.last_used = time.monotonic()
        counted = Counted(sink, lambda: self._ended(member))
        try:
            return Named(backend.submit(request, counted), member)
        except BaseException:
            counted.end()
            raise

    def _count_waiting(self, member: Member) -> None:
        """
        Raises:
            QueueFull: As many wait for this model as it may have waiting and running.
        """
        with self._changed:
            if member.waiting >= member.settings.parallel + member.settings.queue_limit:
                raise QueueFull(f"As many requests wait for {member.name} already as may. Try again.", retry_after=5)
            member.waiting += 1

    def _waits_no_more(self, member: Member) -> None:
        with self._changed:
            member.waiting -= 1

    def _ended(self, member: Member) -> None:
        with self._changed:
            member.replies -= 1
            member.last_used = time.monotonic()
            self._changed.notify_all()

    # ── memory ───────────────────────────────────────────────────────────────────────────────────────────────────────

    @property
    def left(self) -> int:
        """Bytes that nobody has."""
        return self.limit - sum(each.reserved for each in self._members)

    def _reserve(self, member: Member, size: int, on_wait: Callable[[str], None]) -> None:
        while True:
            with self._changed:
                if self._closed:
                    raise EngineClosed("The client was closed while the model was loaded.")
                if size <= self.left:
                    member.reserved += size
                    return
                others = [each for each in self._members if each is not member and each.reserved]
                leaving = [each for each in others if not each.served.pinned]
                if size > self.left + sum(each.reserved for each in leaving):
                    raise ModelError(f"There is no room for {member.name} any more. Try again.")
                if any(each.is_leaving for each in leaving):
                    self._changed.wait()
                    continue
                next_one = min(leaving, key=lambda each: (each.replies > 0, each.last_used))
            on_wait(f"Waiting for the replies of {next_one.name}, which makes room.")
            self._unload(next_one)

    def _release(self, member: Member) -> None:
        with self._changed:
            member.reserved = 0
            self._changed.notify_all()

    def _most(self, member: Member) -> int:
        others = [each for each in self._members if each is not member]
        leaving = sum(each.reserved for each in others if not each.served.pinned)
        return min(self.left + leaving, free_memory() + leaving)


class _Share:
    """One member's `Room`."""

    def __init__(self, pool: Pool, member: Member) -> None:
        self._pool, self._member = pool, member

    def loading(self) -> AbstractContextManager[Any]:
        return self._pool._loading

    def reserve(self, size: int, on_wait: Callable[[str], None]) -> None:
        self._pool._reserve(self._member, size, on_wait)

    @property
    def most(self) -> int:
        return self._pool._most(self._member)
