"""From a client to a running server: where it may listen, how it is run, and how it ends."""

from __future__ import annotations

import errno
import signal
import socket
import threading
import time
from collections.abc import Iterator
from contextlib import contextmanager, suppress
from queue import Empty, SimpleQueue

import uvicorn
from fastapi import FastAPI

from llm_core.client import LLMClient
from llm_core.errors import SettingsError
from llm_core.server.connections import Connection, Listener, Server, raise_descriptor_limit
from llm_core.server.lean_import import lean_import
from llm_core.settings import SERVER_NAME_VARIABLE, SERVER_PORT_VARIABLE, Settings, is_loopback
from llm_core.stdout import say

LOOK_SECONDS = 0.1  # between two looks at whether replies still run
STALL_SECONDS = 120  # a reader who takes nothing for so long has left; a phone that loses its network comes back sooner
GOODBYE_SECONDS = 3  # for connections to send what they have; open pages would keep theirs for ever


def serve(client: LLMClient) -> None:
    """Serves until the process is interrupted or terminated; then running replies may end, and it returns.

    Call it in the main thread. The page is there at once; the model loads behind it.

    Raises:
        SettingsError: The address is open to others without leave, or cannot be listened on.
    """
    settings = client.settings
    check_address(settings)
    raise_descriptor_limit()
    try:
        with _stop_signals() as signals, listen(settings) as listener:
            client.start()
            # Gradio takes a second to import. By now what is wrong has been said, and the model is being loaded.
            with lean_import():
                from llm_core.server.server import build_server

            with running(build_server(client), listener) as url:
                say(f"Chat: {url}")
                signals.get()
                _drain(client, signals)
                client.close()  # while the server still runs: readers are told
    finally:
        client.close()


Signals = SimpleQueue[int]
"""Those that ask the process to end, as they come. An exception in their place could come anywhere, and get lost there:
Python drops one that is raised while an import tidies up."""


@contextmanager
def _stop_signals() -> Iterator[Signals]:
    asked: Signals = SimpleQueue()
    previous = {
        each: signal.signal(each, lambda number, _: asked.put(number)) for each in (signal.SIGINT, signal.SIGTERM)
    }
    try:
        yield asked
    finally:
        for each, handler in previous.items():
            signal.signal(each, handler)


@contextmanager
def running(app: FastAPI, listener: Listener) -> Iterator[str]:
    """Runs the server on a thread of its own for as long as the block runs; yields the page's URL."""
    config = uvicorn.Config(
        app,
        http=Connection,
        ws="none",  # nothing here speaks it, and its connections would not be counted
        log_level="warning",
        access_log=False,  # ours has ids and no paths
        lifespan="on",
        proxy_headers=False,  # the application looks at them itself, and knows which proxies to trust
        timeout_graceful_shutdown=GOODBYE_SECONDS,
        server_header=False,
    )
    server = Server(config, listener)
    thread = threading.Thread(target=server.run, kwargs={"sockets": [listener]}, name="http")
    thread.start()
    try:
        while not server.started:
            if not thread.is_alive():
                raise RuntimeError("The server could not be started; the log above says why.")
            time.sleep(0.01)
        yield _url(listener)
    finally:
        server.should_exit = True
        thread.join()


def _drain(client: LLMClient, signals: Signals) -> None:
    """Takes no new work and lets running replies end, for a time; a second signal ends them at once."""
    seconds = client.settings.drain_seconds
    client.refuse_new()
    if seconds and _is_busy(client):
        say(f"Closing. Running replies may end, for {seconds:.0f} s; a second signal, such as Ctrl-C, ends them now.")
    until = time.monotonic() + seconds
    while _is_busy(client) and time.monotonic() < until:
        with suppress(Empty):
            signals.get(timeout=LOOK_SECONDS)
            break
    say("Closing.")


def _is_busy(client: LLMClient) -> bool:
    stats = client.stats()
    return stats is not None and bool(stats.running or stats.waiting)


def check_address(settings: Settings) -> None:
    """Refuses an address that others could reach without the operator's leave.

    Raises:
        SettingsError: Says what to set.
    """
    if not (settings.public or settings.api_tokens or is_loopback(settings.server_name)):
        raise SettingsError(
            f"{SERVER_NAME_VARIABLE}={settings.server_name} would open this chat to everyone who can reach this "
            "machine. Set LLM_API_TOKENS to say who may use it, LLM_PUBLIC=1 if everyone may, or listen on 127.0.0.1."
        )


@contextmanager
def listen(settings: Settings) -> Iterator[Listener]:
    """The socket of the server.

    Raises:
        SettingsError: It cannot be listened on; says why, and what to set.
    """
    name, port = settings.server_name, settings.server_port
    try:
        found = socket.getaddrinfo(name, port, type=socket.SOCK_STREAM, flags=socket.AI_PASSIVE)
        family, _, _, _, address = found[0]
        listening = socket.create_server(address[:2], family=family, backlog=1024)
    except OSError as error:
        raise SettingsError(_why_not(error, settings)) from None
    with Listener(listening, settings.trusted_proxies) as listener:
        _hang_up_on_the_stalled(listener)
        yield listener


def _hang_up_on_the_stalled(listener: socket.socket) -> None:
    """Has the system end connections whose reader takes nothing, or is gone without a word. Uvicorn has no such limit,
    and would keep what was not taken for ever. Accepted sockets inherit the option; only Linux has it."""
    if hasattr(socket, "TCP_USER_TIMEOUT"):
        listener.setsockopt(socket.IPPROTO_TCP, socket.TCP_USER_TIMEOUT, int(STALL_SECONDS * 1e3))


def _url(listener: socket.socket) -> str:
    name, port = listener.getsockname()[:2]
    if name in ("0.0.0.0", "::"):
        name = "localhost"
    return f"http://[{name}]:{port}/" if ":" in name else f"http://{name}:{port}/"


def _why_not(error: OSError, settings: Settings) -> str:
    port = settings.server_port
    if error.errno == errno.EADDRINUSE:
        return f"Port {port} is in use by another program. Set {SERVER_PORT_VARIABLE} to a free one."
    if error.errno == errno.EACCES:
        return f"Port {port} needs more rights than this program has. Set {SERVER_PORT_VARIABLE} to one above 1023."
    return (
        f"Nothing can listen on {SERVER_NAME_VARIABLE}={settings.server_name}, port {port}: {error.strerror or error}."
    )
