"""The local backend: finds the model file, loads it in the background and keeps the engine that runs it.

Loading takes from a blink to minutes (a download), so it happens on a thread of its own; `status` says how far it is,
and everything else waits for it.
"""

from __future__ import annotations

import logging
import threading
from concurrent.futures import Future
from dataclasses import dataclass, replace
from pathlib import Path

from llm_core.backends.backend import LoadStatus
from llm_core.backends.room import Room, WholeMachine
from llm_core.chat.changing_prompts import ChangingPrompts
from llm_core.chat.chat import Chat
from llm_core.chat.reply import ReplyTranslator
from llm_core.cores import default_threads
from llm_core.engine.capacity import context_tokens
from llm_core.engine.engine import Engine
from llm_core.engine.facts import EngineOptions, EngineStats
from llm_core.engine.kv.state_path import state_folder
from llm_core.engine.llama.library import uses_gpu
from llm_core.engine.llama.model import Model
from llm_core.engine.llama.prepared import FORM, folder_of, prepared_file
from llm_core.engine.sequence import EngineEvent, GenerationRequest, Sequence
from llm_core.errors import EngineClosed, LLMError, ModelError, SettingsError
from llm_core.events import ChatEvent
from llm_core.lora import adapter_set
from llm_core.models.fit import context_of, footprint_of, why_too_large
from llm_core.models.header import read_model_header
from llm_core.models.info import ModelInfo, describe
from llm_core.models.resolve import resolve
from llm_core.models.source import BundledModel, HubModel, ResolvedModel, parse_source
from llm_core.models.template_file import read_template
from llm_core.reading import Sink
from llm_core.request import ChatRequest
from llm_core.settings import Settings
from llm_core.structured_output.constraint import ConstraintCompiler
from llm_core.structured_output.grammar import reply_grammar

log = logging.getLogger(__name__)

_MIB = 1024 * 1024


@dataclass(frozen=True, slots=True)
class LoadedModel:
    """A model that is ready: what it is, how it talks, how it is held to a form, and the engine that runs it."""

    info: ModelInfo
    chat: Chat
    compiler: ConstraintCompiler
    engine: Engine


@dataclass(frozen=True, slots=True)
class LocalSubmission:
    """A request on its way through the engine."""

    _translator: ReplyTranslator
    _engine: Engine
    _sequence: Sequence

    def translate(self, event: EngineEvent) -> list[ChatEvent]:
        return self._translator.translate(event)

    def cancel(self) -> None:
        self._engine.cancel(self._sequence)


