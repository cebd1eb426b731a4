"""For those who run the server: `/api/llm/health` and `/metrics`."""

from __future__ import annotations

import time
from collections.abc import Callable, Iterator
from typing import Any

from fastapi import APIRouter, Request
from prometheus_client import CONTENT_TYPE_LATEST, CollectorRegistry, Counter, Histogram, generate_latest
from prometheus_client.core import CounterMetricFamily, GaugeMetricFamily, Metric
from prometheus_client.registry import Collector
from starlette.responses import JSONResponse, Response

from llm_core.client import LLMClient
from llm_core.events import ChatEvent, ContentDelta, Done, ReasoningDelta, ToolCallDelta
from llm_core.http.given import Client

_FIRST_TOKEN_SECONDS = (0.025, 0.05, 0.1, 0.2, 0.5, 1, 2, 5, 10, 30, 60)
_GAP_SECONDS = (0.005, 0.01, 0.02, 0.03, 0.05, 0.075, 0.1, 0.15, 0.25, 0.5, 1, 2)


router = APIRouter(tags=["operations"])


@router.get("/health", include_in_schema=False)  # where llama-server and vLLM have it
@router.get("/api/llm/health", responses={503: {"description": "The model is loading, or could not be loaded"}})
async def health(client: Client) -> Response:
    """Whether the server can answer. 503 while the model loads."""
    status, stats = client.status(), client.stats()
    answer: dict[str, Any] = {"status": "ok" if status.state == "ready" else status.state}
    answer |= {"message": status.message, "progress": round(status.progress, 3)}
    if stats is not None:
        answer["model"] = client.wait_ready(0).name
        answer["queue"] = {"slots": stats.slots, "running": stats.running, "waiting": stats.waiting}
    if status.state == "ready":
        return JSONResponse(answer)
    return JSONResponse(answer, 503, {"Retry-After": "5"})


@router.get("/metrics", response_class=Response)
async def prometheus(request: Request) -> Response:
    """Prometheus' text format."""
    metrics: Metrics = request.app.state.metrics
    return Response(metrics.text(), media_type=CONTENT_TYPE_LATEST)


class Metrics:
    """What is counted of one server.

    Args:
        client: Is told to report the replies that it makes for any doorway.
    """

    def __init__(self, client: LLMClient) -> None:
        self._registry = CollectorRegistry()
        self._registry.register(_Engine(client))
        self._http = Counter(
            "llm_http_requests", "HTTP requests", ["method", "route", "status"], registry=self._registry
        )
        self._replies = Counter("llm_replies", "Replies that ended", ["finish_reason"], registry=self._registry)
        self._tokens = Counter("llm_tokens", "Tokens of ended replies", ["kind"], registry=self._registry)
        self._first_token = Histogram(
            "llm_first_token_seconds",
            "From submission to the first token",
            buckets=_FIRST_TOKEN_SECONDS,
            registry=self._registry,
        )
        self._gap = Histogram(
            "llm_token_gap_seconds",
            "Between two pieces of text of one reply",
            buckets=_GAP_SECONDS,
            registry=self._registry,
        )
        client.watch(self._watch_reply)

    def text(self) -> bytes:
        """All of it in Prometheus' text format."""
        return generate_latest(self._registry)

    def count_http(self, method: str, route: str, status: int) -> None:
        """Counts a request. `route` is the route's pattern: paths hold ids, and would be as many series."""
        self._http.labels(method, route, str(status)).inc()

    def _watch_reply(self) -> Callable[[ChatEvent], None]:
        """A watcher of one reply, from its first event to its last."""
        before: float | None = None

        def watch(event: ChatEvent) -> None:
            nonlocal before
            match event:
                case ContentDelta() | ReasoningDelta() | ToolCallDelta():
                    now = time.monotonic()
                    if before is not None:
                        self._gap.observe(now - before)
                    before = now
                case Done():
                    self._count(event)

        return watch

    def _count(self, done: Done) -> None:
        self._replies.labels(done.finish_reason).inc()
        if done.timings.ttft_ms:
            self._first_token.observe(done.timings.ttft_ms / 1e3)
        for kind in ("prompt", "cached", "completion"):
            self._tokens.labels(kind).inc(getattr(done.usage, f"{kind}_tokens"))


class _Engine(Collector):
    """A look at the engine when somebody asks."""

    def __init__(self, client: LLMClient) -> None:
        self._client = client

    def collect(self) -> Iterator[Metric]:
        stats, is_ready = self._client.stats(), self._client.status().state == "ready"
        yield GaugeMetricFamily(
            "llm_model_ready", "1 while the model is loaded, or its engine answers", value=int(is_ready)
        )
        if stats is None:
            return
        memory = GaugeMetricFamily("llm_model_memory_bytes", "Memory that a model has", labels=["model", "state"])
        for member in self._client.models.members:
            memory.add_metric([member.name, member.state], member.reserved)
        yield memory
        for name, said, value in (
            ("llm_slots", "Replies that can be made at the same time", stats.slots),
            ("llm_running", "Requests that have a slot", stats.running),
            ("llm_waiting", "Requests in the queue", stats.waiting),
            ("llm_kv_cells", "Cells of the KV cache", stats.kv_cells),
            ("llm_kv_cells_used", "Cells that hold a token", stats.kv_cells_used),
            ("llm_kv_host_bytes", "Host memory that keeps idle conversations", stats.host_bytes),
        ):
            yield GaugeMetricFamily(name, said, value=value)
        for name, said, value in (
            ("llm_prefilled_tokens", "Prompt tokens that were computed", stats.prefilled_tokens),
            ("llm_generated_tokens", "Tokens that were generated", stats.generated_tokens),
            ("llm_engine_steps", "Steps of the engine", stats.steps),
            ("llm_engine_rebuilds", "Times that llama.cpp's context was made anew", stats.rebuilds),
        ):
            yield CounterMetricFamily(name, said, value=value)
