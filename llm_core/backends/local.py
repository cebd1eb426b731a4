"""The local backend: finds the model file, loads it in the background and keeps the engine that runs it.

Loading takes from a blink to minutes (a download), so it happens on a thread of its own; `status` says how far it is,
and everything else waits for it.
"""

from __future__ import annotations

import logging
import threading
from collections.abc import Callable
from concurrent.futures import Future, InvalidStateError
from contextlib import suppress
from dataclasses import replace
from pathlib import Path

from llm_core.backends.backend import LoadStatus
from llm_core.backends.loaded_model import LoadedModel, LocalSubmission
from llm_core.backends.local_vectors import LoadedEmbedder, VectorSubmission
from llm_core.backends.local_vocabulary import LocalVocabulary
from llm_core.backends.raw_prompt import raw_prompt
from llm_core.backends.room import Room, WholeMachine
from llm_core.chat.changing_prompts import ChangingPrompts
from llm_core.chat.chat import Chat
from llm_core.chat.reply import RawTranslator, ReplyTranslator
from llm_core.completion_request import AnyRequest, CompletionRequest
from llm_core.cores import default_threads
from llm_core.embedding import VectorRequest
from llm_core.engine.capacity import context_tokens
from llm_core.engine.embedder import Embedder, EmbedderOptions
from llm_core.engine.engine import Engine, all_kept
from llm_core.engine.facts import EngineOptions, EngineStats
from llm_core.engine.kv.state_path import state_folder
from llm_core.engine.llama.library import uses_gpu
from llm_core.engine.llama.model import Model
from llm_core.engine.llama.prepared import FORM, folder_of, prepared_file
from llm_core.engine.sequence import EngineEvent, GenerationRequest
from llm_core.engine.texts import TextsEvent
from llm_core.engine.turns import TURNS
from llm_core.errors import EngineClosed, InvalidRequest, LLMError, ModelError, SettingsError
from llm_core.lora import adapter_set
from llm_core.models.fit import context_of, footprint_of, longest_text, longest_that_fits, why_too_large
from llm_core.models.header import ModelHeader, read_model_header
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
_CLOSED_MEANWHILE = "The client was closed while the model was downloaded."
_FETCH_END_SECONDS = 1.0  # longest wait of a closing client for a download to notice


