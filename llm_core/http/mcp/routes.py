"""The doorway for MCP clients: `/mcp`, streamable HTTP without sessions of its own, so that any process can answer.

Each request has a transport for itself, which ends with it; who calls, and how much, is decided as on every route.
"""

from __future__ import annotations

from fastapi import APIRouter, Request
from starlette.responses import Response
from starlette.types import Receive, Scope, Send

from llm_core.http.given import Client
from llm_core.tools.registry import needs_mcp

router = APIRouter(tags=["MCP"])


@router.post("/mcp", include_in_schema=False)  # the protocol says what is in it
async def mcp(client: Client, request: Request) -> Response:
    """One message of the protocol."""
    with needs_mcp():
        from llm_core.http.mcp.tools import make_server  # the library takes half a second, and few callers need it
    return _Answer(make_server(client))


class _Answer(Response):
    """What the library answers."""

    def __init__(self, server: object) -> None:
        super().__init__()
        self._server = server

    async def __call__(self, scope: Scope, receive: Receive, send: Send) -> None:
        from mcp.server.streamable_http_manager import StreamableHTTPSessionManager

        manager = StreamableHTTPSessionManager(self._server, stateless=True)  # type: ignore[arg-type]
        async with manager.run():  # leaving it stops what still runs, such as a reply that nobody waits for
            await manager.handle_request(scope, receive, send)
