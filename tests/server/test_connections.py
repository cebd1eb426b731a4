"""How many connections there may be, who has to go, and that those who are in are answered all the while."""

from __future__ import annotations

import asyncio
import errno
import json
import os
import socket
import subprocess
import sys
import threading
from collections.abc import Callable, Iterator
from contextlib import ExitStack, closing
from pathlib import Path
from typing import Any

import httpx
import pytest

from llm_core.server import connections
from llm_core.server.connections import Listener
from llm_core.server.serve import listen, running
from llm_core.settings import Settings
from tests.waiting import free_port, wait_until

ROOT = Path(__file__).resolve().parents[2]
LIMIT = 16
ELSEWHERE = "10.0.0.7"  # with the only trusted proxy there, this machine's addresses are like any other
HEAD = b"POST / HTTP/1.1\r\nHost: localhost\r\n"


class App:
    """Answers at `/`; at `/held` only when the test lets it."""

    def __init__(self) -> None:
        self.held = 0
        self.let_go = threading.Event()

    async def __call__(self, scope: dict[str, Any], receive: Callable[..., Any], send: Callable[..., Any]) -> None:
        if scope["type"] == "lifespan":
            await receive()
            await send({"type": "lifespan.startup.complete"})
            await receive()
            await send({"type": "lifespan.shutdown.complete"})
            return
        if scope["path"] == "/held":
            self.held += 1
            await asyncio.to_thread(self.let_go.wait)
        elif scope["method"] == "POST":
            await receive()
        await send({"type": "http.response.start", "status": 200, "headers": [(b"content-length", b"2")]})
        await send({"type": "http.response.body", "body": b"ok"})


@pytest.fixture
def app() -> App:
    return App()


@pytest.fixture
def serve(app: App, monkeypatch: pytest.MonkeyPatch) -> Iterator[Callable[..., int]]:
    """Serves `app` with room for a few, who have as long as they like; returns its port."""
    monkeypatch.setattr(connections, "REQUEST_SECONDS", 1000.0)
    monkeypatch.setattr(connections, "CROWDED_SECONDS", 1000.0)
    with ExitStack() as stack:

        def start(*, limit: int = LIMIT, **settings: Any) -> int:
            monkeypatch.setattr(connections, "connection_limit", lambda: limit)
            port = free_port()
            listener = stack.enter_context(listen(Settings(GRADIO_SERVER_PORT=port, **settings)))
            stack.enter_context(running(app, listener))  # type: ignore[arg-type]
            stack.callback(app.let_go.set)
            return port

        yield start


def connect(port: int, sends: bytes = b"", source: str = "127.0.0.1") -> socket.socket:
    connection = socket.create_connection(("127.0.0.1", port), timeout=30, source_address=(source, 0))
    connection.sendall(sends)
    return connection


def held(port: int, app: App, number: int, source: str = "127.0.0.1") -> list[socket.socket]:
    """Connections whose requests are being answered, for as long as somebody has the list."""
    asked = [connect(port, b"GET /held HTTP/1.1\r\nHost: localhost\r\n\r\n", source) for _ in range(number)]
    wait_until(lambda: app.held >= number, "all are in")
    return asked


def everything(connection: socket.socket) -> bytes:
    """What comes until the server hangs up."""
    with closing(connection):
        return b"".join(iter(lambda: connection.recv(65_536), b""))


# ── who asks for nothing ─────────────────────────────────────────────────────────────────────────────────────────────


@pytest.mark.parametrize("sent", [b"", HEAD], ids=["nothing", "half a head"])
def test_who_sends_no_request_is_hung_up_on(
    serve: Callable[..., int], monkeypatch: pytest.MonkeyPatch, sent: bytes
) -> None:
    port = serve()
    monkeypatch.setattr(connections, "REQUEST_SECONDS", 0.1)

    assert everything(connect(port, sent)) == b""


