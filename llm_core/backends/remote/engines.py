"""The engines behind `LLM_SERVER_URL`: which of them answer, what they serve, and which has the least to do.

All of it lives on one event loop and is touched by nothing else, but for the few facts that are read from outside.
"""

from __future__ import annotations

import asyncio
import logging
from collections.abc import AsyncIterator, Callable, Iterable, Mapping
from contextlib import asynccontextmanager, suppress
from dataclasses import dataclass
from pathlib import PurePath
from typing import Any, get_args
from urllib.parse import urlsplit

import httpx2

from llm_core.backends.remote.errors import EngineFault, fault_of
from llm_core.errors import InvalidRequest
from llm_core.models.info import ModelInfo
from llm_core.task import Task

log = logging.getLogger(__name__)
logging.getLogger("httpx2").setLevel(logging.WARNING)  # it would tell of each request, and of each look

CONNECT_SECONDS = 10.0
PROBE_SECONDS = 10.0  # between two probes of an engine that answers
PROBE_DOWN_SECONDS = 1.0  # and of one that does not
PROBE_TIMEOUT_SECONDS = 10.0  # an engine that takes longer to name its model, and makes no reply meanwhile, is down
CONNECTIONS = 1000
QUESTION_SECONDS = 60.0  # for an answer beside the replies
_QUESTION = httpx2.Timeout(QUESTION_SECONDS, connect=CONNECT_SECONDS)
_NO_SUCH_ROUTE = frozenset({404, 405, 501})
_NO_LIMIT = httpx2.Timeout(None, connect=CONNECT_SECONDS)  # how long a reply may take is the request's own business


@dataclass(slots=True)
class Engine:
    """One engine, as it was last seen.

    Attributes:
        name: For people: its address without what is secret or the same for all.
        model: What to ask for, by the engine's own name for it; None until it has answered.
        others: What else it could be asked for.
        in_flight: Requests that it has.
        down: Why it is left out; None while it answers.
        knows_tools: What its model is told of tools reaches it; else they have to stand in the text.
        ignores_choice: It has answered with text where a call was demanded, since it began to answer, or must.
    """

    url: str
    name: str
    model: str | None = None
    in_flight: int = 0
    others: tuple[str, ...] = ()
    down: str | None = "it has not answered yet"
    knows_tools: bool = True
    ignores_choice: bool = False

    @property
    def api(self) -> str:
        """Where its routes are."""
        return self.url if urlsplit(self.url).path.endswith("/v1") else f"{self.url}/v1"


