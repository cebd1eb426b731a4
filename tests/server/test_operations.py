"""What those who run the server see of it: health, metrics, one log line a request."""

from __future__ import annotations

import json
import logging
from collections.abc import Iterator

import httpx
import pytest
from prometheus_client.parser import text_string_to_metric_families

from llm_core.access.request_log import JsonFormatter, TextFormatter
from llm_core.client import LLMClient
from llm_core.settings import Settings
from tests.served import served
from tests.waiting import free_port, wait_until

QUESTION = {"messages": [{"role": "user", "content": "What is the capital of France?"}], "max_tokens": 12}


@pytest.fixture(scope="module")
def client() -> Iterator[LLMClient]:
    with LLMClient(Settings(parallel=2, context_tokens=512, temperature=0, GRADIO_SERVER_PORT=free_port())) as client:
        yield client


def metrics(url: str) -> dict[str, float]:
    """Every sample, by its name and labels."""
    text = httpx.get(f"{url}metrics").text
    return {
        " ".join([sample.name, *map(str, sample.labels.values())]): sample.value
        for family in text_string_to_metric_families(text)
        for sample in family.samples
    }


def test_health_is_503_until_the_model_is_there(url: str, client: LLMClient) -> None:
    before = httpx.get(f"{url}api/llm/health")
    assert before.status_code == 503
    assert before.json()["status"] == "idle"
    assert metrics(url)["llm_model_ready"] == 0

    client.wait_ready()

    after = httpx.get(f"{url}api/llm/health")
    assert after.status_code == 200
    assert after.json()["model"] == "SmolLM2-135M-Instruct"
    assert after.json()["queue"] == {"slots": 2, "running": 0, "waiting": 0}


def test_a_model_that_cannot_be_loaded_is_told_and_asks_nobody_to_wait_for_it() -> None:
    settings = Settings(model="/nowhere/none.gguf", GRADIO_SERVER_PORT=free_port())
    with LLMClient(settings) as client, served(client) as url:
        client.start()
        answer = httpx.post(f"{url}api/llm/chat", json=QUESTION, timeout=60)
        health = httpx.get(f"{url}api/llm/health")

    assert answer.status_code == 500
    assert "none.gguf" in answer.json()["error"]["message"]
    assert (health.status_code, health.json()["status"]) == (503, "failed")


def test_replies_of_every_doorway_are_counted(url: str, client: LLMClient) -> None:
    client.wait_ready()
    before = metrics(url)
    httpx.post(f"{url}api/llm/chat", json=QUESTION, timeout=60)
    client.chat(QUESTION["messages"], max_tokens=12)
    httpx.post(f"{url}api/llm/chat", json={})
    after = metrics(url)

    def more(name: str) -> float:
        return after.get(name, 0) - before.get(name, 0)

    assert more("llm_replies_total stop") == 2
    assert more("llm_first_token_seconds_count") == 2
    assert more("llm_token_gap_seconds_count") > 4
    assert more("llm_tokens_total completion") == more("llm_generated_tokens_total") > 4
    assert more("llm_tokens_total prompt") > more("llm_tokens_total cached") > 0
    assert more("llm_http_requests_total POST /api/llm/chat 200") == 1
    assert more("llm_http_requests_total POST /api/llm/chat 422") == 1
    assert (after["llm_slots"], after["llm_running"], after["llm_waiting"]) == (2, 0, 0)
    assert after["llm_kv_cells"] > after["llm_kv_cells_used"] > 0


def lines(caplog: pytest.LogCaptureFixture) -> list[tuple[str, int]]:
    """Route and status of each request to our routes; the line of an earlier test's may still come."""
    facts = [record.facts for record in caplog.records if hasattr(record, "facts")]
    return sorted((fact["route"], fact["status"]) for fact in facts if fact["route"].startswith("/api/"))


def test_each_request_is_one_line_in_the_log_with_the_id_that_its_caller_got(
    url: str, caplog: pytest.LogCaptureFixture
) -> None:
    with caplog.at_level(logging.INFO, "llm_core.requests"):
        given = httpx.get(f"{url}api/llm/chat/session/private-name/history", headers={"X-Request-ID": "mine-1"})
        made = httpx.get(f"{url}api/llm/sessions", headers={"X-Request-ID": "not an id"})
        wait_until(lambda: len(lines(caplog)) == 2, "both lines are there")

    assert given.headers["x-request-id"] == "mine-1"
    assert len(made.headers["x-request-id"]) == 16
    assert lines(caplog) == [
        ("/api/llm/chat/session/{session_id}/history", 404),
        ("/api/llm/sessions", 200),
    ]
    assert "private-name" not in caplog.text


def test_a_record_is_json_for_programs_and_a_line_for_people() -> None:
    record = logging.LogRecord("llm", logging.INFO, "", 0, "request", None, None)
    record.facts = {"status": 200, "owner": ""}

    assert json.loads(JsonFormatter().format(record))["status"] == 200
    assert TextFormatter().format(record).endswith("INFO llm: request status=200")
