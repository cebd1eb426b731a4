"""The remote backend: replies come from OpenAI-compatible engines elsewhere, and nothing is loaded here.

Requests run on one event loop in a thread of its own, so that callers in any thread and on any loop are served alike.
What is tried again, and for how long, is decided here; what a failure means is in `errors`.
"""

from __future__ import annotations

import asyncio
import logging
import random
import threading
from collections.abc import Awaitable, Callable, Coroutine
from concurrent.futures import Future
from contextlib import suppress
from functools import partial
from typing import Any, TypeVar

from llm_core.backends.backend import LoadStatus
from llm_core.backends.remote.engines import QUESTION_SECONDS, Engine, Engines
from llm_core.backends.remote.errors import EngineFault, fault_of
from llm_core.backends.remote.outbox import Outbox
from llm_core.backends.remote.reader import ChunkReader
from llm_core.backends.remote.reply import reply_of
from llm_core.backends.remote.submission import RemoteSubmission
from llm_core.backends.remote.vectors import compute
from llm_core.backends.remote.vocabulary import RemoteVocabulary
from llm_core.backends.remote.wire import shorter_ones
from llm_core.completion_request import AnyRequest, CompletionRequest
from llm_core.embedding import Computed, VectorRequest
from llm_core.engine.facts import EngineStats
from llm_core.errors import ContextOverflow, EngineClosed, EngineFailed, EngineUnreachable, InvalidRequest, LLMError
from llm_core.events import ChatEvent, Done, FinishReason, Timings, Usage
from llm_core.models.info import ModelInfo
from llm_core.reading import Sink
from llm_core.request import ChatRequest
from llm_core.settings import Settings

log = logging.getLogger(__name__)

TRIES = 4
FIRST_PAUSE_SECONDS = 0.25  # before the second try; each pause is twice the one before
LONGEST_PAUSE_SECONDS = 5.0  # a caller who is told to wait longer is better told so
PATIENCE_SECONDS = 15.0  # for the first engine to answer
WAIT_SECONDS = 10.0  # of a request, for one of them to come back while none answers
SILENT_SECONDS = 1.0  # after which a caller is told that the request is on its way, though no engine has taken it
CLOSE_SECONDS = 10.0

RemoteEvent = ChatEvent | LLMError
T = TypeVar("T")


