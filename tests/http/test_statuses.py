"""Every row of the table of refusals in docs/http.md, brought about for real: its status and the one shape."""

from __future__ import annotations

import re
from collections.abc import Callable, Iterator
from contextlib import AbstractContextManager, ExitStack, contextmanager, nullcontext, suppress
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

import httpx
import pytest

from llm_core.client import LLMClient
from llm_core.errors import StorageFull
from tests.served import loaded_client, served
from tests.sessions.conftest import disk_full, read_only, user
from tests.waiting import is_idle, stats_of, wait_until

PAGE = (Path(__file__).resolve().parents[2] / "docs" / "http.md").read_text()
ANN, BOB, HASTY = ({"Authorization": f"Bearer {name}-secret"} for name in ("ann", "bob", "hasty"))
PATIENCE_SECONDS = 120
RATE = 60
HELLO: dict[str, Any] = {"messages": [{"role": "user", "content": "Hello"}], "max_tokens": 1}
LONG: dict[str, Any] = {"messages": [{"role": "user", "content": "the sea " * 2000}]}
TURN: dict[str, Any] = {"session_id": "busy", "message": "Tell me a very long story.", "max_tokens": 900}
ENDLESS: dict[str, Any] = {"messages": [{"role": "user", "content": TURN["message"]}], "max_tokens": 900}


@dataclass(frozen=True, slots=True)
class Server:
    client: LLMClient
    http: httpx.Client


@pytest.fixture(scope="module")
def server(tmp_path_factory: pytest.TempPathFactory) -> Iterator[Server]:
    with loaded_client(
        tmp_path_factory.mktemp("data"),
        parallel=1,
        queue_limit=1,
        rate_limit=f"{RATE}/minute",
        api_tokens="ann:ann-secret, bob:bob-secret, hasty:hasty-secret",
    ) as client:
        client.chat_session("anns", "Hello", owner="ann", max_tokens=1)
        with served(client) as url, httpx.Client(base_url=url, timeout=PATIENCE_SECONDS) as http:
            yield Server(client, http)


# ── what has to be so that a request is refused ──────────────────────────────────────────────────────────────────────


@contextmanager
def a_reply_is_being_made(
    server: Server, path: str = "api/llm/chat/session/stream", body: Any = TURN
) -> Iterator[None]:
    with server.http.stream("POST", path, json=body, headers=ANN) as answer:
        lines = answer.iter_lines()
        assert next(lines)
        yield


@contextmanager
def the_queue_is_full(server: Server) -> Iterator[None]:
    """One request runs and one waits."""
    with ExitStack() as stack:
        for place in ("running", "waiting"):
            stack.enter_context(a_reply_is_being_made(server, "api/llm/chat/stream", ENDLESS))
            wait_until(lambda place=place: getattr(stats_of(server.client), place) == 1, f"one is {place}")
        yield


@contextmanager
def hasty_has_asked_often(server: Server) -> Iterator[None]:
    for _ in range(RATE):
        server.http.post("api/llm/chat", json={}, headers=HASTY)
    yield


@contextmanager
def the_disk_is_full(server: Server) -> Iterator[None]:
    store = server.client.sessions._store()
    with disk_full(store):
        with suppress(StorageFull):  # what room there is in the pages of the file is taken up
            for number in range(100):
                store.open_turn("bob", f"filler-{number}", user("long " * 700), system_prompt=None)
        yield


@contextmanager
def the_database_is_read_only(server: Server) -> Iterator[None]:
    with read_only(server.client.sessions._store()):
        yield


def nothing(_: Server) -> AbstractContextManager[None]:
    return nullcontext()


# ── the rows ─────────────────────────────────────────────────────────────────────────────────────────────────────────


@dataclass(frozen=True, slots=True)
class Row:
    """A refusal.

    Attributes:
        code: In our shape; None where only OpenAI's clients get this status.
        openai_code: Under `/v1`; None where it has nothing that could be refused so.
        asked: Method, path and body of a request of ours.
        openai: Body of the same under `/v1`.
        condition: What has to be so meanwhile.
    """

    status: int
    code: str | None
    openai_code: str | None
    asked: tuple[str, str, Any] = ("POST", "api/llm/chat", HELLO)
    openai: Any = field(default_factory=lambda: HELLO)
    headers: dict[str, str] = field(default_factory=lambda: ANN)
    condition: Callable[[Server], AbstractContextManager[None]] = nothing


