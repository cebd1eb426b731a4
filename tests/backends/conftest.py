"""Engines elsewhere: one that does as it is told, and a second copy of this app with the bundled model."""

from __future__ import annotations

import subprocess
import sys
import time
from collections.abc import Callable, Iterator
from pathlib import Path
from typing import Any

import httpx
import pytest

from llm_core.backends.remote import backend as remote_backend
from llm_core.backends.remote import engines as remote_engines
from llm_core.client import LLMClient
from llm_core.settings import Settings
from tests.backends.fake_engine import FakeEngine
from tests.environment import environment_without
from tests.waiting import free_port

ROOT = Path(__file__).resolve().parent.parent.parent
START_SECONDS = 120


@pytest.fixture
def quick(monkeypatch: pytest.MonkeyPatch) -> None:
    """The same waits, but shorter."""
    monkeypatch.setattr(remote_backend, "FIRST_PAUSE_SECONDS", 0.02)
    monkeypatch.setattr(remote_backend, "WAIT_SECONDS", 0.3)
    monkeypatch.setattr(remote_engines, "PROBE_DOWN_SECONDS", 0.05)
    monkeypatch.setattr(remote_engines, "PROBE_SECONDS", 0.1)


@pytest.fixture
def impatient(monkeypatch: pytest.MonkeyPatch) -> None:
    """Not for tests whose engines are there: a busy machine may take longer to hear one answer."""
    monkeypatch.setattr(remote_backend, "PATIENCE_SECONDS", 0.5)


@pytest.fixture
def engine(quick: None) -> Iterator[FakeEngine]:
    engine = FakeEngine()
    yield engine
    engine.close()


@pytest.fixture
def second_engine() -> Iterator[FakeEngine]:
    engine = FakeEngine()
    yield engine
    engine.close()


@pytest.fixture
def make_client(tmp_path: Path) -> Iterator[Callable[..., LLMClient]]:
    """Makes a client of these engines."""
    made = []

    def make(*engines: FakeEngine | str, **settings: Any) -> LLMClient:
        urls = ",".join(engine if isinstance(engine, str) else engine.url for engine in engines)
        made.append(LLMClient(Settings(server_url=urls, data_dir=tmp_path, system_prompt="", **settings)))
        return made[-1]

    yield make
    for client in made:
        client.close()


@pytest.fixture
def client(engine: FakeEngine, make_client: Callable[..., LLMClient]) -> LLMClient:
    """A client of the one fake engine."""
    client = make_client(engine)
    client.wait_ready(60)
    return client


class App:
    """A copy of this app in a process of its own."""

    def __init__(self, data_dir: Path, **variables: str) -> None:
        self.port = free_port()
        self.url = f"http://127.0.0.1:{self.port}"
        clean = environment_without("LLM_", "MQTT_")
        own = {"LLM_DATA_DIR": str(data_dir), "LLM_RATE_LIMIT": "none", "GRADIO_SERVER_PORT": str(self.port)}
        self._log = (data_dir / f"app-{self.port}.log").open("wb")
        self.process = subprocess.Popen(
            [sys.executable, "app.py"], cwd=ROOT, env=clean | own | variables, stdout=self._log, stderr=self._log
        )

    def wait_ready(self) -> None:
        until = time.monotonic() + START_SECONDS
        while time.monotonic() < until:
            if self.process.poll() is not None:
                break
            try:
                if httpx.get(f"{self.url}/api/llm/health", timeout=5).status_code == 200:
                    return
            except httpx.HTTPError:
                pass
            time.sleep(0.1)
        pytest.fail(f"the app did not start: {Path(self._log.name).read_text()[-2000:]}")

    def kill(self) -> None:
        """As the system does when memory runs out: nothing is told to anybody."""
        self.process.kill()
        self.process.wait(10)

    def close(self) -> None:
        self.process.terminate()
        try:
            self.process.wait(20)
        except subprocess.TimeoutExpired:
            self.kill()
        self._log.close()


@pytest.fixture(scope="session")
def engine_app(tmp_path_factory: pytest.TempPathFactory) -> Iterator[App]:
    """The engine of remote clients: this app with the bundled model."""
    app = App(tmp_path_factory.mktemp("engine"), LLM_CONTEXT_TOKENS="1024", LLM_PARALLEL="4")
    app.wait_ready()
    yield app
    app.close()