class LocalBackend:
    """One model in this process, loaded at most once.

    Args:
        settings: Which model, and how it is served.
        room: The memory that it may have.
    """

    def __init__(self, settings: Settings, room: Room | None = None) -> None:
        self._settings, self._room = settings, room or WholeMachine()
        self._lock = threading.Lock()
        self._thread: threading.Thread | None = None
        self._info: Future[ModelInfo] = Future()
        self._loaded: LoadedModel | None = None
        self._status = LoadStatus("idle", 0.0, "The model is not loaded yet.")
        self._model: Model | None = None
        self._notice = ""
        self._closed = False
        self._changing_prompts = ChangingPrompts()

    def start(self) -> Future[ModelInfo]:
        """Begins to load, once; later calls return the same future. It fails with `ModelError` or `SettingsError`."""
        with self._lock:
            if self._closed:
                raise EngineClosed("The client has been closed.")
            if self._thread is None:
                self._info.set_running_or_notify_cancel()  # from now on no waiter's cancel can cancel the loading
                self._thread = threading.Thread(target=self._load, name="llm-load", daemon=True)
                self._thread.start()
            return self._info

    def status(self) -> LoadStatus:
        return self._status

    def loaded(self) -> LoadedModel | None:
        """The model where it is ready, else None; never waits."""
        return self._loaded

    def submit(self, request: ChatRequest, sink: Sink[EngineEvent]) -> LocalSubmission:
        """Makes the prompt and hands it to the engine; waits until the model is loaded.

        Raises:
            LLMError: The model cannot be loaded, or the request is refused.
        """
        loaded = self._wait()
        engine = loaded.engine
        if request.messages[0].role == "system":
            self._changing_prompts.look(request.owner, request.messages[0].content)
        prepared = loaded.chat.prepare(
            request, limit_tokens=engine.context_tokens, shared_system={self._settings.system_prompt}
        )
        grammar = reply_grammar(request, loaded.chat.syntax, starts_in_reasoning=prepared.prompt.starts_in_reasoning)
        generation = GenerationRequest(
            prompt=prepared.prompt.tokens,
            sampling=request.sampling,
            max_tokens=request.max_tokens,
            timeout=request.timeout,
            shared_tokens=prepared.prompt.shared_tokens,
            new_tokens=prepared.new_tokens,
            stop=request.stop,
            owner=request.owner,
            visible_tokens=prepared.visible_tokens,
            constraint=grammar.compile(loaded.compiler) if grammar else None,
            session=request.session,
            adapters=adapter_set(request.lora, self._settings.lora),
        )
        return LocalSubmission(ReplyTranslator(prepared), engine, engine.submit(generation, sink))

    def count_tokens(self, request: ChatRequest) -> int:
        loaded = self._wait()
        return loaded.chat.count_tokens(request, shared_system={self._settings.system_prompt})

    def stats(self) -> EngineStats | None:
        return self._loaded.engine.stats() if self._loaded else None

    def also_has(self) -> tuple[str, ...]:
        return ()

    def clear_cache(self) -> None:
        self._wait().engine.clear_cache()

    def forget(self, owner: str, session: str) -> None:
        if (loaded := self._loaded) is not None:
            loaded.engine.forget(owner, session)

    def _wait(self) -> LoadedModel:
        self.start().result()
        assert self._loaded is not None
        return self._loaded

    def close(self) -> None:
        """Stops the engine and frees the model. A load under way is waited for, a download is broken off."""
        with self._lock:
            already, self._closed = self._closed, True
            thread = self._thread
        if already:
            return
        if thread is not None:
            thread.join()
            if (ready := self.loaded()) is not None:
                ready.engine.close()
                ready.compiler.close()
        if self._model is not None:
            self._model.close()

    def _load(self) -> None:
        try:
            loaded = self._make()
        except LLMError as error:
            log.error("the model could not be loaded: %s", error)
            self._fail(error)
        except Exception as error:
            log.exception("the model could not be loaded")
            self._fail(ModelError(f"The model could not be loaded: {error}"))
        else:
            self._loaded = loaded
            self._status = LoadStatus("ready", 1.0, f"{loaded.info.name} is ready.", self._notice)
            self._info.set_result(loaded.info)

    def _fail(self, error: LLMError) -> None:
        if self._model is not None:
            self._model.close()
        self._status = LoadStatus("failed", 0.0, error.message)
        self._info.set_exception(error)

    def _make(self) -> LoadedModel:
        self._status = LoadStatus("loading", 0.0, "Looking for the model.")
        resolved = self._resolve()
        with self._room.loading():
            return self._load_resolved(resolved)

    def _load_resolved(self, resolved: ResolvedModel) -> LoadedModel:
        settings = self._settings
        threads = settings.threads or default_threads()
        fitting = self._reserve_for(resolved.path)
        self._model = model = self._load_file(resolved.path)
        template = read_template(settings.chat_template)
        info = describe(model, resolved, template)
        if settings.prepare == "auto" and (faster := self._load_faster(model, threads)) is not None:
            model.close()
            self._model = model = faster
            info = replace(info, computed_as=FORM)
        for adapter in settings.lora:
            model.load_adapter(adapter.name, adapter.path)
            self._room.reserve(adapter.path.stat().st_size, self._show_waiting)
        chat = self._chat(model, template)
        context = context_tokens(model, wanted=self._wanted, slots=settings.parallel, kv_type=settings.kv_type)
        host_bytes = min(settings.kv_host_mb * _MIB, self._room.most // 2)
        self._room.reserve(host_bytes, self._show_waiting)
        options = EngineOptions(
            slots=settings.parallel,
            context_tokens=min(context, fitting),
            queue_limit=settings.queue_limit,
            host_bytes=host_bytes,
            threads=threads,
            step_seconds=settings.step_ms / 1e3,
            drafts=settings.draft,
            kv_type=settings.kv_type,
            kv_folder=state_folder(settings.data_dir, settings.model),
            disk_bytes=settings.kv_disk_mb * _MIB if settings.keeps_sessions() else 0,
            self_check=settings.self_check,
        )
        return LoadedModel(info, chat, ConstraintCompiler(model), Engine(model, options))

    def _chat(self, model: Model, template: str | None) -> Chat:
        """How it talks.

        Raises:
            ModelError: Its template, or the operator's own, cannot be used.
            SettingsError: It has no token with an id of `logit_bias`.
        """
        last = model.vocab_size - 1
        if wrong := next((token for token in self._settings.logit_bias if token > last), None):
            raise SettingsError(f"logit_bias names the token {wrong}; those of {model.path.name} go from 0 to {last}.")
        try:
            return Chat(model, template)
        except ModelError as error:
            if template is None:
                raise
            raise ModelError(f"{self._settings.chat_template} cannot be used: {error.message}") from None

    def _resolve(self) -> ResolvedModel:
        """The model's file, or the bundled one's where it cannot be had and that is allowed."""
        source = parse_source(self._settings.model)
        try:
            return resolve(source, on_progress=self._show_download)
        except ModelError as error:
            if not (self._settings.fallback and isinstance(source, HubModel)):
                raise
            log.error("the bundled model serves in place of %s: %s", source, error)
            self._notice = f"The bundled model answers in place of {source}, until a restart. {error.message}"
            return resolve(BundledModel(), on_progress=self._show_download)

    def _load_file(self, path: Path) -> Model:
        return Model.load(path, gpu_layers=self._settings.gpu_layers, on_progress=lambda done: self._show_loading(done))

    @property
    def _wanted(self) -> int | None:
        """The operator's number of tokens of context; it was chosen for the model that was asked for."""
        return None if self._notice else self._settings.context_tokens

    def _reserve_for(self, path: Path) -> int:
        """Has room made for a model.

        Returns:
            The tokens of context that there is room for.

        Raises:
            ModelError: There is none, whoever leaves; the message says what would fit.
        """
        settings, header = self._settings, read_model_header(path)
        slots = settings.parallel
        footprint = footprint_of(path, header, kv_type=settings.kv_type, prepares=settings.prepare == "auto")
        context = context_of(header, self._wanted)
        if uses_gpu(settings.gpu_layers):  # whose memory is not known here
            return context
        need, most = footprint.need(context=context, slots=slots), self._room.most
        if need.total > most:
            fitting = footprint.what_would_fit(most, context=context, slots=slots)
            if fitting.context is None:
                raise ModelError(why_too_large(path.name, footprint, most, context=context, slots=slots))
            context = fitting.context
            need = footprint.need(context=context, slots=slots)
            log.warning("memory is short: %s gets %d tokens for each of %d slots", path.name, context, slots)
        self._room.reserve(need.total, self._show_waiting)
        return context

    def _load_faster(self, model: Model, threads: int) -> Model | None:
        """The model's copy that this machine computes faster; None where there is none."""
        folder = folder_of(self._settings.data_dir)
        copy = prepared_file(model, folder, threads=threads, on_start=self._show_preparing)
        if copy is None:
            return None
        try:
            return self._load_file(copy)
        except ModelError as error:
            log.warning("the prepared copy is made anew at the next start: %s", error)
            copy.unlink(missing_ok=True)
            return None

    def _show_waiting(self, message: str) -> None:
        self._status = LoadStatus("loading", 0.0, message)

    def _show_preparing(self) -> None:
        self._status = LoadStatus(
            "loading", 1.0, "Preparing the model for this processor. This is done once and takes a moment."
        )

    def _show_download(self, done: float, message: str) -> None:
        if self._closed:
            raise EngineClosed("The client was closed while the model was downloaded.")
        self._status = LoadStatus("downloading", done, message)

    def _show_loading(self, done: float) -> None:
        self._status = LoadStatus("loading", done, f"Loading the model: {done:.0%}")
