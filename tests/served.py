"""The real page over a real port, in this process so that tests can look at the engine, and a browser."""

from __future__ import annotations

from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path
from typing import Any

import pytest
from playwright.sync_api import expect

from llm_core.client import LLMClient
from llm_core.settings import SERVER_PORT_VARIABLE, Settings
from tests.waiting import free_port

PATIENCE_MS = 60_000
DESKTOP = {"width": 1180, "height": 820}
expect.set_options(timeout=PATIENCE_MS)


@contextmanager
def served(client: LLMClient) -> Iterator[str]:
    """All doorways of `client` on its port; yields the URL. Whoever is still connected at the end is not waited for."""
    from llm_core.server import serve  # here, as Gradio takes long to import and few tests need it
    from llm_core.server.server import build_server

    with serve.listen(client.settings) as listener, pytest.MonkeyPatch.context() as patch:
        patch.setattr(serve, "GOODBYE_SECONDS", 0)
        with serve.running(build_server(client), listener) as url:
            yield url


@contextmanager
def loaded_client(folder: Path, **settings: Any) -> Iterator[LLMClient]:
    """A client with the bundled model in memory, its sessions in `folder`, and a port of its own to be served on.

    Where `settings` say nothing else it has two slots, is greedy and counts no requests.
    """
    usual = {"parallel": 2, "context_tokens": 1024, "temperature": 0, "rate_limit": "none"}
    where = {"data_dir": folder, SERVER_PORT_VARIABLE: free_port()}
    with LLMClient(Settings(**(usual | settings | where))) as client:
        client.wait_ready()
        yield client
