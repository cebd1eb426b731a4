"""deploy/nginx.conf in a real nginx, between readers and the app: what must pass through it as if it were not there."""

from __future__ import annotations

import json
import re
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import gradio_client
import httpx
import pytest

from llm_core.client import LLMClient
from tests.nginx import nginx
from tests.served import served
from tests.waiting import free_port, stats_of, wait_until

CONF = Path(__file__).resolve().parents[1] / "deploy" / "nginx.conf"
STORY: dict[str, Any] = {
    "messages": [{"role": "user", "content": "Tell me a very long story about the sea."}],
    "max_tokens": 900,
    "logit_bias": {"2": -100},  # the token that ends a turn
}

pytestmark = pytest.mark.slow


@pytest.fixture(scope="module")
def app_port(client: LLMClient) -> Iterator[int]:
    with served(client) as url:
        port = httpx.URL(url).port
        assert port is not None
        yield port


@pytest.fixture(scope="module", params=["app-1", "app-2"])
def http(
    request: pytest.FixtureRequest, app_port: int, tmp_path_factory: pytest.TempPathFactory
) -> Iterator[httpx.Client]:
    """Asks nginx. Of the two copies of the app one is down, each in its turn."""
    text = CONF.read_text()
    for name in re.findall(r"server (app-\d:7860);", text):
        there = app_port if name.startswith(request.param) else free_port()
        text = text.replace(name, f"127.0.0.1:{there}")
    with nginx(tmp_path_factory.mktemp("nginx"), text) as url, httpx.Client(base_url=url, timeout=60) as http:
        yield http


def test_pieces_pass_as_they_are_made_and_who_leaves_stops_the_reply(http: httpx.Client, client: LLMClient) -> None:
    before = stats_of(client).generated_tokens
    with http.stream("POST", "/api/llm/chat/stream", json=STORY) as answer:
        pieces = (line for line in answer.iter_lines() if line.startswith('data: {"content"'))
        for _ in range(3):
            next(pieces)
        assert stats_of(client).generated_tokens - before < 100, "they were held back"

    wait_until(lambda: stats_of(client).running == 0, "the slot is free")
    assert stats_of(client).generated_tokens - before < STORY["max_tokens"] / 2


def test_a_stream_is_resumed_through_it(http: httpx.Client) -> None:
    body = {"session_id": "resumed", "message": "Count to ten.", "max_tokens": 20}
    whole = http.post("/api/llm/chat/session/stream", json=body).text
    stream_id = json.loads(whole.split("data: ", 1)[1].split("\n", 1)[0])["stream_id"]
    rest = http.get(f"/api/llm/streams/{stream_id}", headers={"Last-Event-ID": "3"}).text

    assert rest.startswith("id: 4\n")
    assert whole.endswith(rest)


def test_a_body_over_the_apps_limit_is_refused_in_the_apps_words(http: httpx.Client) -> None:
    answer = http.post("/api/llm/chat", content=b" " * (5 * 2**20), headers={"Content-Type": "application/json"})

    assert answer.status_code == 413
    assert answer.json()["error"]["code"] == "request_too_large"


def test_the_page_and_gradios_client_work_through_it(http: httpx.Client) -> None:
    url = str(http.base_url)
    assert "gradio" in http.get("/").text
    caller = gradio_client.Client(url, verbose=False)
    question = [{"role": "user", "content": "What is the capital of France?"}]

    pieces = list(caller.submit(question, 0, 12, api_name="/chat_stream"))
    assert len(pieces) > 1
    assert "Paris" in pieces[-1]
