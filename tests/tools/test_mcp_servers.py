"""The file of MCP servers: what it may say, whom it lets in, and the line of what is wrong."""

from __future__ import annotations

from pathlib import Path

import pytest

from llm_core.errors import SettingsError
from llm_core.settings import Settings
from llm_core.tools.mcp.servers import McpServer, read_servers
from llm_core.tools.registry import ToolRegistry

GOOD = """
servers:
  - name: files
    command: files-server
    args: [--root, "${ROOT}/notes"]
    env: {TOKEN: "${SECRET}"}
    tools: {read: never, write: }
  - name: web
    url: https://example.org/mcp
    headers: {Authorization: "Bearer ${SECRET}"}
    owners: [ann]
    approval: never
    tools: [search]
    timeout: 5
"""


def written(folder: Path, text: str) -> Path:
    path = folder / "servers.yaml"
    path.write_text(text)
    return path


def test_a_file_names_servers_with_secrets_from_the_environment(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setenv("SECRET", "s3cret")
    monkeypatch.setenv("ROOT", "/srv")
    files, web = read_servers(written(tmp_path, GOOD))
    assert (files.args, files.env) == (("--root", "/srv/notes"), {"TOKEN": "s3cret"})
    assert web.headers == {"Authorization": "Bearer s3cret"}
    assert [files.approval_of(tool) for tool in ("read", "write")] == ["never", "always"]
    assert [files.offers(tool) for tool in ("read", "remove")] == [True, False]
    assert (web.approval_of("search"), web.timeout) == ("never", 5)


@pytest.mark.parametrize(
    ("text", "said"),
    [
        (
            "servers:\n  - name: a\n    command: x\n    colour: red\n",
            "line 4: colour: there is no such field. All",
        ),
        ("servers:\n  - name: a\n", "line 2: an MCP server: an MCP server needs a command"),
        ("servers:\n  - {name: a, command: x, url: 'http://x'}\n", "line 2: an MCP server: an MCP server needs"),
        ("servers:\n  - name: a\n    url: ftp://x\n", "line 3: url: write http://host:port/path"),
        ("servers:\n  - name: a\n    command: x\n    env:\n      A: ${NOT_SET}\n", "line 5: env.A: there is no envir"),
        ("servers:\n  - name: a\n    command: x\n    approval: maybe\n", "line 4: approval: "),
        ("servers:\n  - name: a\n    command: x\n    tools: {read: maybe}\n", "line 4: tools.read: "),
        ("servers:\n  - {name: a, command: x}\n  - {name: a, command: y}\n", "line 3: name: two servers have the name"),
        ("servers:\n  - name: a b\n    command: x\n", "line 2: name: "),
        ("servers:\n  - name: a\n    command: x\n    timeout: 0\n", "line 4: timeout: "),
        ("servers:\n  - just a text\n", "line 2: "),
        ("servers: []\n", "it has no `servers:`"),
        ("servers: [\n", "cannot be read: while parsing"),
    ],
)
def test_what_is_wrong_with_it_is_said_with_its_line(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch, text: str, said: str
) -> None:
    monkeypatch.delenv("NOT_SET", raising=False)
    with pytest.raises(SettingsError) as refused:
        read_servers(written(tmp_path, text))
    assert said in refused.value.message
    assert refused.value.message.startswith(f"LLM_MCP_SERVERS={str(tmp_path / 'servers.yaml')!r}")


def test_a_server_cannot_have_the_name_of_a_tool_that_is_there_already(tmp_path: Path) -> None:
    path = written(tmp_path, "servers:\n  - {name: calculate, command: x}\n")
    with pytest.raises(SettingsError, match="call the server otherwise"):
        ToolRegistry(Settings(mcp_servers=path))


@pytest.mark.parametrize(
    ("owners", "owner", "is_private", "serves"),
    [
        (None, "name:ann", False, True),
        (None, "", True, True),
        (None, "browser:x", True, True),
        (None, "address:192.0.2.7", False, False),
        (("ann",), "name:ann", False, True),
        (("ann",), "name:bob", True, False),
        (("ann",), "ann", True, False),
        (("ann",), "", True, False),
        ("anyone", "address:192.0.2.7", False, True),
        ((), "name:ann", True, False),
    ],
)
def test_an_owner_may_use_a_server_or_not(
    owners: tuple[str, ...] | None, owner: str, is_private: bool, serves: bool
) -> None:
    server = McpServer.model_validate({"name": "a", "command": "x", "owners": owners})
    assert server.serves(owner, is_private=is_private) is serves
