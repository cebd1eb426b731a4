"""A tool of an MCP server as one that the model may call and that is run here."""

from __future__ import annotations

import json
import logging
import re
from collections.abc import Awaitable, Callable
from functools import partial
from typing import Any

from mcp import types
from pydantic import PrivateAttr, ValidationError

from llm_core.errors import InvalidRequest
from llm_core.tool_spec import MAX_DESCRIPTION_CHARS
from llm_core.tools.mcp.servers import McpServer
from llm_core.tools.runnable import ArgumentsDoNotFit, RunnableTool

log = logging.getLogger(__name__)

_NOT_A_NAME = re.compile(r"[^A-Za-z0-9_.-]")

Call = Callable[[str, dict[str, Any]], Awaitable[str]]
"""Calls a tool, by the server's own name of it, with arguments."""


class McpTool(RunnableTool):
    """One of them; made by `offered`."""

    _own_name: str = PrivateAttr()
    _call: Call = PrivateAttr()

    def bind(self, arguments: str) -> Callable[[], Any]:
        try:
            given = json.loads(arguments.strip() or "{}")
        except (ValueError, RecursionError) as error:
            raise ArgumentsDoNotFit(f"They are not JSON: {error}") from None
        if not isinstance(given, dict):
            raise ArgumentsDoNotFit("They are no object.")
        return partial(self._call, self._own_name, given)


def offered(server: McpServer, tools: tuple[types.Tool, ...], call: Call) -> tuple[McpTool, ...]:
    """Those of a server's tools that are offered. One that no model can be told of is left out, and the log says so.

    What a server says of its tools is a stranger's word: its hints, such as that one only reads, count for nothing.
    """
    made: dict[str, McpTool] = {}
    for tool in tools:
        if not server.offers(tool.name):
            continue
        name = f"{server.name}.{_NOT_A_NAME.sub('_', tool.name)}"
        try:
            _check(tool.inputSchema)
            description = (tool.description or tool.title or "")[:MAX_DESCRIPTION_CHARS]
            made_one = McpTool(name=name, description=description, parameters=tool.inputSchema)
        except InvalidRequest as error:
            log.warning("the tool %r of the server %r is left out: %s", tool.name, server.name, error.message)
            continue
        except ValidationError as error:
            said = error.errors(include_url=False)[0]["msg"]
            log.warning("the tool %r of the server %r is left out: %s", tool.name, server.name, said)
            continue
        if name in made:
            log.warning("the tool %r of the server %r is left out: another one is called so", tool.name, server.name)
            continue
        made_one._server, made_one._own_name, made_one._call = server.name, tool.name, call
        made_one._consent = server.approval_of(tool.name)
        made[name] = made_one
    return tuple(made.values())


def _check(schema: dict[str, Any]) -> None:
    """Refuses a schema to which no call can be held.

    Raises:
        InvalidRequest: It is one.
    """
    try:
        from llm_core.structured_output.limits import Budget
        from llm_core.structured_output.schema import hold
    except ImportError:
        return  # no model runs here, and an engine elsewhere looks for itself
    hold(schema, "inputSchema", Budget(), strict=False, must_be_object=True)
