"""The requests that this worker answers now: started, sent again, cancelled, ended."""

from __future__ import annotations

import asyncio
import logging
import time
from collections import OrderedDict
from collections.abc import Coroutine
from typing import Any

from llm_core.client import LLMClient
from llm_core.errors import QueueFull, TooLarge
from llm_core.mqtt.packets import TOO_LARGE, ReplyTo
from llm_core.mqtt.topics import RequestKey
from llm_core.mqtt.worker.decoder import Arrival, Refusal
from llm_core.mqtt.worker.job import Job
from llm_core.mqtt.worker.ledger import Ledger, Record
from llm_core.mqtt.worker.outbox import payload_limit
from llm_core.mqtt.worker.port import Port
from llm_core.mqtt.worker.projects import Templates

log = logging.getLogger(__name__)

MOST_CANCELS = 1000  # that came before their requests, and are remembered


class Dispatcher:
    """Requests in work, in one event loop."""

    def __init__(self, client: LLMClient, ledger: Ledger, templates: Templates, port: Port) -> None:
        self._client, self._ledger, self._templates, self._port = client, ledger, templates, port
        self._jobs: dict[RequestKey, Job] = {}
        self._tasks: set[asyncio.Task[None]] = set()
        self._cancels: OrderedDict[RequestKey, None] = OrderedDict()
        self.draining = asyncio.Event()
        """Set when this worker is to take no more requests."""

    # ── requests ─────────────────────────────────────────────────────────────────────────────────────────────────────

    def dispatch(self, arrival: Arrival, record: Record) -> str | None:
        """Answers a request that has been written down, or tells what there is of its answer.

        Returns:
            The worker that has it, where that is another one; None: this one has seen to it.
        """
        running = self._jobs.get(arrival.key)
        if running is not None:
            if not arrival.duplicate:  # else the broker repeats itself, and the client has asked once
                running.outbox.resend(arrival.to, arrival.ask.after)
        elif record.answer is not None:
            self.publish_answer(arrival.to, record.answer)
        elif record.status is None or record.worker == self._port.worker:
            self.start(arrival)
        else:
            return record.worker
        return None

    def start(self, arrival: Arrival) -> None:
        """Answers a request that is this worker's, once."""
        if arrival.key in self._jobs:
            return
        most = arrival.project.limits.running
        if most is not None and sum(key.project == arrival.key.project for key in self._jobs) >= most:
            full = QueueFull(f"{most} requests of this project are being answered already, which is its limit.")
            self.drop(arrival.key, arrival.refused(full))
            return
        key, session_id = arrival.key, arrival.ask.session_id
        job = Job(
            self._client,
            self._ledger,
            arrival,
            arrival.dialect.outbox(arrival, self._port),
            prompt=self._templates.get(key.project, key.client, session_id),
            on_delivered=lambda reason: self._on_answered(arrival, reason),
            draining=self.draining,
        )
        if key in self._cancels:
            del self._cancels[key]
            job.cancel()
        self._jobs[key] = job
        self.spawn(self._run(job))

    async def _run(self, job: Job) -> None:
        answered, began = False, time.monotonic()
        try:
            answered = await job.run()
        finally:
            if not answered:
                del self._jobs[job.key]
            # No id of the request or of its session: they are nobody's business.
            facts = {"project": job.key.project, "client": job.key.client, "answered": answered}
            facts["ms"] = round((time.monotonic() - began) * 1e3, 1)
            log.info("a request over MQTT has ended", extra={"facts": facts})

    def has(self, key: RequestKey) -> bool:
        """Whether this worker answers it now."""
        return key in self._jobs

    def cancel(self, key: RequestKey) -> None:
        """Stops a reply; one whose request has not come yet, or is another worker's, is remembered for a while."""
        if (job := self._jobs.get(key)) is not None:
            job.cancel()
            return
        self._cancels[key] = None
        while len(self._cancels) > MOST_CANCELS:
            self._cancels.popitem(last=False)

    def resend(self, key: RequestKey, to: ReplyTo, after: int) -> None:
        """Tells what there is of an answer that is, or was, this worker's."""
        if (job := self._jobs.get(key)) is not None:
            job.outbox.resend(to, after)
        else:
            self.spawn(self._resend_from_ledger(key, to))

    async def _resend_from_ledger(self, key: RequestKey, to: ReplyTo) -> None:
        answer = await asyncio.to_thread(self._ledger.answer, key)
        if answer is not None:
            self.publish_answer(to, answer)

    # ── messages ─────────────────────────────────────────────────────────────────────────────────────────────────────

    def refuse(self, refusal: Refusal) -> None:
        """Answers with an error."""
        log.info("refused a request over MQTT: %s (%s)", refusal.error.message, refusal.error.code)
        limit = payload_limit(refusal.to, self._port.largest_packet, None)
        self._port.publish(refusal.to.message(refusal.dialect.encode_error(refusal.error, limit)))

    def drop(self, key: RequestKey, refusal: Refusal) -> None:
        """Answers a request that has been written down with an error. It may be sent again."""
        self.spawn(self._drop(key, refusal))

    async def _drop(self, key: RequestKey, refusal: Refusal) -> None:
        await asyncio.to_thread(self._ledger.forget, key)
        self.refuse(refusal)

    def publish_answer(self, to: ReplyTo, answer: bytes, key: RequestKey | None = None) -> None:
        """Sends an answer that the ledger has.

        Args:
            key: Where the ledger is still to be told that the broker has it.
        """
        on_acknowledged = None if key is None else lambda _reason: self._on_delivered(key)
        self._port.publish(to.message(answer, on_acknowledged))

    def _on_answered(self, arrival: Arrival, reason: int) -> None:
        if reason != TOO_LARGE:
            self._on_delivered(arrival.key)
            return
        self._jobs.pop(arrival.key, None)
        error = TooLarge("The reply is longer than a message that the broker takes. max_bytes has it come in parts.")
        self.drop(arrival.key, arrival.refused(error))

    def _on_delivered(self, key: RequestKey) -> None:
        """From now on the ledger tells the answer to who asks again."""
        self._jobs.pop(key, None)
        self._ledger.delivered(key)

    # ── tasks ────────────────────────────────────────────────────────────────────────────────────────────────────────

    def spawn(self, work: Coroutine[Any, Any, None]) -> None:
        """Runs a task; it ends with the dispatcher."""
        task = asyncio.create_task(work)
        self._tasks.add(task)
        task.add_done_callback(self._on_end)

    def _on_end(self, task: asyncio.Task[None]) -> None:
        self._tasks.discard(task)
        if not task.cancelled() and task.exception() is not None:
            log.error("a task of the MQTT worker failed", exc_info=task.exception())

    async def close(self, patience: float) -> None:
        """Lets running replies end, for so many seconds; those that do not are interrupted."""
        tasks = [*self._tasks]
        if not tasks:
            return
        await asyncio.wait(tasks, timeout=patience)
        for task in tasks:
            task.cancel()
        await asyncio.wait(tasks)
