"""The room in which systems are measured: the sizes, the model that all run, and each system, opened when needed."""

from __future__ import annotations

import asyncio
import shutil
import sys
import tempfile
from collections.abc import AsyncIterator, Callable, Mapping
from contextlib import AbstractAsyncContextManager, AsyncExitStack, asynccontextmanager
from dataclasses import dataclass, field
from functools import cached_property, partial
from pathlib import Path
from types import TracebackType
from typing import Any

from bench.bare import BareLoop
from bench.peers import Peers
from bench.servers import Server, app_server, batching_server, llama_cpp_server, llama_server
from bench.systems import APP, LLAMA_SERVER, EngineInProcess, HighLevelLlama, OpenAIServer, System
from bench.workload import SYSTEM_PROMPT
from llm_core.client import LLMClient
from llm_core.cores import default_threads
from llm_core.engine.llama.model import Model
from llm_core.settings import Settings, variable_of


@dataclass(frozen=True, slots=True)
class Sizes:
    """How much is measured. The defaults take about an hour on two cores with the bundled model.

    Attributes:
        users: Numbers of users who chat at once.
        rounds: How often each system has its turn.
        turns: Questions of each user.
        reply_tokens: Longest reply of the users' chats.
        context_tokens: Context of one request, for every system.
        stream_rounds, stream_tokens: Runs and length of the lone stream.
        book_tokens: The long prompt that arrives among running streams.
        dropped_tokens: The long prompt whose reader leaves.
        repeats: Repetitions of what takes a moment, such as a stop.
        requests: Short requests before and after the two looks at the memory.
        held_rounds, held_tokens: Runs of the streams that are held to a schema, and their length.
        http_rounds, http_replies, http_tokens: Runs of each way to the engine, replies of each reader in one, and the
            length of the first; the others are shorter.
        stall_seconds: How long a reader reads nothing.
        page_chars, page_rounds: Length of the page's long reply, and how often it is made.
        page_messages: Messages of the long conversation.
        page_loads: How often each page is loaded.
        page_shown, page_listed: Messages on the screen, and conversations in the list.
        ticket_tokens: Longest object under a schema; a whole one has about 90 tokens.
        overflow_context: Context of the conversation that outgrows it.
        overflow_turns, overflow_turn_tokens: Turns after that, and the length of what the user says in each.
        session_tokens: The session that is gone on with after a restart.
        restart_rounds: How often that is done.
        echo_tokens: The text that is to be written once more.
        embed_seconds: How long streams are watched without vectors being made, and meanwhile.
    """

    users: tuple[int, ...] = (1, 4, 8, 16)
    rounds: int = 2
    turns: int = 3
    reply_tokens: int = 48
    context_tokens: int = 5120
    stream_rounds: int = 9
    stream_tokens: int = 160
    book_tokens: int = 4000
    dropped_tokens: int = 3000
    repeats: int = 8
    requests: tuple[int, int] = (100, 1000)
    held_rounds: int = 7
    held_tokens: int = 128
    http_rounds: int = 16
    http_replies: int = 3
    http_tokens: int = 64
    stall_seconds: float = 60.0
    page_chars: int = 17_000
    page_rounds: int = 3
    page_messages: int = 500
    page_loads: int = 9
    page_shown: int = 200
    page_listed: int = 1000
    ticket_tokens: int = 256
    overflow_context: int = 2048
    overflow_turns: int = 20
    overflow_turn_tokens: int = 100
    session_tokens: int = 2000
    restart_rounds: int = 3
    echo_tokens: int = 220
    embed_seconds: float = 30.0


QUICK = Sizes(
    users=(1, 2),
    rounds=1,
    turns=2,
    reply_tokens=8,
    context_tokens=1024,
    stream_rounds=1,
    stream_tokens=24,
    book_tokens=400,
    dropped_tokens=400,
    repeats=2,
    requests=(8, 16),
    held_rounds=1,
    held_tokens=16,
    http_rounds=1,
    http_replies=2,
    http_tokens=16,
    stall_seconds=1.0,
    page_chars=1_500,
    page_rounds=1,
    page_messages=24,
    page_loads=1,
    page_shown=50,
    page_listed=210,
    ticket_tokens=16,
    overflow_context=768,
    overflow_turns=3,
    overflow_turn_tokens=60,
    session_tokens=300,
    restart_rounds=1,
    echo_tokens=60,
    embed_seconds=4.0,
)


