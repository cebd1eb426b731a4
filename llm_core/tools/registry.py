"""The tools that this server runs for whoever may use them, by name: those that come with it, and those of MCP servers.

A request asks for them by `run_tools`; nothing is connected to before one does.
"""

from __future__ import annotations

import asyncio
import threading
from collections.abc import Iterator
from concurrent.futures import Future
from contextlib import contextmanager
from dataclasses import dataclass
from typing import TYPE_CHECKING

from llm_core.errors import InvalidRequest, SettingsError, ToolServerFailed
from llm_core.request import ChatRequest
from llm_core.settings import Settings, is_loopback
from llm_core.tools.builtin import BUILTIN_TOOLS
from llm_core.tools.mcp.servers import McpServer, read_servers
from llm_core.tools.python_tool import PythonTool
from llm_core.tools.runnable import RunnableTool

if TYPE_CHECKING:  # the library takes half a second, which most programs can do without
    from llm_core.tools.mcp.connections import Connections, Offered

_MCP_MISSING = "MCP needs the package mcp, which is not installed here: pip install 'mcp>=1.30,<2'."
MAX_NAMED = 20  # tools, in a refusal


@contextmanager
def needs_mcp() -> Iterator[None]:
    """Around imports of what needs the package mcp.

    Raises:
        ToolServerFailed: It is not installed.
    """
    try:
        yield
    except ImportError:
        raise ToolServerFailed(_MCP_MISSING) from None


def _unasked(tool: PythonTool) -> PythonTool:
    """A tool of which nobody is asked before it runs."""
    copy = tool.model_copy()
    copy._consent = "never"
    return copy


_BUILTIN = {tool.name: _unasked(tool) for tool in BUILTIN_TOOLS.values()}


@dataclass(frozen=True, slots=True)
class ServedTools:
    """What of it one request has.

    Attributes:
        offered: What the model may call.
        approved: By name, what calls of a turn before are made with, to which somebody has agreed.
    """

    offered: tuple[RunnableTool, ...]
    approved: dict[str, RunnableTool]


NOTHING_SERVED = ServedTools((), {})


class ToolRegistry:
    """All of them. Safe from any thread and any event loop.

    Raises:
        SettingsError: The file of MCP servers cannot be used.
    """

    def __init__(self, settings: Settings) -> None:
        self._servers = read_servers(settings.mcp_servers)
        for server in self._servers:
            if server.name in _BUILTIN:
                raise SettingsError(
                    f"LLM_MCP_SERVERS={str(settings.mcp_servers)!r} cannot be used: {server.name!r} is a tool that "
                    "is there already; call the server otherwise."
                )
        listens_here = is_loopback(settings.server_name) and not settings.allowed_hosts and not settings.public
        self._is_private = bool(settings.api_tokens) or listens_here
        self._lock = threading.Lock()
        self._opened: Connections | None = None

    def for_request(self, request: ChatRequest) -> ServedTools:
        """What a request asks for.

        Raises:
            InvalidRequest: There is no such tool, or its owner may not use it.
            ToolServerFailed: A server that was named cannot be used.
        """
        return self._chosen(request, self._ask(self._concerned(request)).result())

    async def afor_request(self, request: ChatRequest) -> ServedTools:
        """`for_request` for event loops."""
        return self._chosen(request, await asyncio.wrap_future(self._ask(self._concerned(request))))

    def all_of(self, owner: str) -> tuple[tuple[RunnableTool, ...], dict[str, str]]:
        """The tools that an owner may use, and the servers of theirs that cannot be used: name to the reason."""
        offered = self._ask(self._of(owner)).result()
        failed = {name: tools.message for name, tools in offered.items() if isinstance(tools, ToolServerFailed)}
        return tuple(_usable(offered).values()), failed

    def server_names(self, owner: str) -> tuple[str, ...]:
        """The names of the MCP servers that an owner may use."""
        return tuple(server.name for server in self._of(owner))

    def close(self) -> None:
        with self._lock:
            opened, self._opened = self._opened, None
        if opened is not None:
            opened.close()

    def _of(self, owner: str) -> tuple[McpServer, ...]:
        return tuple(server for server in self._servers if server.serves(owner, is_private=self._is_private))

    def _concerned(self, request: ChatRequest) -> tuple[McpServer, ...]:
        """The servers that have to be asked."""
        servers = self._of(request.owner)
        if request.run_tools is True:
            return servers
        names = (*(request.run_tools or ()), *(call.name for call in request.approved_calls))
        asked = {name.partition(".")[0] for name in names}
        return tuple(server for server in servers if server.name in asked)

    def _ask(self, servers: tuple[McpServer, ...]) -> Future[Offered]:
        if servers:
            return self._connections().tools(servers)
        nothing: Future[Offered] = Future()
        nothing.set_result({})
        return nothing

    def _connections(self) -> Connections:
        with needs_mcp():
            from llm_core.tools.mcp.connections import Connections
        with self._lock:
            if self._opened is None:
                self._opened = Connections()
            return self._opened

    def _chosen(self, request: ChatRequest, offered: Offered) -> ServedTools:
        there, chosen = _usable(offered), dict[str, RunnableTool]()
        if request.run_tools is True:
            chosen = there
        for number, name in enumerate(() if request.run_tools is True else request.run_tools or ()):
            chosen = chosen | _named(name, there, offered, f"run_tools.{number}")
        approved: dict[str, RunnableTool] = {}
        for call in request.approved_calls:
            approved |= _named(call.name, there, offered, "approvals")
        return ServedTools(tuple(chosen.values()), approved)


def _usable(offered: Offered) -> dict[str, RunnableTool]:
    """Those that come with this server, and those of servers that can be used."""
    there: dict[str, RunnableTool] = {**_BUILTIN}
    for tools in offered.values():
        if not isinstance(tools, ToolServerFailed):
            there |= {tool.name: tool for tool in tools}
    return there


def _named(name: str, there: dict[str, RunnableTool], offered: Offered, param: str) -> dict[str, RunnableTool]:
    """The tool of that name, or all of the server of that name.

    Raises:
        InvalidRequest, ToolServerFailed: There is none.
    """
    found = {tool.name: tool for tool in there.values() if name in (tool.name, tool.server)}
    if found:
        return found
    failed = offered.get(name.partition(".")[0])
    if isinstance(failed, ToolServerFailed):
        raise failed
    names = ", ".join(sorted(there)[:MAX_NAMED])
    raise InvalidRequest(f"{param}: there is no tool {name!r} for you here. There is: {names}.", param=param)
