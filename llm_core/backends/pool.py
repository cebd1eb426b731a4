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
from contextlib import suppress
from dataclasses import astuple, replace
from typing import Any

from llm_core.backends.backend import Backend, Computing, LoadStatus, Submission
from llm_core.backends.counted import Counted, Named
from llm_core.backends.member import Member
from llm_core.backends.registry import Registry
from llm_core.backends.room import Room
from llm_core.backends.shared_memory import SharedMemory
from llm_core.backends.vocabulary import Vocabulary
from llm_core.backends.waiting import WaitingSubmission
from llm_core.completion_request import AnyRequest
from llm_core.embedding import VectorRequest
from llm_core.engine.facts import EngineStats
from llm_core.engine.kv.state_path import remove_states_of
from llm_core.errors import EngineClosed, LLMError, ModelError, QueueFull
from llm_core.memory import memory_limit
from llm_core.models.info import ModelInfo
from llm_core.models.served import ServedModel
from llm_core.reading import Sink
from llm_core.request import ChatRequest
from llm_core.settings import Settings
from llm_core.task import Task

log = logging.getLogger(__name__)

_MIB = 1024 * 1024
_LONGEST_LOOK_SECONDS = 30.0
_RETRY_SECONDS = 30.0  # after which a model that could not be loaded is tried again, when somebody asks for it
MakeBackend = Callable[[Settings, Room], Backend[Any]]
_Begin = Callable[[Backend[Any], Sink[Any]], Submission[Any]]


