"""The way to one MCP server: made on first use, made again after a loss. All of it runs on one event loop."""

from __future__ import annotations

import asyncio
import logging
import os
from collections.abc import AsyncIterator, Coroutine
from contextlib import asynccontextmanager, suppress
from typing import Any, TypeVar

import anyio
import httpx
from mcp import ClientSession, McpError, StdioServerParameters, types
from mcp.client.session import MessageHandlerFnT
from mcp.client.stdio import stdio_client
from mcp.client.streamable_http import streamable_http_client

from llm_core.errors import ToolServerFailed
from llm_core.tools.mcp.results import text_of
from llm_core.tools.mcp.servers import McpServer
from llm_core.tools.runnable import ToolFailed

log = logging.getLogger(__name__)

T = TypeVar("T")

CONNECT_SECONDS = 20.0
PING_SECONDS = 5.0
TELL_SECONDS = 1.0  # for the news that a call was given up to leave
END_SECONDS = 5.0  # for a server to go; the library ends its process after two
RETRY_SECONDS = 10.0  # after a failure it is told at once, for so long, that the server cannot be used
MAX_PAGES = 20
_LOST = (anyio.ClosedResourceError, anyio.BrokenResourceError, anyio.EndOfStream)
_TERMINATED = "Session terminated"  # what the library says where a server over HTTP does not know the session any more


class _Lost(Exception):
    """The connection has gone.

    Attributes:
        unheard: Whether what was asked never reached the server, so that it may be asked again.
    """

    def __init__(self, reason: str, *, unheard: bool) -> None:
        super().__init__(reason)
        self.unheard = unheard


class Connection:
    """One server. What it is asked first connects to it."""

    def __init__(self, server: McpServer) -> None:
        self._server = server
        self._link: _Link | None = None
        self._opening = asyncio.Lock()
        self._suspect = False  # it did not answer in time: it is asked whether it is there before it is asked anything
        self._failure, self._failed_at = "", 0.0
        self._tools: tuple[types.Tool, ...] | None = None

    async def tools(self) -> tuple[types.Tool, ...]:
        """What the server offers, as it was when it was asked last.

        Raises:
            ToolServerFailed: It cannot be used; the message says why.
        """
        for last_try in (False, True):
            try:
                link = await self._open()
                if self._tools is None:
                    self._tools = await self._within(CONNECT_SECONDS, link.during(_list(link.session)))
                return self._tools
            except (_Lost, McpError, TimeoutError) as error:
                await self._drop()
                if last_try or not isinstance(error, _Lost):
                    raise self._failed(_reason(error)) from None
        raise AssertionError("the last try returns or raises")

    async def call(self, name: str, arguments: dict[str, Any]) -> str:
        """What the model is told of a call.

        Raises:
            ToolFailed: It failed; the message says why.
        """
        for last_try in (False, True):
            try:
                link = await self._open()
                work = link.during(link.session.call_tool(name, arguments))
                result = await self._within(self._server.timeout, work)
            except ToolServerFailed as error:
                raise ToolFailed(error.message) from None
            except TimeoutError:
                self._suspect = True
                raise ToolFailed(f"the tool gave no answer within {self._server.timeout:g} s.") from None
            except _Lost as lost:
                await self._drop()
                if last_try or not lost.unheard:
                    raise ToolFailed(f"the tool's server was lost: {lost}.") from None
                continue
            except (McpError, RuntimeError, ValueError) as error:  # an answer that is no answer is of the latter two
                raise ToolFailed(str(error)) from None
            text = text_of(result)
            if result.isError:
                raise ToolFailed(text or "the tool failed and did not say why.")
            return text
        raise AssertionError("the last try returns or raises")

    async def close(self) -> None:
        async with self._opening:
            await self._drop()

    async def _open(self) -> _Link:
        """The connection; where there is none it is made.

        Raises:
            ToolServerFailed: It cannot be made.
        """
        async with self._opening:
            if self._link is not None and self._suspect:
                await self._ask_whether_it_is_there(self._link)
            if self._link is not None and not self._link.has_ended:
                return self._link
            now = asyncio.get_running_loop().time()
            if self._failure and now < self._failed_at + RETRY_SECONDS:
                raise ToolServerFailed(self._failure)
            self._tools, self._suspect = None, False
            link = _Link(self._server, self._on_message)
            try:
                await self._within(CONNECT_SECONDS, link.ready())
            except Exception as error:  # a program and a network can fail in any way
                await link.end()
                raise self._failed(_reason(error)) from None
            except BaseException:
                await link.end()
                raise
            self._link, self._failure = link, ""
            return link

    async def _ask_whether_it_is_there(self, link: _Link) -> None:
        try:
            await self._within(PING_SECONDS, link.during(link.session.send_ping()))
            self._suspect = False
        except (_Lost, McpError, TimeoutError):
            await self._drop()

    async def _drop(self) -> None:
        link, self._link, self._tools = self._link, None, None
        if link is not None:
            await link.end()

    def _failed(self, reason: str) -> ToolServerFailed:
        self._failure = f"The tool server {self._server.name!r} cannot be used: {reason}."
        self._failed_at = asyncio.get_running_loop().time()
        log.warning("%s", self._failure)
        return ToolServerFailed(self._failure)

    async def _on_message(self, message: object) -> None:
        if isinstance(message, types.ServerNotification) and isinstance(
            message.root, types.ToolListChangedNotification
        ):
            self._tools = None

    async def _within(self, seconds: float, work: Coroutine[Any, Any, T]) -> T:
        async with asyncio.timeout(seconds):
            return await work


