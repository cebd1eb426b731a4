"""From a client to a running server: where it may listen, what Gradio is told, and how it ends."""

from __future__ import annotations

import errno
import ipaddress
import signal
import socket
import threading
from typing import Any

from llm_core.client import LLMClient
from llm_core.errors import SettingsError
from llm_core.settings import LOOPBACK_NAMES, SERVER_NAME_VARIABLE, SERVER_PORT_VARIABLE, Settings
from llm_core.web import openai
from llm_core.web.page import build_app
from llm_core.web.theme import CSS, page_theme

# A reply may hold the address of a picture. Were it fetched, its server would learn who reads, and whatever of the
# conversation a model was talked into putting in the address.
_HEAD = """<meta http-equiv="Content-Security-Policy" content="img-src 'self' data: blob:">"""


def serve(client: LLMClient) -> None:
    """Serves the page until the process is interrupted or terminated, then ends running replies and returns.

    Call it in the main thread. The page is there at once; the model loads behind it.

    Raises:
        SettingsError: The address is open to others without leave, or cannot be listened on.
    """
    settings = client.settings
    check_address(settings)
    client.start()
    app = build_app(client)
    previous = signal.signal(signal.SIGTERM, signal.default_int_handler)
    try:
        _, url, _ = app.launch(**launch_options(client), prevent_thread_lock=True, quiet=True)
        print(f"Chat: {url}", flush=True)
        threading.Event().wait()
    except KeyboardInterrupt:
        print("Closing.", flush=True)
    except OSError as error:  # somebody took the port since it was checked
        raise SettingsError(_why_not(error, settings)) from error
    finally:
        signal.signal(signal.SIGTERM, previous)
        client.close()
        app.close(verbose=False)


def launch_options(client: LLMClient) -> dict[str, Any]:
    """What Gradio's `launch` is told: one port, our look, nothing that leaves the machine."""
    name = client.settings.server_name
    return {
        "server_name": f"[{name}]" if ":" in name else name,
        "server_port": client.settings.server_port,
        "theme": page_theme(),
        "css": CSS,
        "share": False,
        "ssr_mode": False,  # with it on, Node owns the port
        "enable_monitoring": False,
        "run_history": False,
        "pwa": False,
        "mcp_server": False,
        "footer_links": ["api"],
        "max_file_size": "1mb",
        "head": _HEAD,
        "app_kwargs": {"routes": openai.routes(client), "docs_url": None, "redoc_url": None, "openapi_url": None},
    }


def check_address(settings: Settings) -> None:
    """Refuses an address that others could reach without the operator's leave, and one that cannot be listened on.

    Raises:
        SettingsError: Says which, and what to set.
    """
    if not settings.public and not is_loopback(settings.server_name):
        raise SettingsError(
            f"{SERVER_NAME_VARIABLE}={settings.server_name} would open this chat to everyone who can reach this "
            "machine. Set LLM_PUBLIC=1 if that is meant, or listen on 127.0.0.1."
        )
    try:
        _try_to_listen(settings.server_name, settings.server_port)
    except OSError as error:
        raise SettingsError(_why_not(error, settings)) from None


def is_loopback(name: str) -> bool:
    """Whether only this machine can reach a server that listens on `name`."""
    if name in LOOPBACK_NAMES:
        return True
    try:
        return ipaddress.ip_address(name).is_loopback
    except ValueError:
        return False


def _try_to_listen(name: str, port: int) -> None:
    family, _, _, _, address = socket.getaddrinfo(name, port, type=socket.SOCK_STREAM, flags=socket.AI_PASSIVE)[0]
    socket.create_server(address[:2], family=family).close()


def _why_not(error: OSError, settings: Settings) -> str:
    port = settings.server_port
    if error.errno == errno.EADDRINUSE:
        return f"Port {port} is in use by another program. Set {SERVER_PORT_VARIABLE} to a free one."
    if error.errno == errno.EACCES:
        return f"Port {port} needs more rights than this program has. Set {SERVER_PORT_VARIABLE} to one above 1023."
    return (
        f"Nothing can listen on {SERVER_NAME_VARIABLE}={settings.server_name}, port {port}: {error.strerror or error}."
    )