class Pool(Registry):
    """All models that are served. A `llm_core.backends.backend.Backend`.

    Args:
        served: The models; the first one is the default.
        settings: Of all of them.
        make: Makes the backend of one.

    Attributes:
        limit: Bytes of memory that all loaded ones may have together.
    """

    def __init__(self, served: Sequence[ServedModel], settings: Settings, make: MakeBackend) -> None:
        super().__init__(served, settings)
        self._make = make
        self.limit = settings.memory_mb * _MIB if settings.memory_mb else memory_limit()
        self._memory = SharedMemory(self.limit, self._changed, lambda: self.members, self._unload)
        self._closed, self._over = False, threading.Event()
        if settings.model_idle_minutes:
            threading.Thread(target=self._watch_idle, name="llm-idle", daemon=True).start()

    @classmethod
    def of(cls, backend: Backend[Any], settings: Settings) -> Pool:
        """A pool of one model, whose backend is there already."""
        pool = cls([ServedModel(source=settings.model)], settings, lambda _settings, _room: backend)
        pool.default.backend, pool.default.settings = backend, settings
        return pool

    # ── the seam ─────────────────────────────────────────────────────────────────────────────────────────────────────

    def start(self, name: str = "") -> Future[ModelInfo]:
        """Begins to load a model, or says that it has been: the default one, or that of a name.

        Raises:
            ModelNotFound: There is no model of that name.
            EngineClosed: The pool has been closed.
        """
        member = self.member(name) if name else self.default
        with self._changed:
            if self._closed:
                raise EngineClosed("The client has been closed.")
            if member.is_leaving:  # who looks again and again asks when it has left; who waits has `loaded`
                return Future()
            if member.backend is None:
                member.backend = self._make(member.settings, self._memory.share(member))
                member.info = None
            backend = member.backend
        loaded = backend.start()
        if member.info is None:
            member.last_used = time.monotonic()
            loaded.add_done_callback(lambda done: self._know(member, done))
        return loaded

    def loaded(self, name: str = "") -> Future[ModelInfo]:
        """`start` for who waits for its end: a model that is leaving is loaded again when it has left.

        Raises:
            ModelNotFound: There is no model of that name.
            EngineClosed: The pool has been closed.
        """
        member = self.member(name) if name else self.default
        self._give_another_try(member)
        with self._changed:
            if not member.is_leaving:
                return self.start(name)
            if member.comes_back is None:
                member.comes_back = Future()
                member.comes_back.set_running_or_notify_cancel()  # no waiter's cancel is the others'
            return member.comes_back

    def start_pinned(self) -> None:
        """Begins to load the default model, and those that are to stay loaded."""
        for member in self.members:
            if member is self.default or member.served.pinned:
                self.start(member.name)

    def info(self, name: str = "") -> ModelInfo | None:
        """What a model is that has been loaded and has left, or is leaving; None of others: `start` says that."""
        member = self.member(name) if name else self.default
        return member.info if member.backend is None or member.is_leaving else None

    def status(self, name: str = "") -> LoadStatus:
        """How far loading of a model is: of the default one, or that of a name."""
        return (self.member(name) if name else self.default).status()

    def submit(self, request: AnyRequest, sink: Sink[Any]) -> Submission[Any]:
        """Hands a request to its model, as soon as that is ready.

        Raises:
            ModelNotFound: There is no model of that name.
            LLMError: It is refused.
        """
        member = self.member(request.model)
        return self._hand_in(member, ("chat",), lambda backend, to: backend.submit(request, to), sink, request.timeout)

    def embed(self, request: VectorRequest, sink: Sink[Any]) -> Computing[Any]:
        """The same with texts whose vectors, or whose ranks, are wanted.

        Raises:
            ModelNotFound: There is no model of that name.
            LLMError: It is refused.
        """
        tasks = request.tasks
        member = self.member_for(request.model, *tasks)
        return self._hand_in(member, tasks, lambda backend, to: backend.embed(request, to), sink, request.timeout)

    def _hand_in(
        self, member: Member, tasks: tuple[Task, ...], begin: _Begin, sink: Sink[Any], timeout: float
    ) -> Submission[Any]:
        """Hands something to a model that is ready, or has it wait for it.

        Args:
            begin: Hands it to the model's backend.
            timeout: Seconds that the model may take to be ready.
        """

        def submit() -> Submission[Any] | None:
            return self._submit_to(member, tasks, begin, sink)

        self._give_another_try(member)
        submission = submit()
        if submission is None and (loaded := self.start(member.name)).done():
            loaded.result()  # what it failed with is told at once
            submission = submit()
        if submission is not None:
            return submission
        self._count_waiting(member)
        return WaitingSubmission(
            lambda: self.start(member.name), member.status, submit, sink, timeout, lambda: self._waits_no_more(member)
        )

    def count_tokens(self, request: ChatRequest) -> int:
        return self._ready(request.model).count_tokens(request)

    def vocabulary(self, model: str = "") -> Vocabulary:
        return self._ready(model).vocabulary()

    def _ready(self, name: str) -> Backend[Any]:
        """The backend of a model, once that is loaded."""
        member = self.member(name)
        self.loaded(member.name).result()
        backend = member.backend
        if backend is None:
            raise ModelError(f"{member.name} has just been unloaded. Ask again.")
        return backend

    def stats(self) -> EngineStats | None:
        """A look at all engines together; None where there is none."""
        seen = [stats for each in self.members if (stats := each.stats()) is not None]
        if len(seen) < 2:
            return seen[0] if seen else None
        return EngineStats(*(sum(numbers) for numbers in zip(*map(astuple, seen), strict=True)))

    def also_has(self) -> tuple[str, ...]:
        """They are all served."""
        return ()

    def clear_cache(self) -> None:
        """Of all models that are ready."""
        for member in self.members:
            if (backend := member.backend) is not None and member.state == "ready":
                backend.clear_cache()

    def forget(self, owner: str, session: str) -> None:
        """With every model, also those that are not loaded: a session may have had several."""
        remove_states_of(self._settings.data_dir, owner, session)
        for member in self.members:
            if (backend := member.backend) is not None:
                backend.forget(owner, session)

    def close(self) -> None:
        with self._changed:
            self._closed = True
            self._memory.close()
            self._over.set()
            backends = [each.backend for each in self.members if each.backend is not None]
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
        self._serve_no_more(member)

    def _give_another_try(self, member: Member) -> None:
        """Forgets that a model could not be loaded a while ago: the network, the file or the room may be there now."""
        with self._changed:
            if member.failed_at is None or time.monotonic() - member.failed_at <= _RETRY_SECONDS:
                return
            member.failed_at = None  # one of those who ask at once
        self._unload(member)

    def _watch_idle(self) -> None:
        """Unloads models that nobody has asked for in so long as the settings say."""
        seconds = self._settings.model_idle_minutes * 60
        while not self._over.wait(min(seconds / 4, _LONGEST_LOOK_SECONDS)):
            now = time.monotonic()
            for member in self.members:
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
            member.backend, member.reserved, member.is_leaving, member.failed_at = None, 0, False, None
            comes_back, member.comes_back = member.comes_back, None
            self._changed.notify_all()
        if comes_back is not None:
            self._bring_back(member, comes_back)

    def _bring_back(self, member: Member, awaited: Future[ModelInfo]) -> None:
        """Loads a model again for those who have waited until it had left."""
        try:
            self.loaded(member.name).add_done_callback(lambda done: _pass_on(done, awaited))
        except LLMError as error:
            awaited.set_exception(error)

    def _know(self, member: Member, loaded: Future[ModelInfo]) -> None:
        if loaded.exception() is None:
            info = loaded.result()
            member.info = replace(info, name=member.served.name) if member.served.name else info
            for name in member.backend.also_has() if member.backend is not None else ():
                self._add_beside(member, name)
            return
        if member.failed_at is None and isinstance(loaded.exception(), ModelError):
            member.failed_at = time.monotonic()
        if member.reserved:
            self._memory.release(member)

    def _add_beside(self, member: Member, name: str) -> None:
        """Serves another model of the engine that serves a model."""
        own = {"source": name, "name": None, "aliases": (), "pinned": False, "logit_bias": None}
        with suppress(ModelError):  # its name is another one's
            self.add(member.served.model_copy(update=own))

    def _submit_to(
        self, member: Member, tasks: tuple[Task, ...], begin: _Begin, sink: Sink[Any]
    ) -> Submission[Any] | None:
        """Hands something to a model that is ready; None where it is not.

        Raises:
            InvalidRequest: The model is for something else, as has turned out.
        """
        with self._changed:
            # An engine elsewhere that is down for a while is its backend's own business.
            if member.backend is None or member.is_leaving or member.info is None:
                return None
            self.check_task(member, *tasks)
            backend = member.backend
            member.replies += 1
            member.last_used = time.monotonic()
        counted = Counted(sink, lambda: self._ended(member))
        try:
            return Named(begin(backend, counted), member)
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


def _pass_on(done: Future[ModelInfo], awaited: Future[ModelInfo]) -> None:
    if (error := done.exception()) is not None:
        awaited.set_exception(error)
    else:
        awaited.set_result(done.result())
