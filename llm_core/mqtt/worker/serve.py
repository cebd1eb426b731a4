"""Runs a worker: on a thread of its own in the app, or in the foreground as a program."""

from __future__ import annotations

import asyncio
import logging
import signal
import threading
from collections.abc import Iterator
from contextlib import contextmanager, suppress
from typing import TYPE_CHECKING

from llm_core.client import LLMClient
from llm_core.errors import EngineClosed, EngineUnreachable, LLMError, ModelError, StorageError
from llm_core.extras import needs
from llm_core.stdout import say

if TYPE_CHECKING:
    from llm_core.mqtt.worker.worker import Worker

log = logging.getLogger(__name__)

# An engine elsewhere may be started after its workers. Of all else a command tells whoever has started it, and ends. In
# the app HTTP comes to work when such a thing is over, and nobody could start the worker again alone.
_COMMAND_OUTLASTS = (EngineUnreachable,)
_APP_OUTLASTS = (EngineUnreachable, ModelError, StorageError)


def _worker(client: LLMClient, outlasts: tuple[type[LLMError], ...]) -> Worker:
    """A worker. Imported here: an app without a broker does without an MQTT library."""
    with needs("mqtt", "MQTT_URL"):
        from llm_core.mqtt.worker.worker import Worker
    return Worker(client, outlasts=outlasts)


class WorkerThread:
    """A worker on a thread of its own. It takes requests as soon as there is a model to answer them, however late.

    Raises:
        SettingsError: What the settings say of the broker cannot be used.
    """

    def __init__(self, client: LLMClient) -> None:
        self._worker = _worker(client, _APP_OUTLASTS)
        self._ready = threading.Event()
        self._loop, self._stop = asyncio.new_event_loop(), asyncio.Event()
        self._thread = threading.Thread(target=self._run, name="mqtt")
        self._thread.start()

    def wait_ready(self, timeout: float) -> bool:
        """Waits until it takes requests, at most so many seconds. Whether it does."""
        return self._ready.wait(timeout)

    def close(self) -> None:
        """Ends it: it takes no more requests, and running replies may end."""
        with suppress(RuntimeError):  # it has ended by itself
            self._loop.call_soon_threadsafe(self._stop.set)
        self._thread.join()

    def _run(self) -> None:
        try:
            with asyncio.Runner(loop_factory=lambda: self._loop) as runner:
                runner.run(self._worker.run(self._stop, self._ready.set))
        except EngineClosed:  # the client has been closed first, before there was a model
            log.info("The MQTT worker has ended before it took requests.")
        except LLMError as error:
            log.error("The MQTT worker has ended: %s", error)
        except Exception:
            log.exception("the MQTT worker has failed")


@contextmanager
def worker_thread(client: LLMClient) -> Iterator[WorkerThread | None]:
    """A worker for as long as the block runs, where `MQTT_URL` is set.

    Raises:
        SettingsError: What the settings say of the broker cannot be used.
    """
    if client.settings.mqtt_url is None:
        yield None
        return
    worker = WorkerThread(client)
    try:
        yield worker
    finally:
        worker.close()


def serve_broker(client: LLMClient) -> None:
    """Serves a broker until the process is interrupted or terminated; then running replies may end, and it returns. A
    second signal ends them at once. It waits for an engine elsewhere that is not there yet.

    Call it in the main thread.

    Raises:
        SettingsError, ModelError, StorageError: It cannot serve; the message says why.
    """
    asyncio.run(_serve_broker(client))


async def _serve_broker(client: LLMClient) -> None:
    worker, stop = _worker(client, _COMMAND_OUTLASTS), asyncio.Event()
    loop = asyncio.get_running_loop()
    closing: list[asyncio.Future[None]] = []

    def end() -> None:
        if stop.is_set():
            closing.append(loop.run_in_executor(None, client.close))
        stop.set()

    for number in (signal.SIGINT, signal.SIGTERM):
        loop.add_signal_handler(number, end)
    await worker.run(stop, lambda: say(f"Serving {client.settings.mqtt_url} as {worker.name}"))