class LocalBackend:
    """One model in this process, loaded at most once.

    Args:
        settings: Which model, and how it is served.
        room: The memory that it may have.
        is_kept: As of `Engine`.
    """

    def __init__(
        self,
        settings: Settings,
        room: Room | None = None,
        is_kept: Callable[[str, str], bool] = all_kept,
    ) -> None:
        self._settings, self._room, self._is_kept = settings, room or WholeMachine(), is_kept
        self._lock = threading.Lock()
        self._thread: threading.Thread | None = None
        self._info: Future[ModelInfo] = Future()
        self._loaded: LoadedModel | LoadedEmbedder | None = None
        self._status = LoadStatus("idle", 0.0, "The model is not loaded yet.")
        self._model: Model | None = None
        self._notice = ""
        self._closed = False
        self._is_fetching = True  # until the file is here
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
        """The chat model where it is ready, else None; never waits."""
        return self._loaded if isinstance(self._loaded, LoadedModel) else None

    def submit(self, request: AnyRequest, sink: Sink[EngineEvent]) -> LocalSubmission:
        """Makes the prompt and hands it to the engine; waits until the model is loaded.

        Raises:
            LLMError: The model cannot be loaded, or the request is refused.
        """
        loaded = self._wait()
        engine = loaded.engine
        if isinstance(request, CompletionRequest):
            generation, translator = self._complete(request, loaded), RawTranslator()
            return LocalSubmission(translator, engine, engine.submit(generation, sink))
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

    def _complete(self, request: CompletionRequest, loaded: LoadedModel) -> GenerationRequest:
        prompt = raw_prompt(request, loaded.engine.model, limit_tokens=loaded.engine.context_tokens)
        return GenerationRequest(
            prompt=prompt,
            sampling=request.sampling,
            max_tokens=request.max_tokens,
            timeout=request.timeout,
            new_tokens=len(prompt),  # what of a raw prompt was there before, nobody says
            stop=request.stop,
            owner=request.owner,
            adapters=adapter_set(request.lora, self._settings.lora),
        )

    def embed(self, request: VectorRequest, sink: Sink[TextsEvent]) -> VectorSubmission:
        """Makes tokens of the texts and hands them to the embedder; waits until the model is loaded.

        Raises:
            LLMError: The model cannot be loaded, or the request is refused.
        """
        self.start().result()
        loaded = self._loaded
        if not isinstance(loaded, LoadedEmbedder):
            raise InvalidRequest("This model makes no vectors.", param="model")
        return loaded.submit(request, sink)

    def count_tokens(self, request: ChatRequest) -> int:
        loaded = self._wait()
        return loaded.chat.count_tokens(request, shared_system={self._settings.system_prompt})

    def vocabulary(self, model: str = "") -> LocalVocabulary:
        loaded = self._wait()
        return LocalVocabulary(loaded.engine.model, loaded.chat)

    def stats(self) -> EngineStats | None:
        match self._loaded:
            case LoadedModel(engine=engine):
                return engine.stats()
            case LoadedEmbedder(embedder=embedder):
                return embedder.stats()
        return None

    def also_has(self) -> tuple[str, ...]:
        return ()

    def clear_cache(self) -> None:
        self.start().result()
        if (loaded := self.loaded()) is not None:
            loaded.engine.clear_cache()

    def forget(self, owner: str, session: str) -> None:
        if (loaded := self.loaded()) is not None:
            loaded.engine.forget(owner, session)

    def _wait(self) -> LoadedModel:
        """
        Raises:
            LLMError: The model cannot be loaded, or is no chat model.
        """
        self.start().result()
        if (loaded := self.loaded()) is None:
            raise InvalidRequest("This model cannot write.", param="model")
        return loaded

    def close(self) -> None:
        """Stops the engine and frees the model. A load under way is waited for, a download is broken off.

        A download may hang in the network. Its thread is left behind: what came is kept, and it loads nothing any more.
        """
        with self._lock:
            already, self._closed = self._closed, True
            thread, is_fetching = self._thread, self._is_fetching
        if already:
            return
        if thread is not None:
            thread.join(_FETCH_END_SECONDS if is_fetching else None)
            if thread.is_alive():
                self._fail(EngineClosed(_CLOSED_MEANWHILE))
                return
            if (ready := self._loaded) is not None:
                ready.close()
        if self._model is not None:
            self._model.close()

    def _load(self) -> None:
        try:
            loaded = self._make()
        except EngineClosed as error:  # nothing has gone wrong
            self._fail(error)
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
        with suppress(InvalidStateError):  # whoever closed has not waited for this thread
            self._info.set_exception(error)

    def _make(self) -> LoadedModel | LoadedEmbedder:
        self._status = LoadStatus("loading", 0.0, "Looking for the model.")
        resolved = self._resolve()
        with self._lock:
            if self._closed:
                raise EngineClosed(_CLOSED_MEANWHILE)
            self._is_fetching = False
        with self._room.loading():
            return self._load_resolved(resolved)

    def _load_resolved(self, resolved: ResolvedModel) -> LoadedModel | LoadedEmbedder:
        settings = self._settings
        threads = settings.threads or default_threads()
        header = read_model_header(resolved.path)
        if header.task != "chat":
            return self._load_embedder(resolved, header, threads)
        fitting = self._reserve_for(resolved.path, header)
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
        wanted = context_tokens(model, wanted=self._wanted, slots=settings.parallel, kv_type=settings.kv_type)
        context = min(wanted, fitting)
        host_bytes = min(settings.kv_host_mb * _MIB, self._room.most // 2)
        self._room.reserve(host_bytes, self._show_waiting)
        options = EngineOptions(
            slots=settings.parallel,
            context_tokens=context,
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
        compiler = ConstraintCompiler(model)
        if TURNS.is_idle:  # else the streams of other models would stand still meanwhile
            compiler.make_tables()
        engine = Engine(model, options, self._is_kept)
        info = replace(info, context_tokens=engine.context_tokens)
        return LoadedModel(info, chat, compiler, engine)

    def _load_embedder(self, resolved: ResolvedModel, header: ModelHeader, threads: int) -> LoadedEmbedder:
        settings = self._settings
        if settings.lora:
            raise SettingsError(f"{resolved.path.name} makes vectors or ranks, and has no adapters. Leave lora out.")
        longest = longest_text(header, self._wanted)
        if not uses_gpu(settings.gpu_layers):  # whose memory is not known here
            longest, need = longest_that_fits(resolved.path, header, longest, self._room.most)
            self._room.reserve(need.total, self._show_waiting)
        self._model = model = self._load_file(resolved.path)
        options = EmbedderOptions(
            longest=longest,
            requests=settings.parallel,
            queue_limit=settings.queue_limit,
            threads=threads,
            step_seconds=settings.step_ms / 1e3,
        )
        return LoadedEmbedder(describe(model, resolved), model, Embedder(model, options))

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

    def _reserve_for(self, path: Path, header: ModelHeader) -> int:
        """Has room made for a model.

        Returns:
            The tokens of context that there is room for.

        Raises:
            ModelError: There is none, whoever leaves; the message says what would fit.
        """
        settings = self._settings
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
            raise EngineClosed(_CLOSED_MEANWHILE)
        self._status = LoadStatus("downloading", done, message)

    def _show_loading(self, done: float) -> None:
        self._status = LoadStatus("loading", done, f"Loading the model: {done:.0%}")