@dataclass(frozen=True, slots=True)
class Findings:
    """What a scenario found.

    Attributes:
        figures: One number for each name; those that `bench.targets` knows are printed.
        rows: A table where the scenario has one, a dict for each row.
        raw: Whatever a plot or a doubter needs beside them.
        skipped: Why nothing, or not all, was measured; a sentence.
    """

    figures: dict[str, float] = field(default_factory=dict)
    rows: list[dict[str, Any]] = field(default_factory=list)
    raw: dict[str, Any] = field(default_factory=dict)
    skipped: str = ""


Opening = Callable[[], AbstractAsyncContextManager[System]]
"""Opens a system for as long as a block runs."""


class Lab:
    """Opens systems and keeps what they share.

    A system inside this process is open only while it is measured: libgomp, which runs llama.cpp's CPU threads, halves
    their speed as soon as a process has more of them than there are cores, idle ones counted.

    Args:
        sizes: How much is measured.
        model: The GGUF file that every local system runs.
        out: Folder for what the servers print.
        others: More servers, by name; each is an OpenAI-compatible URL.
        made: The peers that had to be made, where they are to be measured.
    """

    def __init__(self, sizes: Sizes, model: Path, out: Path, others: dict[str, str], made: Peers | None = None) -> None:
        self.sizes = sizes
        self.model = model
        self.made = made
        self.threads = default_threads()
        self.slots: int = Settings.model_fields["parallel"].default
        self.step_seconds = Settings.model_fields["step_ms"].default / 1e3
        self._out = out
        self._other_urls = others
        self._stack = AsyncExitStack()
        self._servers: dict[str, OpenAIServer] = {}
        self._others: list[OpenAIServer] = []

    async def __aenter__(self) -> Lab:
        for name, url in self._other_urls.items():
            server = self._connect(name, url)
            await server.use_first_model()
            self._others.append(server)
        return self

    async def __aexit__(
        self, kind: type[BaseException] | None, error: BaseException | None, at: TracebackType | None
    ) -> None:
        await self._stack.aclose()

    # ── systems ──────────────────────────────────────────────────────────────────────────────────────────────────────

    @asynccontextmanager
    async def engine(self, **settings: object) -> AsyncIterator[EngineInProcess]:
        """(a) The engine through `LLMClient`, in this process, with nothing cached; `settings` are fields of
        `Settings`."""
        client = LLMClient(Settings(**(self._settings() | settings)))
        try:
            await client.await_ready()
            yield EngineInProcess(client)
        finally:
            await asyncio.to_thread(client.close)

    @asynccontextmanager
    async def llama(self) -> AsyncIterator[HighLevelLlama]:
        """(b) `llama_cpp.Llama`, in this process, with nothing cached."""
        with HighLevelLlama(self.model, context_tokens=self.sizes.context_tokens, threads=self.threads) as llama:
            yield llama

    @asynccontextmanager
    async def app(self, **settings: object) -> AsyncIterator[OpenAIServer]:
        """(c) Our app, over HTTP. It stays up from first use to the end; `settings` are fields of `Settings`."""
        name = app_name(settings)
        yield await self._server(name, partial(self.app_process, name.replace(" ", "-"), **settings))

    @asynccontextmanager
    async def llama_cpp_server(self) -> AsyncIterator[OpenAIServer]:
        """(c) `llama_cpp.server`, over HTTP. It stays up from first use to the end."""
        process = partial(
            llama_cpp_server,
            self.model,
            context_tokens=self.sizes.context_tokens,
            threads=self.threads,
            log=self._out / "llama_cpp.server.log",
        )
        yield await self._server("llama_cpp.server", process)

    @asynccontextmanager
    async def llama_server(self) -> AsyncIterator[OpenAIServer]:
        """(d) llama.cpp's own server. It stays up from first use to the end."""
        yield await self._server(LLAMA_SERVER, partial(self.llama_server_process, LLAMA_SERVER))

    @asynccontextmanager
    async def batching_server(self) -> AsyncIterator[OpenAIServer]:
        """(d) The newer server of llama-cpp-python. It stays up from first use to the end."""
        assert self.made is not None
        process = partial(
            batching_server,
            self.made.batching_server,
            self.model,
            context_tokens=self.sizes.context_tokens,
            slots=self.slots,
            threads=self.threads,
            log=self._out / "server.py.log",
        )
        yield await self._server("server.py", process)

    @property
    def logs(self) -> Path:
        """The folder for what servers print."""
        return self._out

    @property
    def peers(self) -> list[Opening]:
        """Servers with as many slots as ours, where `--peers` had them made."""
        return [self.llama_server, self.batching_server] if self.made else []

    @property
    def others(self) -> list[Opening]:
        """The peers, and the servers that were named on the command line."""
        return [*self.peers, *(partial(_kept_open, server) for server in self._others)]

    def apps(self, field: str, off: object) -> list[Opening]:
        """Our app, and once more with a setting off; see `ways`."""
        return [partial(self.app, **settings) for settings in ways(field, off)]

    def bare_loop(self) -> BareLoop:
        """A new bare loop over the low-level API."""
        return BareLoop(self.model, context_tokens=self.sizes.context_tokens, threads=self.threads)

    def app_process(self, name: str, **settings: object) -> AbstractAsyncContextManager[Server]:
        """An app of its own, for as long as a block runs; `settings` are fields of `Settings`."""
        variables = {f"LLM_{field.upper()}": str(value) for field, value in (self._settings() | settings).items()}
        return app_server(variables, self._out / f"{name}.log")

    def llama_server_process(
        self, name: str, *, model: Path | None = None, context_tokens: int | None = None
    ) -> AbstractAsyncContextManager[Server]:
        """A llama-server of its own, for as long as a block runs; the name is that of its log."""
        assert self.made is not None
        return llama_server(
            self.made.llama_server,
            model or self.model,
            context_tokens=context_tokens or self.sizes.context_tokens,
            slots=self.slots,
            threads=self.threads,
            log=self._out / f"{name}.log",
        )

    def _settings(self) -> dict[str, Any]:
        """What our own systems have in common."""
        return {
            "model": str(self.model),
            "context_tokens": self.sizes.context_tokens,
            "threads": self.threads,
            "parallel": self.slots,
            "system_prompt": SYSTEM_PROMPT,
            "rate_limit": "none",
            "data_dir": self._new_folder(),
        }

    def _new_folder(self) -> Path:
        """A folder of its own for each: what one has read must not be found by another, nor by the next run."""
        folder = Path(tempfile.mkdtemp(prefix="data-", dir=self._out))
        self._stack.callback(shutil.rmtree, folder, ignore_errors=True)
        return folder

    # ── what scenarios share ─────────────────────────────────────────────────────────────────────────────────────────

    @cached_property
    def vocabulary(self) -> Model:
        """The model's tokenizer, for prompts of a given length."""
        vocabulary = Model.load(self.model, vocab_only=True)
        self._stack.callback(vocabulary.close)
        return vocabulary

    def say(self, text: str) -> None:
        """Tells whoever waits how far it is."""
        print(text, file=sys.stderr, flush=True)

    async def _server(self, name: str, start: Callable[[], AbstractAsyncContextManager[Server]]) -> OpenAIServer:
        if name not in self._servers:
            server = await self._stack.enter_async_context(start())
            self._servers[name] = self._connect(name, server.url)
        return self._servers[name]

    def _connect(self, name: str, url: str) -> OpenAIServer:
        server = OpenAIServer(name, url)
        self._stack.push_async_callback(server.close)
        return server


def ways(field: str, off: object) -> list[dict[str, object]]:
    """Settings of our app: none, and once more with one of them off, where there is such a setting.

    So what a feature brings stands beside what was without it, in one run.
    """
    return [{}, {field: off}] if field in Settings.model_fields else [{}]


def app_name(settings: Mapping[str, object]) -> str:
    """The name of our app with some settings: `app`, `app LLM_DRAFT=off`."""
    return " ".join([APP, *(f"{variable_of(field)}={value}" for field, value in settings.items())])


@asynccontextmanager
async def _kept_open(server: OpenAIServer) -> AsyncIterator[OpenAIServer]:
    yield server
