"""A worker that cannot take requests yet: in the app it waits for what may come, and a command says what is wrong."""

from __future__ import annotations

import asyncio
import logging
import os
import signal
import threading
from collections.abc import Iterator
from concurrent.futures import Future
from contextlib import closing, contextmanager
from pathlib import Path

import pytest

from llm_core.backends import pool
from llm_core.backends.remote import backend as remote
from llm_core.client import LLMClient
from llm_core.errors import EngineUnreachable, LLMError, ModelError, SettingsError, StorageError
from llm_core.events import ContentDelta, Done, Timings, Usage
from llm_core.models.info import ModelInfo
from llm_core.mqtt.worker import serve
from llm_core.mqtt.worker import worker as worker_module
from llm_core.mqtt.worker.ledger import Ledger
from llm_core.mqtt.worker.serve import WorkerThread, _serve_broker, serve_broker, worker_thread
from tests.backends.fake_engine import FakeEngine
from tests.scripted_backend import ScriptedBackend
from tests.waiting import free_port

from ..conftest import PATIENCE_SECONDS, Broker, settings_for, wait_until


class Failing(ScriptedBackend):
    """Cannot begin for these reasons, one after the other; then it has."""

    def __init__(self, *errors: LLMError) -> None:
        super().__init__(lambda _request, _stopped: [ContentDelta("Hello"), Done("stop", Usage(), Timings())])
        self.errors = [*errors]

    def start(self) -> Future[ModelInfo]:
        if not self.errors:
            return super().start()
        failed: Future[ModelInfo] = Future()
        failed.set_exception(self.errors.pop(0))
        return failed


@pytest.fixture(autouse=True)
def _at_once(monkeypatch: pytest.MonkeyPatch) -> None:
    """What is tried again is tried again soon."""
    monkeypatch.setattr(pool, "_RETRY_SECONDS", -1.0)
    monkeypatch.setattr(remote, "PATIENCE_SECONDS", 0.05)
    monkeypatch.setattr(worker_module, "_PAUSE_SECONDS", 0.01)


@contextmanager
def starting(broker: Broker, folder: Path, *errors: LLMError) -> Iterator[WorkerThread]:
    """The app's worker, whose model cannot be had for these reasons, one after the other."""
    with LLMClient(settings_for(broker, folder), backend=Failing(*errors)) as client:
        started = WorkerThread(client)
        try:
            yield started
        finally:
            started.close()


def said(caplog: pytest.LogCaptureFixture) -> list[str]:
    """What the log has of waiting."""
    return [record.getMessage() for record in caplog.records if "takes no requests until" in record.getMessage()]


def errors_of(caplog: pytest.LogCaptureFixture) -> list[logging.LogRecord]:
    """What the log has of a worker that has failed."""
    return [record for record in caplog.records if record.name == serve.log.name and record.levelno >= logging.ERROR]


def test_the_app_takes_requests_when_its_engine_comes_late(
    broker: Broker, tmp_path: Path, caplog: pytest.LogCaptureFixture
) -> None:
    engine = FakeEngine()
    engine.kill()
    settings = settings_for(broker, tmp_path, server_url=engine.url)
    with closing(engine), LLMClient(settings) as client, worker_thread(client) as worker:
        assert worker is not None
        wait_until(lambda: bool(said(caplog)), "it says what it waits for")
        engine.start()
        assert worker.wait_ready(60)

    assert len(said(caplog)) == 1
    assert "No engine answers" in said(caplog)[0]


@pytest.mark.parametrize("error", [EngineUnreachable("Nobody answers."), ModelError("The Hub cannot be reached.")])
def test_the_app_says_once_what_it_waits_for_and_takes_requests_when_it_is_there(
    broker: Broker, tmp_path: Path, caplog: pytest.LogCaptureFixture, error: LLMError
) -> None:
    with starting(broker, tmp_path, error, error, error) as worker:
        assert worker.wait_ready(60)

    (waited,) = said(caplog)
    assert waited.endswith(error.message)


def test_the_app_waits_for_its_database_too(
    broker: Broker, tmp_path: Path, caplog: pytest.LogCaptureFixture, monkeypatch: pytest.MonkeyPatch
) -> None:
    join, errors = Ledger.join, [StorageError("It is locked.")] * 2

    def locked(ledger: Ledger) -> None:
        if errors:
            raise errors.pop()
        join(ledger)

    monkeypatch.setattr(Ledger, "join", locked)
    with starting(broker, tmp_path) as worker:
        assert worker.wait_ready(60)

    assert len(said(caplog)) == 1


def test_a_worker_that_waits_ends_at_once(
    broker: Broker, tmp_path: Path, caplog: pytest.LogCaptureFixture, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(worker_module, "_PAUSE_SECONDS", 3600.0)
    with starting(broker, tmp_path, ModelError("It is not there.")) as worker:
        wait_until(lambda: bool(said(caplog)), "it waits")
        threading.Thread(target=worker.close).start()
        wait_until(lambda: not worker._thread.is_alive(), "it has ended")

    assert not errors_of(caplog)


def test_a_worker_that_waits_ends_with_its_client(
    broker: Broker, tmp_path: Path, caplog: pytest.LogCaptureFixture
) -> None:
    with LLMClient(settings_for(broker, tmp_path, server_url=f"http://127.0.0.1:{free_port()}")) as client:
        worker = WorkerThread(client)
        wait_until(lambda: bool(said(caplog)), "it waits")
    wait_until(lambda: not worker._thread.is_alive(), "it has ended")
    worker.close()

    assert not errors_of(caplog)


def test_a_wrong_setting_ends_the_apps_worker(broker: Broker, tmp_path: Path, caplog: pytest.LogCaptureFixture) -> None:
    with starting(broker, tmp_path, SettingsError("LLM_CONTEXT_TOKENS is too large.")) as worker:
        wait_until(lambda: not worker._thread.is_alive(), "it has ended")

    assert "The MQTT worker has ended: LLM_CONTEXT_TOKENS is too large." in caplog.text


@pytest.mark.parametrize("error", [ModelError("There is no file x.gguf."), SettingsError("Too large.")])
def test_a_command_says_what_is_wrong_with_its_model_and_ends(broker: Broker, tmp_path: Path, error: LLMError) -> None:
    client = LLMClient(settings_for(broker, tmp_path), backend=Failing(error))
    with client, pytest.raises(type(error), match=error.message):
        serve_broker(client)


async def test_a_command_waits_for_its_engine_until_it_is_told_to_end(
    broker: Broker, tmp_path: Path, caplog: pytest.LogCaptureFixture
) -> None:
    settings = settings_for(broker, tmp_path, server_url=f"http://127.0.0.1:{free_port()}")
    with LLMClient(settings) as client:
        serving = asyncio.create_task(_serve_broker(client))
        await asyncio.to_thread(wait_until, lambda: bool(said(caplog)) or serving.done(), "it waits")
        os.kill(os.getpid(), signal.SIGTERM)
        await asyncio.wait_for(serving, PATIENCE_SECONDS)

    assert len(said(caplog)) == 1
