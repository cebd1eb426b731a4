"""`LLMClient`: the one thing that every doorway calls, and what Python programs import.

Its methods that make a reply are `ChatClient`'s. All are safe from any thread and any event loop.
"""

from __future__ import annotations

import asyncio
import atexit
import threading
from collections.abc import AsyncGenerator, Callable, Generator, Iterable, Mapping
from contextlib import aclosing, closing
from functools import partial
from types import TracebackType
from typing import Any, Unpack

from llm_core.attachments.rendering import told
from llm_core.backends.backend import Backend, LoadStatus
from llm_core.backends.catalog import Catalog
from llm_core.backends.computation import Computation
from llm_core.backends.generation import Generation, Watcher
from llm_core.backends.making import pool_of
from llm_core.backends.member import Member
from llm_core.backends.pool import Pool
from llm_core.backends.vocabulary import Vocabulary
from llm_core.cancellation import Cancellation
from llm_core.chat_client import Asked, ChatClient, Conversation, SessionTurn
from llm_core.complete_client import CompleteClient, RawPrompt
from llm_core.completion_request import AnyRequest, CompletionRequest, build_completion
from llm_core.embedding import Floats, VectorRequest, checked
from llm_core.embedding_client import EmbeddingClient, fields_of
from llm_core.engine.facts import EngineStats
from llm_core.errors import InvalidRequest, QueueFull, ShuttingDown
from llm_core.events import ChatEvent, Done
from llm_core.lora import adapter_set
from llm_core.messages import Message, MessageLike
from llm_core.models.info import ModelInfo
from llm_core.options import RequestOptions, given
from llm_core.presets.presets import Presets
from llm_core.reading import aread, read
from llm_core.request import ChatRequest, build_request
from llm_core.sessions.sessions import Sessions
from llm_core.settings import Settings
from llm_core.tools.calls import DEFAULT_RESULT_CHARS
from llm_core.tools.loop import arun_loop, run_loop, runs_tools
from llm_core.tools.python_tool import checked_tools
from llm_core.tools.registry import ToolRegistry

STOP_SECONDS = 10.0  # longest wait for a stopped reply of a session to be saved; it takes a step of the engine


