"""A server of somebody else's, as the benchmark reads it: OpenAI's wire format, with what servers differ in."""

from __future__ import annotations

import json
import os
import subprocess
import sys
from collections.abc import AsyncIterator

import httpx
import pytest

from bench.systems import AppSessions, OpenAIServer, Piece, SystemFailed
from llm_core.events import Usage

MESSAGES = [{"role": "user", "content": "Hi"}]
CHUNKS = [
    {"choices": [{"delta": {"role": "assistant"}}]},
    {"choices": [{"delta": {"content": "Hel"}}]},
    {"choices": [{"delta": {"content": "lo"}}], "usage": None},
    {"choices": [{"delta": {}, "finish_reason": "stop"}]},
]
USAGE = {"prompt_tokens": 9, "completion_tokens": 3, "total_tokens": 12}


def sse(*chunks: dict[str, object]) -> str:
    return ": ping\n\n" + "".join(f"data: {json.dumps(chunk)}\n\n" for chunk in chunks) + "data: [DONE]\n\n"


@pytest.fixture
async def server() -> AsyncIterator[OpenAIServer]:
    server = OpenAIServer("peer", "http://peer/v1/")
    yield server
    await server.close()


async def read(server: OpenAIServer, answer: httpx.Response) -> tuple[list[Piece], dict[str, object]]:
    """What a server's answer is read as, and the request that it was an answer to."""
    asked = []

    def respond(request: httpx.Request) -> httpx.Response:
        asked.append(request)
        return answer

    await server.close()
    server._http = httpx.AsyncClient(base_url=server._http.base_url, transport=httpx.MockTransport(respond))
    pieces = [piece async for piece in server.stream(MESSAGES, 48)]
    assert asked[0].url == "http://peer/v1/chat/completions"
    return pieces, json.loads(asked[0].content)


async def test_the_text_is_read_without_roles_pings_and_ends(server: OpenAIServer) -> None:
    pieces, asked = await read(server, httpx.Response(200, text=sse(*CHUNKS)))
    assert pieces == ["Hel", "lo"]
    assert asked | {"max_tokens": 48, "temperature": 0, "stream": True, "messages": MESSAGES} == asked


@pytest.mark.parametrize(
    ("details", "cached"),
    [({}, 0), ({"prompt_tokens_details": None}, 0), ({"prompt_tokens_details": {"cached_tokens": 8}}, 8)],
)
async def test_usage_is_read_where_it_is_sent(server: OpenAIServer, details: dict[str, object], cached: int) -> None:
    last: dict[str, object] = {"choices": [], "usage": USAGE | details}
    pieces, _ = await read(server, httpx.Response(200, text=sse(*CHUNKS, last)))
    assert pieces[-1] == Usage(prompt_tokens=9, cached_tokens=cached, completion_tokens=3)


async def test_a_refusal_is_told_in_the_servers_own_words(server: OpenAIServer) -> None:
    with pytest.raises(SystemFailed, match=r"peer answered 503: .*busy"):
        await read(server, httpx.Response(503, json={"error": {"message": "busy"}}))


async def test_an_error_in_the_stream_is_no_short_reply(server: OpenAIServer) -> None:
    with pytest.raises(SystemFailed, match="out of memory"):
        await read(server, httpx.Response(200, text=sse(CHUNKS[1], {"error": {"message": "out of memory"}})))


async def test_a_whole_answer_is_asked_for_with_more_than_messages(server: OpenAIServer) -> None:
    asked = []

    def respond(request: httpx.Request) -> httpx.Response:
        asked.append(json.loads(request.content))
        return httpx.Response(200 if len(asked) == 1 else 500, json={"usage": USAGE})

    await server.close()
    server._http = httpx.AsyncClient(base_url=server._http.base_url, transport=httpx.MockTransport(respond))

    assert await server.whole(MESSAGES, 48, tool_choice="required") == {"usage": USAGE}
    assert (asked[0]["tool_choice"], "stream" in asked[0]) == ("required", False)
    with pytest.raises(SystemFailed, match="peer answered 500"):
        await server.whole(MESSAGES, 48)


async def test_a_turn_of_a_session_is_read_as_a_stream_with_its_usage() -> None:
    events = [{"stream_id": "a", "queue_position": 0}, {"content": "Hel"}, {"content": "lo"}]
    used = {"prompt_tokens": 9, "cached_tokens": 8, "completion_tokens": 3}
    answer = httpx.Response(200, text=sse(*events, {"done": True, "usage": used}))
    sessions = AppSessions("http://app")
    await sessions.close()
    sessions._http = httpx.AsyncClient(base_url="http://app", transport=httpx.MockTransport(lambda _request: answer))

    assert [piece async for piece in sessions.stream("s", "Hi", 48)] == ["Hel", "lo", Usage(**used)]
    await sessions.close()


@pytest.mark.parametrize("module", ["bench.__main__", "bench.bare", "bench.systems"])
def test_llama_cpp_is_loaded_after_it_was_set_how_its_threads_wait(module: str) -> None:
    program = f"""
import os, sys

def look(event, arguments):
    if event == "import" and arguments[0] == "llama_cpp":
        print(os.environ.get("GOMP_SPINCOUNT"))

sys.addaudithook(look)
import {module}
"""
    bare = {name: value for name, value in os.environ.items() if name not in {"GOMP_SPINCOUNT", "OMP_WAIT_POLICY"}}
    said = subprocess.run([sys.executable, "-c", program], env=bare, capture_output=True, text=True, check=True).stdout

    assert said.split() == ["1000"]


def test_the_readers_load_nothing_of_the_engine() -> None:
    program = "import sys, bench.reader; print(*sys.modules)"
    loaded = subprocess.run([sys.executable, "-c", program], capture_output=True, text=True, check=True).stdout.split()

    assert not {"llama_cpp", "numpy"} & set(loaded)
