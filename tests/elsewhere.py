"""The engine of tests that run with `--engine-elsewhere`: a second copy of the app, asked over its `/v1`."""

from __future__ import annotations

from collections.abc import Iterator
from contextlib import contextmanager

from llm_core.client import LLMClient
from llm_core.settings import Settings
from tests.served import served
from tests.waiting import free_port

_started: list[LLMClient] = []


@contextmanager
def engine_behind_v1() -> Iterator[str]:
    """Runs it; yields its base URL."""
    settings = Settings(
        parallel=4,
        context_tokens=1024,
        rate_limit="none",
        database_url="sqlite://",
        GRADIO_SERVER_PORT=free_port(),
    )
    with LLMClient(settings) as client:
        client.wait_ready()
        with served(client) as url:
            _started.append(client)
            yield f"{url}v1"
            _started.remove(client)


def with_engine_of(client: LLMClient) -> LLMClient:
    """The client whose process has the engine that `client` asks: itself, or the second copy."""
    return _started[0] if client.settings.server_url else client