class Engines:
    """All engines.

    Args:
        wanted: The model to ask for where an engine has it; else the first of those that it has.
        on_answer: Is told what an engine serves whenever it answers after a time.
    """

    def __init__(
        self, urls: Iterable[str], token: str | None, *, wanted: str, on_answer: Callable[[ModelInfo], None]
    ) -> None:
        self._engines = [Engine(url.rstrip("/"), urlsplit(url).netloc) for url in urls]
        self._wanted, self._on_answer = wanted, on_answer
        self._connections = httpx2.AsyncClient(
            headers={"Authorization": f"Bearer {token}"} if token else {},
            timeout=_NO_LIMIT,
            limits=httpx2.Limits(
                max_connections=CONNECTIONS, max_keepalive_connections=CONNECTIONS, keepalive_expiry=30
            ),
            event_hooks={"response": [_read_refusal]},
        )
        self._changed = asyncio.Event()
        self._probes: list[asyncio.Task[None]] = []

    def watch(self) -> None:
        """Begins to look after the engines."""
        self._probes = [asyncio.create_task(self._watch(engine)) for engine in self._engines]

    async def close(self) -> None:
        for probe in self._probes:
            probe.cancel()
        await asyncio.gather(*self._probes, return_exceptions=True)
        await self._connections.aclose()

    @property
    def in_flight(self) -> int:
        return sum(engine.in_flight for engine in self._engines)

    @property
    def others(self) -> tuple[str, ...]:
        """Names of models that the engines have beside those that are asked for."""
        return tuple(sorted({name for engine in self._engines for name in engine.others}))

    @property
    def are_down(self) -> bool:
        """Whether none of them answers."""
        return all(engine.down for engine in self._engines)

    def summary(self) -> str:
        """How they are, in a sentence for people."""
        down = [f"{engine.name}: {engine.down}" for engine in self._engines if engine.down]
        if not self.are_down:
            names = ", ".join(sorted({model_name(engine.model or "") for engine in self._engines if not engine.down}))
            return f"{names} is ready." + (f" Left out until it answers again: {'; '.join(down)}." if down else "")
        return f"No engine answers, and it is tried again and again. {'; '.join(down)}."

    # ── choosing ─────────────────────────────────────────────────────────────────────────────────────────────────────

    def pick(self, but: Iterable[Engine] = ()) -> Engine | None:
        """The one with the least to do of those that answer, and rather none of `but`; None where none answers."""
        tried = list(but)
        up = [engine for engine in self._engines if not engine.down]
        return min(up, key=lambda engine: (engine in tried, engine.in_flight), default=None)

    async def wait(self, seconds: float) -> None:
        """Waits until an engine that was down answers, at most so long."""
        self._changed.clear()
        with suppress(TimeoutError):
            await asyncio.wait_for(self._changed.wait(), seconds)

    @asynccontextmanager
    async def request(self, engine: Engine, path: str, body: Mapping[str, Any]) -> AsyncIterator[httpx2.Response]:
        """Sends a request, which counts as in flight meanwhile; leaving closes its response.

        Args:
            path: Below the engine's `/v1`.

        Raises:
            httpx2.HTTPError: It is refused, or there is nobody.
        """
        engine.in_flight += 1
        try:
            async with self._connections.stream("POST", f"{engine.api}{path}", json=body) as response:
                response.raise_for_status()
                yield response
        finally:
            engine.in_flight -= 1

    async def ask(self, engine: Engine, path: str, body: Mapping[str, Any]) -> Any:
        """The answer to a question beside the replies, such as llama-server's `/tokenize`.

        Raises:
            InvalidRequest: The engine has no such route.
            httpx2.HTTPError, ValueError: It refuses, there is nobody, or it is no answer.
        """
        url = f"{engine.api.removesuffix('/v1')}{path}"
        response = await self._connections.post(url, json={"model": engine.model} | dict(body), timeout=_QUESTION)
        if response.status_code in _NO_SUCH_ROUTE:
            raise InvalidRequest(f"The engine at {engine.name} has no {path}; llama-server has, and this app.")
        response.raise_for_status()
        return response.json()

    def mark_down(self, engine: Engine, why: str) -> None:
        """Leaves an engine out until it answers again."""
        if not engine.down:
            log.warning("the engine at %s is left out until it answers again: %s", engine.name, why)
        engine.down = why.rstrip(".")

    # ── looking ──────────────────────────────────────────────────────────────────────────────────────────────────────

    async def _watch(self, engine: Engine) -> None:
        while True:
            await self._probe(engine)
            await asyncio.sleep(PROBE_DOWN_SECONDS if engine.down else PROBE_SECONDS)

    async def _probe(self, engine: Engine) -> None:
        """Asks an engine what it serves."""
        try:
            served = await self._ask(engine)
        except EngineFault as fault:
            # One that is busy making replies may well take its time; what breaks under them is seen by themselves.
            if not engine.in_flight:
                self.mark_down(engine, fault.error.message)
            return
        model = self._choose(served)
        info = remote_info(engine.url, model)
        engine.others = tuple(str(each["id"]) for each in served if each is not model)
        if engine.down:  # it may have another model, or other options
            engine.knows_tools = await self._knows_tools(engine)
            engine.ignores_choice = not engine.knows_tools
            log.info("the engine at %s answers; it serves %s", engine.name, info.name)
        engine.model, engine.down = str(model["id"]), None
        self._on_answer(info)
        self._changed.set()

    async def _ask(self, engine: Engine) -> list[dict[str, Any]]:
        """The models that it serves, as its list has them."""
        try:
            async with asyncio.timeout(PROBE_TIMEOUT_SECONDS):
                response = await self._connections.get(f"{engine.api}/models")
                if response.status_code == 404:  # an engine of one model need not list it
                    return [{"id": engine.name}]
                response.raise_for_status()
                listed: list[dict[str, Any]] = response.json()["data"]
                self._choose(listed)  # a list without a model fails here, and is told as what it is
                return listed
        except TimeoutError:
            raise fault_of(httpx2.ConnectTimeout("no answer"), engine.name) from None
        except Exception as error:
            raise fault_of(error, engine.name) from None

    async def _knows_tools(self, engine: Engine) -> bool:
        """Whether its model's template does. llama-server says so, and drops tools silently where it does not; of any
        other engine it is taken for granted."""
        try:
            async with asyncio.timeout(PROBE_TIMEOUT_SECONDS):
                response = await self._connections.get(f"{engine.api.removesuffix('/v1')}/props")
                told = response.json()["chat_template_caps"]
                return bool(told["supports_tools"] or told["supports_tool_calls"])
        except (TimeoutError, httpx2.HTTPError, ValueError, LookupError, TypeError):
            return True

    def _choose(self, served: list[dict[str, Any]]) -> dict[str, Any]:
        return next((model for model in served if model["id"] == self._wanted), served[0])


def remote_info(url: str, model: Mapping[str, Any]) -> ModelInfo:
    """What is known of an engine's model: its name, and where the engine says so the context that it reads."""
    meta = model.get("meta")
    trained = meta.get("n_ctx_train") if isinstance(meta, Mapping) else None  # llama-server
    served = model.get("max_model_len")  # vLLM
    context = served or trained
    return ModelInfo(
        name=model_name(str(model["id"])),
        source=url,
        path=None,
        revision=None,
        architecture="unknown",
        quantization="unknown",
        parameters=0,
        size_bytes=0,
        context_train=context if isinstance(context, int) else 0,
        context_tokens=served if isinstance(served, int) else 0,
        license=None,
        has_chat_template=True,
        can_switch_thinking=False,
        task=_task_of(model.get("task")),
    )


def _task_of(told: Any) -> Task | None:
    """What another copy of this app says that its model is for; other engines say nothing of it."""
    return next((task for task in get_args(Task) if task == told), None)


def model_name(id: str) -> str:
    """A model's name for people: llama-server calls one that it has as a file after the file, with its whole path."""
    return PurePath(id.replace("\\", "/")).stem if id.endswith(".gguf") else id


async def _read_refusal(response: httpx2.Response) -> None:
    """A stream's body is not read by itself; a refusal's says why."""
    if response.is_error:
        await response.aread()