class RemoteBackend:
    """One or several engines behind `LLM_SERVER_URL`."""

    def __init__(self, settings: Settings) -> None:
        self._settings = settings
        self._lock = threading.Lock()
        self._loop = asyncio.new_event_loop()
        self._thread: threading.Thread | None = None
        self._engines: Engines | None = None
        self._tasks: set[asyncio.Task[Done]] = set()
        self._info: ModelInfo | None = None
        self._answer: Future[ModelInfo] = _pending()
        self._closed = False

    # ── the engines ──────────────────────────────────────────────────────────────────────────────────────────────────

    def start(self) -> Future[ModelInfo]:
        """Begins to look for the engines; the future has what the first one serves that answers.

        While none does it fails after `PATIENCE_SECONDS` with `EngineUnreachable`, and a later call gives a new one:
        the engines are looked for until the backend is closed.
        """
        with self._lock:
            if self._closed:
                raise EngineClosed("The client has been closed.")
            if self._thread is None:
                self._thread = threading.Thread(target=self._run, name="llm-remote", daemon=True)
                self._thread.start()
            return self._answer

    def status(self) -> LoadStatus:
        engines = self._engines
        if engines is None:
            return LoadStatus("idle", 0.0, "The engine has not been looked for yet.")
        return (
            LoadStatus("loading", 0.0, engines.summary())
            if engines.are_down
            else LoadStatus("ready", 1.0, engines.summary())
        )

    def count_tokens(self, request: ChatRequest) -> int:
        """
        Raises:
            InvalidRequest: An engine elsewhere has no way to be asked that all would know.
        """
        raise InvalidRequest("An engine elsewhere does not count tokens.", param="messages")

    def vocabulary(self, model: str = "") -> RemoteVocabulary:
        return RemoteVocabulary(self._ask)

    def _ask(self, path: str, body: dict[str, Any], read: Callable[[Any], Any]) -> Any:
        """What an engine answers beside its replies.

        Raises:
            LLMError: It refuses, or has no such route.
        """
        self.start().result()
        asked = asyncio.run_coroutine_threadsafe(self._question(path, body, read), self._loop)
        try:
            return asked.result(QUESTION_SECONDS + CLOSE_SECONDS)
        except TimeoutError:  # the client has been closed meanwhile, or the answer does not end
            asked.cancel()
            raise EngineFailed(f"The engine does not answer {path}. Try again.") from None

    async def _question(self, path: str, body: dict[str, Any], read: Callable[[Any], Any]) -> Any:
        engine = await self._pick([])
        assert self._engines is not None
        try:
            return read(await self._engines.ask(engine, path, body))
        except LLMError:
            raise
        except Exception as error:
            raise fault_of(error, engine.name).error from error

    def stats(self) -> EngineStats | None:
        """Requests in flight; what else an engine holds is its own business, and 0 here.

        Each engine is taken to serve `LLM_PARALLEL` at once: so many and `LLM_QUEUE_LIMIT` more are let in.
        """
        if self._engines is None or self._info is None:
            return None
        slots = self._settings.parallel * len(self._settings.server_url)
        return EngineStats(slots=slots, running=self._engines.in_flight)

    def also_has(self) -> tuple[str, ...]:
        return self._engines.others if self._engines is not None else ()

    def clear_cache(self) -> None:
        """There is none here."""

    def forget(self, owner: str, session: str) -> None:
        """Nothing is."""

    def close(self) -> None:
        """Ends running requests with `EngineClosed`."""
        with self._lock:
            already, self._closed = self._closed, True
        if already:
            return
        if self._thread is not None:
            asyncio.run_coroutine_threadsafe(self._shut_down(), self._loop).result(CLOSE_SECONDS)
            self._loop.call_soon_threadsafe(self._loop.stop)
            self._thread.join()
        self._loop.close()
        if not self._answer.done():
            self._answer.set_exception(EngineClosed("The client has been closed."))

    @property
    def _known_engines(self) -> Engines:
        assert self._engines is not None
        return self._engines

    def _run(self) -> None:
        asyncio.set_event_loop(self._loop)
        self._loop.call_soon(self._begin_probing)
        self._loop.run_forever()

    def _begin_probing(self) -> None:
        settings = self._settings
        token = settings.server_token.get_secret_value() if settings.server_token else None
        self._engines = Engines(settings.server_url, token, wanted=settings.model, on_answer=self._answered)
        self._engines.watch()
        self._loop.call_later(PATIENCE_SECONDS, self._lose_patience)

    def _answered(self, info: ModelInfo) -> None:
        with self._lock:
            first, self._info = self._info is None, info
            if not first:
                self._answer = _pending()
            answer = self._answer
        answer.set_result(info)  # who waits for it may ask for more, and needs the lock

    def _lose_patience(self) -> None:
        assert self._engines is not None
        with self._lock:
            if self._info is not None:
                return
            waiting, self._answer = self._answer, _pending()
        log.warning("%s", self._engines.summary())
        waiting.set_exception(EngineUnreachable(self._engines.summary()))
        self._loop.call_later(PATIENCE_SECONDS, self._lose_patience)

    async def _shut_down(self) -> None:
        for task in self._tasks:
            task.cancel()
        await asyncio.gather(*self._tasks, return_exceptions=True)
        if self._engines is not None:
            await self._engines.close()

    # ── a request ────────────────────────────────────────────────────────────────────────────────────────────────────

    def submit(self, request: AnyRequest, sink: Sink[RemoteEvent]) -> RemoteSubmission:
        """Hands in a request and returns at once; what becomes of it goes into the sink.

        Raises:
            EngineClosed: The client has been closed.
        """
        reader = ChunkReader(request)
        return self._hand_in(lambda: self._answer_in_time(request, sink, reader), reader.done, sink)

    def embed(self, request: VectorRequest, sink: Sink[Any]) -> RemoteSubmission:
        """The same with texts.

        Raises:
            EngineClosed: The client has been closed.
        """
        return self._hand_in(lambda: self._compute_in_time(request, sink), _nothing, sink)

    def _hand_in(
        self, work: Callable[[], Coroutine[Any, Any, Done]], done: Callable[[FinishReason], Done], sink: Sink[Any]
    ) -> RemoteSubmission:
        """Has something done on the loop.

        Args:
            work: It.
            done: What the sink gets at last where it is broken off.
        """
        self.start()
        submission = RemoteSubmission(self._loop)
        with self._lock:
            if self._closed:
                raise EngineClosed("The client has been closed.")
            self._loop.call_soon_threadsafe(self._begin, work, done, sink, submission)
        return submission

    def _begin(
        self,
        work: Callable[[], Coroutine[Any, Any, Done]],
        done: Callable[[FinishReason], Done],
        sink: Sink[Any],
        submission: RemoteSubmission,
    ) -> None:
        submission.task = task = asyncio.create_task(work())
        self._tasks.add(task)

        def end(task: asyncio.Task[Done]) -> None:
            self._tasks.discard(task)
            with suppress(RuntimeError):  # the reader's event loop is closed
                sink(self._last_event(task, done))

        task.add_done_callback(end)

    def _last_event(self, task: asyncio.Task[Done], done: Callable[[FinishReason], Done]) -> Done | LLMError:
        if task.cancelled():
            return EngineClosed("The server is closing.") if self._closed else done("cancelled")
        match task.exception():
            case None:
                return task.result()
            case LLMError() as error:
                return error
            case error:
                log.error("a request to an engine failed", exc_info=error)
                return EngineFailed("The request to the engine failed; the log says why.")

    async def _answer_in_time(self, request: AnyRequest, sink: Sink[RemoteEvent], reader: ChunkReader) -> Done:
        outbox = Outbox(sink)
        reminder = self._loop.call_later(SILENT_SECONDS, outbox.report_queued)
        try:
            async with asyncio.timeout(request.timeout) as time_limit:
                return await self._answer_what_fits(request, outbox, reader)
        except TimeoutError:
            if not time_limit.expired():
                raise
            return reader.done("timeout")
        finally:
            reminder.cancel()

    async def _answer_what_fits(self, request: AnyRequest, outbox: Outbox, reader: ChunkReader) -> Done:
        """The reply to the whole conversation, or to a shorter one where the engine says that it does not fit."""
        if isinstance(request, CompletionRequest):
            asked = partial(reply_of, self._known_engines, request=request, outbox=outbox, reader=reader)
            return reader.done(await self._try(asked, reader))
        shorter = shorter_ones(request.messages) if request.overflow == "drop_oldest" else ()
        for messages in (request.messages, *shorter):
            try:
                part = request.model_copy(update={"messages": messages})
                finish_reason = await self._try(
                    partial(reply_of, self._known_engines, request=part, outbox=outbox, reader=reader), reader
                )
            except ContextOverflow as error:
                too_long = error
            else:
                return reader.done(finish_reason, len(request.messages) - len(messages))
        raise too_long

    async def _compute_in_time(self, request: VectorRequest, sink: Sink[Any]) -> Done:
        """What an engine makes of texts."""
        try:
            async with asyncio.timeout(request.timeout) as time_limit:
                values, usage = await self._try(lambda engine: compute(self._known_engines, engine, request))
        except TimeoutError:
            if not time_limit.expired():
                raise
            return _nothing("timeout")
        with suppress(RuntimeError):  # the reader's event loop is closed
            sink(Computed(values))
        return Done("stop", usage, Timings())

    async def _try(self, ask: Callable[[Engine], Awaitable[T]], reader: ChunkReader | None = None) -> T:
        """The answer of the engine with the least to do, or of another where that one fails before the first token.

        Args:
            ask: Asks one.
            reader: Of what comes of it, where that comes in pieces.
        """
        assert self._engines is not None
        tried: list[Engine] = []
        pause = FIRST_PAUSE_SECONDS
        while True:
            engine = await self._pick(tried)
            tried.append(engine)
            try:
                return await ask(engine)
            except EngineFault as fault:
                if fault.is_down:
                    self._engines.mark_down(engine, fault.error.message)
                other = self._engines.pick(tried)
                wait = max(pause * random.uniform(0.8, 1.2), fault.error.retry_after or 0.0)
                if other is not None and other not in tried:
                    wait = 0.0
                has_begun = reader is not None and reader.has_begun
                if not fault.try_again or has_begun or len(tried) == TRIES or wait > LONGEST_PAUSE_SECONDS:
                    raise fault.error from None
                log.info("a request is sent again after %.2f s: %s", wait, fault.error)
            if reader is not None:
                reader.restart()
            await asyncio.sleep(wait)
            pause *= 2

    async def _pick(self, tried: list[Engine]) -> Engine:
        assert self._engines is not None
        engine = self._engines.pick(tried)
        if engine is None:
            await self._engines.wait(WAIT_SECONDS)
            engine = self._engines.pick(tried)
        if engine is None:
            raise EngineUnreachable(self._engines.summary(), retry_after=WAIT_SECONDS)
        return engine


def _nothing(reason: FinishReason) -> Done:
    """The end of what was broken off with nothing done."""
    return Done(reason, Usage(), Timings())


def _pending() -> Future[ModelInfo]:
    """A future that no waiter's cancel can cancel."""
    future: Future[ModelInfo] = Future()
    future.set_running_or_notify_cancel()
    return future
