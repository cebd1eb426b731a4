"""The doorway of what this server runs: which tools a caller may ask for by `run_tools`."""

from __future__ import annotations

import asyncio
from typing import Any, Literal

from fastapi import APIRouter
from pydantic import BaseModel, Field

from llm_core.access.problems import describe
from llm_core.http.given import ADMITTED, Client, Owner

router = APIRouter(prefix="/api/llm", tags=["tools"])


class ToolAnswer(BaseModel):
    """A tool."""

    name: str = Field(description="By which `run_tools` names it")
    description: str
    parameters: dict[str, Any] = Field(description="JSON schema of its arguments")
    server: str = Field(description="The MCP server that has it; empty where it comes with this one")
    approval: Literal["always", "never"] = Field(description="Whether somebody has to agree to each call")


class ToolsAnswer(BaseModel):
    """All that you may use."""

    tools: list[ToolAnswer]
    unusable: dict[str, str] = Field(description="Servers that cannot be used now, and why")


@router.get("/tools", responses=describe(401, 429, 503), dependencies=[ADMITTED])
async def tools(client: Client, owner: Owner) -> ToolsAnswer:
    """The tools that the server runs for you; MCP servers are asked for theirs."""
    usable, failed = await asyncio.to_thread(client.tools.all_of, owner)
    answers = [
        ToolAnswer(
            name=tool.name,
            description=tool.description,
            parameters=tool.parameters,
            server=tool.server,
            approval="always" if tool.consent == "always" else "never",
        )
        for tool in usable
    ]
    return ToolsAnswer(tools=answers, unusable=failed)
