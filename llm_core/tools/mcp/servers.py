"""The MCP servers that the operator has named in the file `LLM_MCP_SERVERS`, and who may use which of their tools."""

from __future__ import annotations

import os
import re
from collections.abc import Mapping
from pathlib import Path
from typing import Annotated, Any, Literal

from pydantic import AfterValidator, BaseModel, BeforeValidator, ConfigDict, Field, model_validator

from llm_core.complaints import Misplaced
from llm_core.errors import SettingsError
from llm_core.numbers import Finite
from llm_core.yaml_file import check, line_of, read_yaml

MAX_SERVERS = 64
ANYONE = "anyone"
_NAMED_OWNER = "name:"  # as the owner of an API token, and an MQTT client, begins
_VARIABLE = re.compile(r"\$\{([A-Za-z_][A-Za-z0-9_]*)\}")
_URL = re.compile(r"https?://[^\s/]+\S*")

Approval = Literal["always", "never"]
"""Whether somebody has to agree to a call before it is made."""


def _filled(text: str) -> str:
    """`text` with environment variables in place of `${NAME}`."""

    def value(match: re.Match[str]) -> str:
        found = os.environ.get(match[1])
        if found is None:
            raise ValueError(f"there is no environment variable {match[1]}")
        return found

    return _VARIABLE.sub(value, text)


def _all_filled(texts: dict[str, str]) -> dict[str, str]:
    filled = {}
    for name, text in texts.items():
        try:
            filled[name] = _filled(text)
        except ValueError as error:
            raise Misplaced((name,), str(error)) from None
    return filled


def _by_name(tools: Any) -> Any:
    """A list of tools is one in which nothing is said of any."""
    return dict.fromkeys(tools) if isinstance(tools, list) and all(isinstance(each, str) for each in tools) else tools


def _url(url: str) -> str:
    if not _URL.fullmatch(url):
        raise ValueError("write http://host:port/path, or https://")
    return url


_Filled = Annotated[str, Field(max_length=4096), AfterValidator(_filled)]
_Variables = Annotated[dict[str, str], AfterValidator(_all_filled)]


class McpServer(BaseModel):
    """One of them: a program that is started here, or one that is reached over HTTP.

    Attributes:
        name: What the names of its tools begin with.
        command, args, env, cwd: The program, which speaks over its standard input and output. Of the environment it
            gets `PATH`, `HOME` and the like, and `env`.
        url, headers: Of one that speaks streamable HTTP.
        owners: Names of API tokens, or of MQTT clients, that may use it; `anyone` for strangers too. None: every owner
            with a name and, where only this machine can call, everybody.
        approval: Whether somebody has to agree to each call of a tool of which nothing else is said.
        tools: Those that are offered, each with an approval of its own, or None for the server's. None: all of them.
        timeout: Seconds that a call may take.
    """

    model_config = ConfigDict(frozen=True, extra="forbid", strict=True)

    name: Annotated[str, Field(pattern=r"^[A-Za-z0-9_-]{1,32}$")]
    command: Annotated[str, Field(min_length=1, max_length=4096)] | None = None
    args: tuple[_Filled, ...] = Field((), strict=False)
    env: _Variables = {}
    cwd: Annotated[Path, Field(strict=False)] | None = None
    url: Annotated[_Filled, AfterValidator(_url)] | None = None
    headers: _Variables = {}
    owners: Annotated[tuple[str, ...], Field(strict=False)] | Literal["anyone"] | None = None
    approval: Approval = "always"
    tools: Annotated[dict[str, Approval | None], BeforeValidator(_by_name)] | None = None
    timeout: Annotated[float, Field(gt=0, le=3600), Finite] = 60.0

    @model_validator(mode="after")
    def _is_reached_one_way(self) -> McpServer:
        if (self.command is None) == (self.url is None):
            raise ValueError("an MCP server needs a command that starts it, or the url at which it is")
        if self.url is None and self.headers:
            raise ValueError("headers are of a server with a url")
        if self.command is None and (self.args or self.env or self.cwd):
            raise ValueError("args, env and cwd are of a server with a command")
        return self

    def serves(self, owner: str, *, is_private: bool) -> bool:
        """Whether an owner may use it.

        Args:
            is_private: Whether nobody can call who has neither a token nor this machine.
        """
        if self.owners == ANYONE:
            return True
        if self.owners is not None:
            return owner.startswith(_NAMED_OWNER) and owner.removeprefix(_NAMED_OWNER) in self.owners
        return owner.startswith(_NAMED_OWNER) or is_private

    def offers(self, tool: str) -> bool:
        return self.tools is None or tool in self.tools

    def approval_of(self, tool: str) -> Approval:
        return (self.tools or {}).get(tool) or self.approval


def read_servers(path: Path | None) -> tuple[McpServer, ...]:
    """The servers that the file names; none where there is no file.

    Raises:
        SettingsError: It cannot be used; the message names the line.
    """
    if path is None:
        return ()
    place = f"LLM_MCP_SERVERS={str(path)!r}"
    data, root = read_yaml(path, place, "MCP servers")
    listed = data.get("servers") if isinstance(data, Mapping) else None
    if not isinstance(listed, list) or not 0 < len(listed) <= MAX_SERVERS:
        raise SettingsError(f"{place} cannot be used: it has no `servers:` with a list of 1 to {MAX_SERVERS} below it.")
    servers: list[McpServer] = []
    for number, fields in enumerate(listed):
        server = check(McpServer, fields, root, ("servers", number), place, "an MCP server")
        if server.name in {each.name for each in servers}:
            line = line_of(root, ("servers", number, "name"))
            raise SettingsError(f"{place}, line {line}: name: two servers have the name {server.name!r}.")
        servers.append(server)
    return tuple(servers)