class _Session(ClientSession):
    """The library's, which tells the server of a call that nobody waits for any more."""

    async def send_request(self, request: types.ClientRequest, *args: Any, **kwargs: Any) -> Any:
        number = self._request_id  # the one that this request gets: the library says it nowhere else
        try:
            return await super().send_request(request, *args, **kwargs)
        except asyncio.CancelledError:
            if isinstance(request.root, types.CallToolRequest):
                given_up = types.CancelledNotificationParams(requestId=number, reason="Nobody waits for it any more.")
                told = types.ClientNotification(types.CancelledNotification(params=given_up))
                with suppress(*_LOST), anyio.move_on_after(TELL_SECONDS, shield=True):
                    await self.send_notification(told)
            raise


class _Link:
    """A connection while it lasts. Its contexts are entered and left by one task, as anyio wants it."""

    session: ClientSession

    def __init__(self, server: McpServer, on_message: MessageHandlerFnT) -> None:
        self._server, self._on_message = server, on_message
        self._is_ready, self._leave = asyncio.Event(), asyncio.Event()
        self._task = asyncio.create_task(self._run(), name=f"mcp-{server.name}")

    @property
    def has_ended(self) -> bool:
        return self._task.done()

    async def _run(self) -> None:
        async with (
            _streams(self._server) as (read, write),
            _Session(read, write, message_handler=self._on_message) as session,
        ):
            await session.initialize()
            self.session = session
            self._is_ready.set()
            await self._leave.wait()

    async def ready(self) -> None:
        """Waits until it can be used.

        Raises:
            Exception: Whatever it failed with.
        """
        waiting = asyncio.ensure_future(self._is_ready.wait())
        try:
            await asyncio.wait({waiting, self._task}, return_when=asyncio.FIRST_COMPLETED)
        finally:
            waiting.cancel()
        if self._task.done():
            self._task.result()

    async def during(self, work: Coroutine[Any, Any, T]) -> T:
        """What `work` comes to.

        Raises:
            _Lost: The connection went before.
        """
        working = asyncio.ensure_future(work)
        try:
            await asyncio.wait({working, self._task}, return_when=asyncio.FIRST_COMPLETED)
            if not working.done():
                raise _Lost("the connection broke off", unheard=self._was_refused())
            return working.result()
        except _LOST:
            raise _Lost("it had gone", unheard=True) from None
        except McpError as error:
            if error.error.code == types.CONNECTION_CLOSED:
                raise _Lost("it ended", unheard=False) from None
            if error.error.message == _TERMINATED:
                raise _Lost("it began anew", unheard=True) from None
            raise
        finally:
            working.cancel()

    def _was_refused(self) -> bool:
        """Whether it ended since nobody listened any more."""
        error = None if self._task.cancelled() else self._task.exception()
        return error is not None and isinstance(_innermost(error), httpx.ConnectError)

    async def end(self) -> None:
        self._leave.set()
        await asyncio.wait({self._task}, timeout=END_SECONDS if self._is_ready.is_set() else 0)
        self._task.cancel()
        await asyncio.wait({self._task}, timeout=END_SECONDS)
        if self._task.done() and not self._task.cancelled():
            self._task.exception()  # looked at, so that asyncio does not complain that nobody did


@asynccontextmanager
async def _streams(server: McpServer) -> AsyncIterator[tuple[Any, Any]]:
    if server.url is not None:
        # How long a call may take is counted elsewhere; what a server says unasked may come at any time.
        limits = httpx.Timeout(CONNECT_SECONDS, read=None)
        async with (
            httpx.AsyncClient(headers=server.headers, timeout=limits) as http,
            streamable_http_client(server.url, http_client=http) as (read, write, _),
        ):
            yield read, write
        return
    assert server.command is not None
    program = StdioServerParameters(
        command=server.command, args=list(server.args), env=dict(server.env), cwd=server.cwd
    )
    with os.fdopen(os.dup(2), "w") as errors:  # our own, whatever stands in for it in Python
        async with stdio_client(program, errlog=errors) as (read, write):
            yield read, write


async def _list(session: ClientSession) -> tuple[types.Tool, ...]:
    """All pages, or as many as anybody needs."""
    tools: list[types.Tool] = []
    cursor: str | None = None
    for _ in range(MAX_PAGES):
        page = await session.list_tools(params=types.PaginatedRequestParams(cursor=cursor))
        tools += page.tools
        cursor = page.nextCursor
        if cursor is None:
            break
    return tuple(tools)


def _innermost(error: BaseException) -> BaseException:
    while isinstance(error, BaseExceptionGroup):
        error = error.exceptions[0]
    return error


def _reason(error: BaseException) -> str:
    """Why it failed, without what may be a secret: addresses and headers have them."""
    error = _innermost(error)
    match error:
        case TimeoutError():
            return f"it gave no answer within {CONNECT_SECONDS:g} s"
        case httpx.HTTPStatusError(response=response):
            return f"it answered with status {response.status_code}"
        case httpx.HTTPError():
            return f"it cannot be reached ({type(error).__name__})"
        case FileNotFoundError():
            return f"there is no program {os.path.basename(str(error.filename))!r}"
        case OSError():
            return error.strerror or type(error).__name__
        case McpError() | _Lost():
            return str(error).rstrip(".")
    return type(error).__name__