HISTORY = ("GET", "api/llm/chat/session/{}/history")
TOO_LARGE = b" " * (4 * 2**20 + 1)
ROWS = {
    "does not fit": Row(400, "context_overflow", "context_length_exceeded", ("POST", "api/llm/chat", LONG), LONG),
    "cannot do": Row(400, None, "invalid_request", openai=HELLO | {"n": 2}),
    "no token": Row(401, "unauthorized", "unauthorized", headers={}),
    "wrong token": Row(401, "unauthorized", "unauthorized", headers={"Authorization": "Bearer wrong"}),
    "may not": Row(403, "forbidden", None, ("POST", "api/llm/models", {"source": "hf:o/r"})),
    "not there": Row(404, "session_not_found", None, (HISTORY[0], HISTORY[1].format("none"), None)),
    "not yours": Row(404, "session_not_found", None, (HISTORY[0], HISTORY[1].format("anns"), None), headers=BOB),
    "wrong method": Row(405, "method_not_allowed", None, ("GET", "api/llm/chat", None)),
    "busy": Row(409, "session_busy", None, ("POST", "api/llm/chat/session", TURN), condition=a_reply_is_being_made),
    "too large": Row(413, "request_too_large", "request_too_large", ("POST", "api/llm/chat", TOO_LARGE), TOO_LARGE),
    "missing": Row(422, "invalid_request", None, ("POST", "api/llm/chat", {})),
    "out of range": Row(422, "invalid_request", None, ("POST", "api/llm/chat", HELLO | {"temperature": 9})),
    "missing under /v1": Row(400, None, "invalid_request", openai={}),
    "rate": Row(429, "rate_limited", "rate_limit_exceeded", headers=HASTY, condition=hasty_has_asked_often),
    "queue full": Row(503, "queue_full", "queue_full", condition=the_queue_is_full),
    "read-only": Row(
        503,
        "storage_read_only",
        None,
        ("POST", "api/llm/chat/session", TURN | {"session_id": "new"}),
        condition=the_database_is_read_only,
    ),
    "no time": Row(504, None, "timed_out", openai=HELLO | {"timeout": 1e-9}),
    "disk full": Row(
        507,
        "storage_full",
        None,
        ("POST", "api/llm/chat/session", TURN | {"session_id": "new", "message": "long " * 700}),
        condition=the_disk_is_full,
    ),
}


@pytest.mark.parametrize("row", ROWS.values(), ids=ROWS)
def test_a_refusal_has_its_status_and_the_one_shape(server: Server, row: Row) -> None:
    with row.condition(server):
        if row.code:
            check(ask(server, *row.asked, row.headers), row.status, row.code)
        if row.openai_code:
            check(ask(server, "POST", "v1/chat/completions", row.openai, row.headers), row.status, row.openai_code)

    wait_until(lambda: is_idle(server.client), "the engine is idle")
    assert ask(server, "POST", "api/llm/chat", HELLO, ANN).status_code == 200, "and the server goes on"


def ask(server: Server, method: str, path: str, body: Any, headers: dict[str, str]) -> httpx.Response:
    sent = {"content": body} if isinstance(body, bytes) else {"json": body} if body is not None else {}
    return server.http.request(method, path, headers=headers | {"Content-Type": "application/json"}, **sent)


def check(answer: httpx.Response, status: int, code: str) -> None:
    assert answer.status_code == status, answer.text
    error = answer.json()["error"]
    assert error["code"] == code
    assert error["message"]
    assert error["type"]
    assert ("retry-after" in answer.headers) == (status in (429, 503))
    if status in (429, 503):
        assert 1 <= int(answer.headers["retry-after"]) <= 60
    assert ("www-authenticate" in answer.headers) == (status == 401)


def test_the_table_has_each_status_that_is_brought_about_here_and_no_other() -> None:
    table = PAGE.split("## Refusals", 1)[1].split("\n## ", 1)[0]

    assert {int(status) for status in re.findall(r"^\| (\d+) \|", table, re.MULTILINE)} == {
        row.status for row in ROWS.values()
    }
