"""`/mcp` with the protocol's own client: its tools, their owners, and the door before them."""

from __future__ import annotations

import json
import sys
from collections.abc import AsyncIterator
from contextlib import asynccontextmanager
from typing import Any

import httpx
import pytest
from mcp import ClientSession, types
from mcp.client.streamable_http import streamable_http_client

from llm_core.client import LLMClient
from tests.scripted import saying

SETTINGS: dict[str, Any] = {"api_tokens": "ann:ann-secret,bob:bob-secret"}


@pytest.fixture(scope="module")
def url(url: str) -> str:
    return f"{url}mcp"


@asynccontextmanager
async def calling(url: str, token: str = "ann-secret") -> AsyncIterator[ClientSession]:
    async with (
        httpx.AsyncClient(headers={"Authorization": f"Bearer {token}"}, timeout=60) as http,
        streamable_http_client(url, http_client=http) as (read, write, _),
        ClientSession(read, write) as session,
    ):
        await session.initialize()
        yield session


async def call(url: str, name: str, token: str = "ann-secret", **arguments: Any) -> types.CallToolResult:
    async with calling(url, token) as session:
        return await session.call_tool(name, arguments)


def text_of(result: types.CallToolResult) -> str:
    (content,) = result.content
    assert isinstance(content, types.TextContent)
    return content.text


async def test_the_tools_are_listed_with_their_schemas(url: str) -> None:
    async with calling(url) as session:
        listed = {tool.name: tool for tool in (await session.list_tools()).tools}
    assert set(listed) == {"chat", "sessions", "history", "search"}
    assert listed["chat"].inputSchema["required"] == ["message"]
    assert all(tool.description for tool in listed.values())


async def test_a_message_is_answered(url: str, client: LLMClient) -> None:
    with saying(client, "Four.") as script:
        result = await call(url, "chat", message="What is 2 + 2?", system="Be brief.")
    assert (text_of(result), result.isError) == ("Four.", False)
    assert result.structuredContent is not None
    assert result.structuredContent["finish_reason"] == "stop"
    assert "Be brief." in script.prompts[0]


async def test_the_real_model_answers(url: str) -> None:
    assert text_of(await call(url, "chat", message="Say hello."))


async def test_a_session_is_remembered_found_and_its_owner_s_alone(url: str, client: LLMClient) -> None:
    with saying(client, "A walrus, of course.", "Grey."):
        await call(url, "chat", message="What is that?", session_id="zoo")
        await call(url, "chat", message="Its colour?", session_id="zoo")
    listed = json.loads(text_of(await call(url, "sessions")))["sessions"]
    history = json.loads(text_of(await call(url, "history", session_id="zoo")))
    found = json.loads(text_of(await call(url, "search", text="WALRUS")))["found"]
    assert [(each["session_id"], each["turns"]) for each in listed] == [("zoo", 2)]
    said = [each["content"] for each in history["messages"]]
    assert said == ["What is that?", "A walrus, of course.", "Its colour?", "Grey."]
    assert found == [
        {"session_id": "zoo", "title": "What is that?", "role": "assistant", "content": "A walrus, of course."}
    ]
    newest = json.loads(text_of(await call(url, "history", session_id="zoo", limit=1)))["messages"]
    assert [each["content"] for each in newest] == ["Grey."]

    assert json.loads(text_of(await call(url, "sessions", "bob-secret"))) == {"sessions": []}
    assert json.loads(text_of(await call(url, "search", "bob-secret", text="walrus"))) == {"found": []}
    others = await call(url, "history", "bob-secret", session_id="zoo")
    assert (others.isError, text_of(others)) == (True, "There is no session 'zoo'.")


async def test_a_search_takes_its_text_as_it_is_and_shows_what_is_around(url: str, client: LLMClient) -> None:
    with saying(client, "Yes."):
        await call(url, "chat", message=f"{'a' * 900} 100% sure {'b' * 900}", session_id="long")
    found = json.loads(text_of(await call(url, "search", text="100% sure")))["found"]
    assert found[0]["content"] == f"…{'a' * 199} 100% sure {'b' * 199}…"
    assert json.loads(text_of(await call(url, "search", text="%s_re")))["found"] == []


async def test_who_asks_for_progress_hears_the_reply_grow(url: str, client: LLMClient) -> None:
    told: list[tuple[float, str | None]] = []

    async def on_progress(progress: float, total: float | None, message: str | None) -> None:
        told.append((progress, message))

    with saying(client, "One, two, three."):
        async with calling(url) as session:
            result = await session.call_tool("chat", {"message": "Count."}, progress_callback=on_progress)
    assert text_of(result) == "One, two, three."
    assert told[0] == (3, "One")


@pytest.mark.parametrize(
    ("name", "arguments", "said"),
    [
        ("chat", {}, "message: field required"),
        ("chat", {"message": "Hi", "session_id": "no good"}, "session_id: "),
        ("chat", {"message": "Hi", "colour": 1}, "colour: there is no such field"),
        ("history", {"session_id": "none"}, "There is no session 'none'."),
        ("paint", {}, "There is no tool 'paint'. There is: chat, sessions, history, search."),
    ],
)
async def test_what_is_wrong_is_a_sentence(url: str, name: str, arguments: dict[str, Any], said: str) -> None:
    result = await call(url, name, **arguments)
    assert result.isError
    assert text_of(result).startswith(said)


async def test_nobody_gets_in_without_a_token(url: str) -> None:
    asked = {"jsonrpc": "2.0", "id": 1, "method": "tools/list"}
    async with httpx.AsyncClient() as http:
        answer = await http.post(url, json=asked, headers={"Accept": "application/json, text/event-stream"})
    assert answer.status_code == 401
    assert answer.json()["error"]["type"] == "authentication_error"


@pytest.mark.parametrize("method", ["GET", "DELETE", "PUT"])
async def test_nothing_but_post_is_spoken(url: str, method: str) -> None:
    async with httpx.AsyncClient(headers={"Authorization": "Bearer ann-secret"}) as http:
        answer = await http.request(method, url)
    assert (answer.status_code, answer.headers["allow"]) == (405, "POST")


async def test_what_is_no_message_of_the_protocol_is_refused(url: str) -> None:
    headers = {"Authorization": "Bearer ann-secret", "Accept": "application/json, text/event-stream"}
    async with httpx.AsyncClient(headers=headers) as http:
        for body in (b"", b"[", b"{}", b'{"jsonrpc": "2.0"}'):
            answer = await http.post(url, content=body, headers={"Content-Type": "application/json"})
            assert answer.status_code == 400


async def test_where_the_library_is_missing_that_is_said(url: str, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setitem(sys.modules, "llm_core.http.mcp.tools", None)
    async with httpx.AsyncClient(headers={"Authorization": "Bearer ann-secret"}) as http:
        answer = await http.post(url, json={})
    assert (answer.status_code, answer.json()["error"]["code"]) == (503, "tool_server_failed")
