"""`/api/llm/models`: which there are, and what who may does with them, on a real server and a hub on loopback."""

from __future__ import annotations

import json
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path
from typing import Any

import httpx
import pytest

from tests.engine import random_model
from tests.engine.conftest import model_path as model_path
from tests.models.conftest import Hub, Repository
from tests.models.conftest import cache as cache
from tests.models.conftest import hub as hub
from tests.served import loaded_client, served
from tests.waiting import wait_until

pytestmark = pytest.mark.local_engine

SMOL, TINY = "SmolLM2-135M-Instruct", "tiny"
SOURCE = "hf:makers/tiny-GGUF:tiny.gguf"
HELLO = [{"role": "user", "content": "Say hello."}]
ADMINISTERING = [
    ("POST", "models"),
    ("GET", "hub"),
    ("GET", "hub/makers/tiny-GGUF"),
    ("POST", f"models/{SMOL}/load"),
    ("POST", f"models/{SMOL}/unload"),
    ("DELETE", f"models/{SMOL}"),
]


@contextmanager
def server(folder: Path, **settings: Any) -> Iterator[httpx.Client]:
    with (
        loaded_client(folder, **settings) as client,
        served(client) as url,
        httpx.Client(base_url=f"{url}api/llm", timeout=120) as http,
    ):
        yield http


@pytest.fixture
def tiny(hub: Hub, cache: Path, model_path: Path, tmp_path: Path) -> bytes:
    """A real model with random weights, on the hub."""
    data = random_model.lfm2(model_path, tmp_path / "tiny.gguf").read_bytes()
    (tmp_path / "tiny.gguf").unlink()
    hub.repositories["makers/tiny-GGUF"] = Repository({"tiny.gguf": data})
    return data


@pytest.fixture
def http(tiny: bytes, tmp_path: Path) -> Iterator[httpx.Client]:
    with server(tmp_path / "data") as http:
        yield http


def fetch(http: httpx.Client, source: str = SOURCE, **headers: str) -> list[dict[str, Any]]:
    with http.stream("POST", "models", json={"source": source}, headers=headers) as response:
        assert response.status_code == 200
        lines = [line for line in response.iter_lines() if line.startswith("data: ")]
    return [json.loads(line.removeprefix("data: ")) for line in lines]


def models(http: httpx.Client) -> dict[str, dict[str, Any]]:
    return {model["name"]: model for model in http.get("models").json()["models"]}


def test_the_default_model_stands_first_with_its_facts(http: httpx.Client) -> None:
    first = http.get("models").json()["models"][0]

    assert (first["name"], first["state"], first["is_default"], first["fit"]) == (SMOL, "ready", True, "fits")
    assert (first["source"], first["quantization"], first["license"]) == ("bundled", "Q4_1", "apache-2.0")
    assert first["need_bytes"] > first["size_bytes"] > 0
    assert http.get(f"models/{SMOL}").json() == first
    assert http.get("models/nobody").json()["error"]["code"] == "model_not_found"


def test_a_model_is_found_fetched_asked_unloaded_and_removed(http: httpx.Client, cache: Path, tiny: bytes) -> None:
    assert [each["repo"] for each in http.get("hub", params={"query": "tiny"}).json()] == ["makers/tiny-GGUF"]
    (file,) = http.get("hub/makers/tiny-GGUF").json()
    assert (file["source"], file["size_bytes"]) == (SOURCE, len(tiny))

    events = fetch(http)
    assert [event["state"] for event in events[:-1]] == ["fetching"] * (len(events) - 1)
    assert (events[-1]["state"], events[-1]["progress"], events[-1]["source"]) == ("done", 1, SOURCE)
    assert models(http)[TINY]["state"] == "here"

    reply = http.post("chat", json={"messages": HELLO, "model": TINY, "max_tokens": 4}).json()
    assert (reply["model"], models(http)[TINY]["state"]) == (TINY, "ready")
    http.post(f"models/{TINY}/unload").raise_for_status()
    wait_until(lambda: models(http)[TINY]["state"] == "here", "it has left")
    assert http.post(f"models/{TINY}/load").json()["state"] in ("loading", "ready")

    assert http.delete(f"models/{TINY}").status_code == 200
    assert TINY not in models(http)
    assert not list(cache.rglob("*.gguf"))
    assert http.post("chat", json={"messages": HELLO, "max_tokens": 4}).json()["model"] == SMOL


def test_what_arrives_damaged_is_told_and_not_served(http: httpx.Client, hub: Hub) -> None:
    hub.sends_damaged = True
    last = fetch(http)[-1]

    assert (last["state"], "damaged" in last["message"]) == ("failed", True)
    assert models(http)[TINY]["state"] == "absent"
    hub.sends_damaged = False
    assert fetch(http)[-1]["state"] == "done"


@pytest.mark.parametrize("spec", ["bundled", "/etc/passwd", "hf:x", "hf:a/b:../c.gguf"])
def test_only_files_of_the_hub_are_fetched(http: httpx.Client, spec: str) -> None:
    answer = http.post("models", json={"source": spec})

    assert (answer.status_code, answer.json()["error"]["param"]) == (400, "source")


def test_the_default_model_is_not_removed(http: httpx.Client) -> None:
    assert http.delete(f"models/{SMOL}").json()["error"]["message"] == (
        f"{SMOL} is the default model. Change LLM_MODEL first."
    )


@pytest.mark.parametrize(
    ("settings", "right"),
    [
        ({"api_tokens": "ann:secret"}, None),
        ({"api_tokens": "ann:secret", "admin_tokens": "root:master"}, "master"),
        ({"admin_tokens": "root:master"}, "master"),
        ({"public": True}, None),
    ],
)
def test_who_may_not_administer_is_refused_on_every_route_that_does(
    tiny: bytes, tmp_path: Path, settings: dict[str, Any], right: str | None
) -> None:
    with server(tmp_path / "data", **settings) as http:
        visitor = {"Authorization": "Bearer secret"} if "api_tokens" in settings else {}
        for method, path in ADMINISTERING:
            refused = http.request(method, path, json={"source": SOURCE} if path == "models" else None, headers=visitor)
            assert (refused.status_code, refused.json()["error"]["code"]) == (403, "forbidden"), path
        assert http.get("models", headers=visitor).status_code == 200
        if right is not None:
            assert fetch(http, Authorization=f"Bearer {right}")[-1]["state"] == "done"
            reply = http.post("chat", json={"messages": HELLO, "model": TINY, "max_tokens": 2}, headers=visitor)
            assert reply.json()["model"] == TINY