def test_who_does_not_send_the_body_that_was_promised_is_hung_up_on(
    serve: Callable[..., int], monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(connections, "BODY_SECONDS", 0.1)

    assert b"200 OK" not in everything(connect(serve(), HEAD + b"Content-Length: 100\r\n\r\n"))


def test_who_waits_for_an_answer_is_never_hung_up_on(
    serve: Callable[..., int], app: App, monkeypatch: pytest.MonkeyPatch
) -> None:
    port = serve()
    (waiting,) = held(port, app, 1)
    monkeypatch.setattr(connections, "REQUEST_SECONDS", 0.0)
    monkeypatch.setattr(connections, "BODY_SECONDS", 0.0)
    assert everything(connect(port)) == b"", "others were looked at meanwhile"

    app.let_go.set()

    assert waiting.recv(1000).startswith(b"HTTP/1.1 200")


# ── no room ──────────────────────────────────────────────────────────────────────────────────────────────────────────


def test_one_too_many_is_told_so_and_those_who_are_in_are_answered(serve: Callable[..., int], app: App) -> None:
    port = serve()
    inside = held(port, app, LIMIT)

    refused = httpx.get(f"http://127.0.0.1:{port}/")

    assert refused.status_code == 503
    assert refused.headers["retry-after"] == "5"
    assert refused.json()["error"]["code"] == "too_many_connections"
    app.let_go.set()
    assert all(each.recv(1000).startswith(b"HTTP/1.1 200") for each in inside)
    for each in inside:
        each.close()
    wait_until(lambda: httpx.get(f"http://127.0.0.1:{port}/").status_code == 200, "there is room again")


def test_those_who_ask_for_nothing_make_room_for_those_who_do(
    serve: Callable[..., int], monkeypatch: pytest.MonkeyPatch
) -> None:
    port = serve()
    monkeypatch.setattr(connections, "CROWDED_SECONDS", 0.2)
    idle = [connect(port) for _ in range(4 * LIMIT)]

    wait_until(lambda: httpx.get(f"http://127.0.0.1:{port}/").status_code == 200, "there is room")

    assert everything(idle[0]) == b"", "who has waited the longest has gone, long before its time was over"


def test_one_address_cannot_take_all_the_room(serve: Callable[..., int], app: App) -> None:
    port = serve(trusted_proxies=ELSEWHERE)
    inside = held(port, app, LIMIT // connections.ADDRESS_SHARE)

    assert everything(connect(port)).startswith(b"HTTP/1.1 503")
    other = connect(port, HEAD + b"Content-Length: 0\r\n\r\n", source="127.0.0.2")
    assert other.recv(1000).startswith(b"HTTP/1.1 200")
    assert len(inside) == LIMIT // connections.ADDRESS_SHARE


def test_a_trusted_proxy_may_bring_everybody(serve: Callable[..., int], app: App) -> None:
    held(serve(trusted_proxies="127.0.0.1"), app, LIMIT)


def test_many_refusals_are_one_line_in_the_log(
    serve: Callable[..., int], app: App, caplog: pytest.LogCaptureFixture
) -> None:
    port = serve()
    inside = held(port, app, LIMIT)

    answers = [httpx.get(f"http://127.0.0.1:{port}/").status_code for _ in range(100)]

    assert (len(inside), set(answers)) == (LIMIT, {503})
    assert len([record for record in caplog.records if "turned away" in record.message]) == 1


@pytest.mark.parametrize("address", ["2001:db8:1:2::7", "2001:db8:1:2:ffff::1", "2001:db8:1:2::3%eth0"])
def test_of_ipv6_a_customers_whole_network_counts_as_one(address: str) -> None:
    assert connections._party(address) == "2001:db8:1:2::/64"


# ── no descriptor ────────────────────────────────────────────────────────────────────────────────────────────────────


def test_without_a_descriptor_the_caller_is_closed_and_not_offered_for_ever(
    monkeypatch: pytest.MonkeyPatch, caplog: pytest.LogCaptureFixture
) -> None:
    accept, left = socket.socket.accept, [OSError(errno.EMFILE, os.strerror(errno.EMFILE))]

    def out_of_descriptors(listener: socket.socket) -> Any:
        if left:
            raise left.pop()
        return accept(listener)

    with Listener(socket.create_server(("127.0.0.1", 0)), ()) as listener:
        caller = connect(listener.getsockname()[1])
        monkeypatch.setattr(socket.socket, "accept", out_of_descriptors)
        with pytest.raises(BlockingIOError):
            listener.accept()
        assert everything(caller) == b""

    assert "no file descriptor is left" in caplog.text


def test_a_place_is_free_again_when_its_connection_is_closed() -> None:
    with Listener(socket.create_server(("127.0.0.1", 0)), ()) as listener:
        for _ in range(3 * listener.limit):
            with connect(listener.getsockname()[1]):
                accepted, _address = listener.accept()
                accepted.close()
                accepted.close()


LOADED = """
import resource, runpy
resource.setrlimit(resource.RLIMIT_NOFILE, (100, 256))
runpy.run_path("app.py", run_name="__main__")
"""


@pytest.mark.slow
def test_the_app_with_256_descriptors_answers_a_chat_beside_a_thousand_idle_connections(tmp_path: Path) -> None:
    port, log = free_port(), tmp_path / "log"
    url = f"http://127.0.0.1:{port}/api/llm"
    variables = {"GRADIO_SERVER_PORT": str(port), "LLM_DATA_DIR": str(tmp_path / "data"), "LLM_PARALLEL": "1"}
    with log.open("wb") as written:
        process = subprocess.Popen(
            [sys.executable, "-c", LOADED], cwd=ROOT, env=os.environ | variables, stdout=written, stderr=written
        )
    try:
        wait_until(lambda: status(f"{url}/health") == 200, "the app is ready", seconds=90)
        idle = [connect(port) for _ in range(1000)]
        said = {"session_id": "beside", "message": "Hi", "max_tokens": 4}
        wait_until(lambda: status(f"{url}/chat/session", said) == 200, "a chat is answered")
        for each in idle:
            each.close()
    finally:
        process.terminate()
        process.wait(60)

    lines = log.read_text().splitlines()
    assert "Traceback" not in log.read_text()
    told = [json.loads(line)["message"] for line in lines if "turned away" in line]
    assert len(told) == 1
    assert "128 allowed" in told[0], "half of what it may have, which it has raised itself to"


def status(url: str, body: dict[str, Any] | None = None) -> int:
    try:
        return httpx.request("POST" if body else "GET", url, json=body, timeout=60).status_code
    except httpx.TransportError:
        return 0
