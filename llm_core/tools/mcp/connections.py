"""The ways to all MCP servers, on an event loop in a thread of their own, for callers on any thread or loop."""

from __future__ import annotations

import asyncio
import threading
from collections.abc import Coroutine, Iterable
from concurrent.futures import Future
from contextlib import suppress
from functools import partial
from typing import Any, TypeVar

from llm_core.errors import ToolServerFailed
from llm_core.tools.mcp.connection import Connection
from llm_core.tools.mcp.servers import McpServer
from llm_core.tools.mcp.tool import McpTool, offered

T = TypeVar("T")

CLOSE_SECONDS = 15.0

Offered = dict[str, tuple[McpTool, ...] | ToolServerFailed]
"""By the server's name: its tools, or why there are none."""


class Connections:
    """One connection for each server, shared by everybody. Its thread starts with it."""

    def __init__(self) -> None:
        self._loop = asyncio.new_event_loop()
        self._by_name: dict[str, Connection] = {}
        self._thread = threading.Thread(target=self._loop.run_forever, name="mcp", daemon=True)
        self._thread.start()

    def tools(self, servers: Iterable[McpServer]) -> Future[Offered]:
        """What these servers offer. It fails with nothing: a server that does is told of in its place."""
        return self._run(self._tools(tuple(servers)))

    def close(self) -> None:
        """Ends the connections, and the programs that were started for them."""
        with suppress(TimeoutError):
            self._run(self._close()).result(CLOSE_SECONDS)
        self._loop.call_soon_threadsafe(self._loop.stop)
        self._thread.join(CLOSE_SECONDS)
        if not self._thread.is_alive():
            self._loop.close()

    def _run(self, work: Coroutine[Any, Any, T]) -> Future[T]:
        return asyncio.run_coroutine_threadsafe(work, self._loop)

    async def _tools(self, servers: tuple[McpServer, ...]) -> Offered:
        found = await asyncio.gather(*(self._tools_of(server) for server in servers))
        return dict(zip((server.name for server in servers), found, strict=True))

    async def _tools_of(self, server: McpServer) -> tuple[McpTool, ...] | ToolServerFailed:
        connection = self._by_name.setdefault(server.name, Connection(server))
        try:
            tools = await connection.tools()
        except ToolServerFailed as error:
            return error
        return offered(server, tools, partial(self._call, connection))

    async def _call(self, connection: Connection, name: str, arguments: dict[str, Any]) -> str:
        """A call, from any loop; whoever stops waiting for it ends it."""
        return await asyncio.wrap_future(self._run(connection.call(name, arguments)))

    async def _close(self) -> None:
        await asyncio.gather(*(connection.close() for connection in self._by_name.values()))