class LLMClient(ChatClient, CompleteClient, EmbeddingClient):
    """A local model for Python programs.

    Nothing is loaded until the first call that needs the model, or `start()`.

    Args:
        settings: None reads the environment.
        backend: Makes the replies. None takes the one that the settings ask for: the engine in this process, or engines
            elsewhere. It is closed with the client.

    Raises:
        SettingsError: An environment variable has a value that cannot be used.

    Example:
        ```python
        with LLMClient() as client:
            for piece in client.generate_stream([{"role": "user", "content": "Hello"}]):
                print(piece, end="", flush=True)
        ```

    Every request takes the same keyword options (`llm_core.options`), each with a default from the settings;
    `llm_core.request` says what they mean. Where `tools` are functions of yours (`llm_core.tools.python_tool.tool`),
    what the model calls is run, and the reply goes on with the results; `max_steps` and `on_tool_call` are for those.
    A `cancellation` stops a conversation's reply from any thread.

    And every request can raise:

        InvalidRequest: A message or an option is not allowed; the message names it.
        ContextOverflow: The conversation is longer than the context and `overflow` is "error".
        QueueFull: As many requests wait already as may.
        ModelError, SettingsError: The model could not be loaded.
        EngineFailed, SequenceFailed, EngineClosed: The engine failed, or was closed, under the request.
    """

    def __init__(self, settings: Settings | None = None, *, backend: Backend[Any] | None = None) -> None:
        self.settings = settings if settings is not None else Settings.load()
        self._models = pool_of(self.settings, backend, lambda owner, session: self._sessions.has(session, owner=owner))
        self._catalog = Catalog(self._models, self.settings)
        self._tools = ToolRegistry(self.settings)
        self._watch: tuple[Callable[[], Watcher], ...] = ()
        self._refusing = False
        self._sessions = Sessions(self.settings, self._request, self._reply, self._models.forget)
        self._presets = Presets(self.settings, self._sessions.engine)
        atexit.register(self.close)  # a thread inside llama.cpp must not outlive the interpreter

    # ── the model ────────────────────────────────────────────────────────────────────────────────────────────────────

    def start(self) -> None:
        """Begins to load the model in the background and returns at once."""
        self._models.start_pinned()

    @property
    def models(self) -> Pool:
        """The models that are served, the default one first."""
        return self._models

    @property
    def catalog(self) -> Catalog:
        """All models that can be chosen: served, on this machine, being fetched."""
        return self._catalog

    @property
    def tools(self) -> ToolRegistry:
        """The tools that are run here for whoever may use them."""
        return self._tools

    @property
    def presets(self) -> Presets:
        """Named sets of what is set for a conversation: the operator's, and everybody's own."""
        return self._presets

    def status(self) -> LoadStatus:
        """How far loading of the default model is. Never waits."""
        return self._models.status()

    def wait_ready(self, timeout: float | None = None) -> ModelInfo:
        """Waits until the default model is loaded and says what it is.

        Args:
            timeout: Seconds; None waits as long as it takes.

        Raises:
            ModelError, SettingsError: It cannot be loaded; the message says why.
            EngineUnreachable: No engine elsewhere has answered for 15 seconds; ask again, they are still looked for.
            TimeoutError: It took longer than `timeout`.
        """
        return self._models.info() or self._models.loaded().result(timeout)

    async def await_ready(self) -> ModelInfo:
        """`wait_ready` for event loops."""
        known = self._models.info()
        return known if known is not None else await asyncio.wrap_future(self._models.loaded())

    def stats(self) -> EngineStats | None:
        """A look at the engines together; None while no model is loaded."""
        return self._models.stats()

    def count_tokens(self, messages: Iterable[MessageLike], **options: Unpack[RequestOptions]) -> int:
        """Tokens of the prompt that a conversation makes, with its system prompt and tools; waits for the model.

        Raises:
            LLMError: The request is refused, or its model's engine does not count.
        """
        return self._models.count_tokens(self._request(messages, options))

    def vocabulary(self, model: str = "") -> Vocabulary:
        """A model's texts and tokens: `tokenize`, `detokenize`. Waits for the model.

        Raises:
            LLMError: There is no such model, or it cannot be loaded.
        """
        return self._models.vocabulary(model)

    def apply_template(self, messages: Iterable[MessageLike], **options: Unpack[RequestOptions]) -> str:
        """The prompt that a conversation makes, as text; waits for the model.

        Raises:
            LLMError: The request is refused, or its model's engine does not tell.
        """
        request = self._request(messages, options)
        return self._models.vocabulary(request.model).apply_template(request)

    def clear_cache(self) -> None:
        """Forgets every cached prefix."""
        self._models.clear_cache()

    def watch(self, make_watcher: Callable[[], Watcher]) -> None:
        """Has every reply reported from now on, whoever asked for it.

        Args:
            make_watcher: Called once for each generation: a reply with tools that run here has several. What it returns
                is called with each of its events, by the thread or the event loop that reads them, and must be quick.
        """
        self._watch = (*self._watch, make_watcher)

    def refuse_new(self) -> None:
        """From now on requests are refused with `ShuttingDown`; what runs may end."""
        self._refusing = True

    def close(self) -> None:
        """Ends running requests with `EngineClosed` and frees the model. Calling it again does nothing."""
        atexit.unregister(self.close)
        self._catalog.close()
        self._models.close()
        self._sessions.close()
        self._tools.close()

    def __enter__(self) -> LLMClient:
        return self

    def __exit__(self, kind: type[BaseException] | None, error: BaseException | None, at: TracebackType | None) -> None:
        self.close()

    # ── sessions ─────────────────────────────────────────────────────────────────────────────────────────────────────

    @property
    def sessions(self) -> Sessions:
        """What was said: list, rename, delete sessions; begin a turn, and come back to its reply."""
        return self._sessions

    def session_history(self, session_id: str, *, owner: str = "") -> tuple[Message, ...]:
        return self._sessions.get(session_id, owner=owner).messages()

    def delete_session(self, session_id: str, *, owner: str = "") -> None:
        self._sessions.delete(session_id, owner=owner)

    # ── the core ─────────────────────────────────────────────────────────────────────────────────────────────────────

    def _events(self, asked: Asked, *, in_pieces: bool) -> Generator[ChatEvent]:
        """Those of a conversation; a bad one is refused here, not at the first event."""
        return self._turn(asked) if isinstance(asked, SessionTurn) else self._reply(*self._checked(asked))

    def _aevents(self, asked: Asked, *, in_pieces: bool) -> AsyncGenerator[ChatEvent]:
        return self._aturn(asked) if isinstance(asked, SessionTurn) else self._areply(*self._checked(asked))

    def _turn(self, turn: SessionTurn) -> Generator[ChatEvent]:
        reply = self._sessions.begin(turn.session_id, turn.message, **turn.options)
        try:
            for _, event in reply.events():
                yield event
        finally:
            reply.cancel()
            reply.wait(STOP_SECONDS)

    async def _aturn(self, turn: SessionTurn) -> AsyncGenerator[ChatEvent]:
        reply, left = None, Cancellation()
        begin = partial(self._sessions.begin, turn.session_id, turn.message, **turn.options)
        try:
            reply = await asyncio.to_thread(left.begin, begin)
            async with aclosing(reply.aevents()) as events:
                async for _, event in events:
                    yield event
        finally:
            left.cancel()
            if reply is not None:
                await asyncio.to_thread(reply.wait, STOP_SECONDS)

    def _checked(self, asked: Conversation) -> tuple[ChatRequest, Cancellation]:
        options: dict[str, Any] = {**asked.options}
        cancellation = options.pop("cancellation", None) or Cancellation()
        return self._request(asked.messages, options), cancellation

    def _request(self, messages: Iterable[MessageLike], options: Mapping[str, Any]) -> ChatRequest:
        """The checked request: options that are None or absent take the settings' values."""
        chosen = given(options)
        if "tools" in chosen:
            chosen["tools"] = checked_tools(chosen["tools"])
        settings = self._settings_of(chosen)
        request = build_request(messages, **(_defaults(settings) | chosen))
        _check_lora(request, settings)
        request = request.model_copy(update={"messages": tuple(told(request.messages))})
        if request.messages[0].role == "system" or not settings.system_prompt:
            return request
        system = Message(role="system", content=settings.system_prompt)
        return request.model_copy(update={"messages": (system, *request.messages)})

    def _completed(self, prompt: RawPrompt, options: Mapping[str, Any]) -> tuple[CompletionRequest, Cancellation]:
        chosen = given(options)
        cancellation = chosen.pop("cancellation", None) or Cancellation()
        settings = self._settings_of(chosen)
        request = build_completion(prompt, **(_defaults(settings) | chosen))
        _check_lora(request, settings)
        return request, cancellation

    def _completion(self, prompt: RawPrompt, options: Mapping[str, Any]) -> Generator[ChatEvent]:
        return self._stream(*self._completed(prompt, options))

    def _acompletion(self, prompt: RawPrompt, options: Mapping[str, Any]) -> AsyncGenerator[ChatEvent]:
        return self._astream(*self._completed(prompt, options))

    def _settings_of(self, chosen: Mapping[str, Any]) -> Settings:
        """Those of the model that is asked for, where it takes one more request."""
        member = self._models.member(chosen.get("model", ""))
        self._models.check_task(member, "chat")
        self._check_room(member)
        return member.settings

    def _check_room(self, member: Member) -> None:
        """Refuses before the prompt is made, or a message saved, for nothing. Whoever comes in the very moment in which
        the queue fills up is refused by the engine itself."""
        if self._refusing:
            raise ShuttingDown("The server is about to end. Try again in a while.")
        stats = member.stats()
        if stats is not None and stats.running + stats.waiting >= stats.slots + self.settings.queue_limit:
            raise QueueFull("As many requests wait already as may. Try again in a few seconds.", retry_after=5)

    def _compute(self, request: type[VectorRequest], fields: dict[str, Any]) -> tuple[Floats, Done]:
        return Computation(self._models, self._vector_request(request, fields)).run()

    async def _acompute(self, request: type[VectorRequest], fields: dict[str, Any]) -> tuple[Floats, Done]:
        return await Computation(self._models, self._vector_request(request, fields)).arun()

    def _vector_request(self, kind: type[VectorRequest], fields: dict[str, Any]) -> VectorRequest:
        request = checked(kind, fields_of(fields, self.settings.timeout))
        self._check_room(self._models.member_for(request.model, *request.tasks))
        return request

    def _reply(self, request: ChatRequest, cancellation: Cancellation) -> Generator[ChatEvent]:
        """The whole reply: one generation, or as many as it takes with tools that run here."""
        return self._run(request, cancellation) if runs_tools(request) else self._stream(request, cancellation)

    def _areply(self, request: ChatRequest, cancellation: Cancellation) -> AsyncGenerator[ChatEvent]:
        return self._arun(request, cancellation) if runs_tools(request) else self._astream(request, cancellation)

    def _run(self, request: ChatRequest, cancellation: Cancellation) -> Generator[ChatEvent]:
        served = self._tools.for_request(request)
        with closing(run_loop(request, served, cancellation, self._stream, result_chars=self._result_chars)) as events:
            yield from events

    async def _arun(self, request: ChatRequest, cancellation: Cancellation) -> AsyncGenerator[ChatEvent]:
        served = await self._tools.afor_request(request)
        async with aclosing(
            arun_loop(request, served, cancellation, self._astream, result_chars=self._result_chars)
        ) as events:
            async for event in events:
                yield event

    @property
    def _result_chars(self) -> int:
        """The longest result of a tool: a character for a token of the context, which is a quarter of what fits."""
        return self.settings.context_tokens or DEFAULT_RESULT_CHARS

    def _stream(self, request: AnyRequest, cancellation: Cancellation) -> Generator[ChatEvent]:
        """One generation."""
        return read(Generation(self._models, request, cancellation, self._watch))

    def _astream(self, request: AnyRequest, cancellation: Cancellation) -> AsyncGenerator[ChatEvent]:
        return aread(Generation(self._models, request, cancellation, self._watch))


def _defaults(settings: Settings) -> dict[str, Any]:
    """The options that every request has."""
    defaults: dict[str, Any] = {
        "temperature": settings.temperature,
        "top_p": settings.top_p,
        "max_tokens": settings.max_tokens,
        "timeout": settings.timeout,
    }
    return defaults | ({"logit_bias": settings.logit_bias} if settings.logit_bias else {})


def _check_lora(request: AnyRequest, settings: Settings) -> None:
    """Refuses adapters that the model does not have, before a message is saved for nothing."""
    if request.lora and settings.server_url:
        raise InvalidRequest(
            "lora: this model runs on an engine elsewhere, where adapters cannot be chosen from here. Leave it out.",
            param="lora",
        )
    adapter_set(request.lora, settings.lora)


_client: LLMClient | None = None
_client_lock = threading.Lock()


def get_llm_client() -> LLMClient:
    """The process's one shared client, made on first use with the settings of the environment.

    Raises:
        SettingsError: An environment variable has a value that cannot be used.
    """
    global _client
    with _client_lock:
        if _client is None:
            _client = LLMClient()
        return _client
