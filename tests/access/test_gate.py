"""Who gets in: with tokens nobody without one, on no route; and nobody sees what is another's."""

from __future__ import annotations

import re
from typing import Any

import httpx
import pytest

from llm_core.client import LLMClient

ANN, BOB = {"Authorization": "Bearer ann-secret"}, {"Authorization": "Bearer bob-secret"}
HTML = {"Accept": "text/html,*/*"}
STREAM_ID = "0" * 32
ROUTES: list[tuple[str, str, dict[str, Any] | None]] = [
    ("POST", "api/llm/chat", {"messages": [{"role": "user", "content": "Hi"}]}),
    ("POST", "api/llm/chat/stream", {"messages": [{"role": "user", "content": "Hi"}]}),
    ("POST", "api/llm/chat/session", {"session_id": "s", "message": "Hi"}),
    ("POST", "api/llm/chat/session/stream", {"session_id": "s", "message": "Hi"}),
    ("GET", "api/llm/chat/session/s/history", None),
    ("POST", "api/llm/chat/session/history", {"session_id": "s"}),
    ("GET", "api/llm/chat/session/s/export", None),
    ("PATCH", "api/llm/chat/session/s", {"title": "Mine"}),
    ("DELETE", "api/llm/chat/session/s", None),
    ("GET", "api/llm/sessions", None),
    ("GET", f"api/llm/streams/{STREAM_ID}", None),
    ("DELETE", f"api/llm/streams/{STREAM_ID}", None),
    ("POST", "v1/chat/completions", {"messages": [{"role": "user", "content": "Hi"}]}),
    ("GET", "v1/models", None),
    ("GET", "metrics", None),
    ("GET", "docs", None),
    ("GET", "openapi.json", None),
    ("GET", "", None),
    ("GET", "config", None),
    ("POST", "gradio_api/queue/join", {}),
]


SETTINGS: dict[str, Any] = {
    "context_tokens": 512,
    "rate_limit": "40/minute",
    "api_tokens": "ann:ann-secret, bob:bob-secret, nameless-secret",
    "allowed_origins": "https://friend.example",
}


@pytest.mark.parametrize(("method", "path", "body"), ROUTES)
@pytest.mark.parametrize("headers", [{}, {"Authorization": "Bearer wrong"}, {"Authorization": "Basic ann-secret"}])
def test_no_route_answers_without_a_token(
    url: str, method: str, path: str, body: dict[str, Any] | None, headers: dict[str, str]
) -> None:
    answer = httpx.request(method, url + path, json=body, headers=headers)

    assert answer.status_code == 401
    assert answer.json()["error"]["code"] == "unauthorized"
    assert answer.headers["www-authenticate"] == "Bearer"


@pytest.mark.parametrize("path", ["api/llm/health", "health"])
def test_a_probe_needs_no_token(url: str, path: str) -> None:
    assert httpx.get(url + path).json()["status"] == "ok"


def test_another_owners_session_is_not_there_on_any_route(url: str) -> None:
    body = {"session_id": "diary", "message": "My secret is 4711.", "max_tokens": 4}
    with httpx.stream("POST", f"{url}api/llm/chat/session/stream", json=body, headers=ANN, timeout=60) as response:
        stream_id = re.search(r'"stream_id":"(\w+)"', response.read().decode())
    assert stream_id is not None

    for method, path, asked in (
        ("GET", "chat/session/diary/history", None),
        ("POST", "chat/session/history", {"session_id": "diary"}),
        ("GET", "chat/session/diary/export", None),
        ("PATCH", "chat/session/diary", {"title": "Mine"}),
        ("DELETE", "chat/session/diary", None),
        ("GET", f"streams/{stream_id[1]}", None),
        ("DELETE", f"streams/{stream_id[1]}", None),
    ):
        foreign = httpx.request(method, f"{url}api/llm/{path}", json=asked, headers=BOB)
        assert foreign.status_code == 404, path
        assert "4711" not in foreign.text
    assert httpx.get(f"{url}api/llm/sessions", headers=BOB).json() == {"sessions": []}
    assert httpx.get(f"{url}api/llm/streams/{stream_id[1]}", headers=ANN).status_code == 200
    httpx.post(f"{url}api/llm/chat/session", json=body, headers=BOB, timeout=60)
    assert len(httpx.get(f"{url}api/llm/chat/session/diary/history", headers=ANN).json()["messages"]) == 2


def test_a_browser_signs_in_once_and_then_sees_the_page(url: str) -> None:
    with httpx.Client(base_url=url, headers=HTML) as browser:
        form = browser.get("/")
        assert form.status_code == 401
        assert "<form" in form.text
        wrong = browser.post("/sign-in", data={"token": "wrong"})
        assert wrong.status_code == 401
        assert "Nobody has this token" in wrong.text
        right = browser.post("/sign-in", data={"token": "ann-secret"})
        assert right.status_code == 303
        cookie = right.headers["set-cookie"]
        assert "HttpOnly" in cookie
        assert "SameSite=lax" in cookie
        assert "gradio" in browser.get("/").text
        assert browser.get("/api/llm/sessions").status_code == 200


def test_a_browser_that_signs_out_is_asked_again(url: str) -> None:
    with httpx.Client(base_url=url, headers=HTML) as browser:
        browser.post("/sign-in", data={"token": "ann-secret"})

        answer = browser.post("/sign-out")

        assert answer.status_code == 303
        assert browser.get("/").status_code == 401


def test_the_form_stands_at_its_address_too(url: str) -> None:
    form = httpx.get(f"{url}sign-in", headers=HTML)

    assert form.status_code == 200
    assert "<form" in form.text


def test_what_a_browser_installs_the_page_by_needs_no_token(url: str) -> None:
    manifest = httpx.get(f"{url}manifest.json")
    icon = httpx.get(f"{url}{manifest.json()['icons'][0]['src'].lstrip('/')}")

    assert manifest.json()["display"] == "standalone"
    assert icon.headers["content-type"] == httpx.get(f"{url}favicon.ico").headers["content-type"] == "image/svg+xml"


def test_a_form_that_is_too_large_is_refused(url: str) -> None:
    assert httpx.post(f"{url}sign-in", data={"token": "x" * 10_000}).status_code == 413


def test_pages_of_other_sites_may_call_where_that_is_allowed(url: str) -> None:
    asked = {"Access-Control-Request-Method": "POST", "Access-Control-Request-Headers": "authorization"}
    friend = httpx.options(f"{url}api/llm/chat", headers={"Origin": "https://friend.example", **asked})
    foe = httpx.options(f"{url}api/llm/chat", headers={"Origin": "https://foe.example", **asked})

    assert friend.headers["access-control-allow-origin"] == "https://friend.example"
    assert "access-control-allow-origin" not in foe.headers
    for path in ("api/llm/sessions", "config"):
        answer = httpx.get(url + path, headers={"Origin": "https://foe.example", **ANN})
        assert "access-control-allow-origin" not in answer.headers


def test_a_name_that_is_not_this_machines_is_refused(url: str) -> None:
    """As a page would come that makes its own name mean 127.0.0.1 (DNS rebinding)."""
    assert httpx.get(f"{url}api/llm/health", headers={"Host": "foe.example"}).status_code == 400
    assert httpx.get(f"{url}api/llm/health", headers={"Host": "localhost:7860"}).status_code == 200


def test_one_who_asks_too_often_is_told_when_to_come_back_and_others_are_not_held_up(url: str) -> None:
    nameless = {"Authorization": "Bearer nameless-secret"}
    body = {"messages": [{"role": "user", "content": "Hi"}], "max_tokens": 10**9}
    statuses = [httpx.post(f"{url}api/llm/chat", json=body, headers=nameless).status_code for _ in range(45)]

    assert statuses.count(429) >= 5
    refused = httpx.post(f"{url}v1/chat/completions", json=body, headers=nameless)
    assert refused.status_code == 429
    assert refused.json()["error"]["code"] == "rate_limit_exceeded"
    assert 1 <= int(refused.headers["retry-after"]) <= 60
    assert httpx.post(f"{url}api/llm/chat", json=body, headers=ANN).status_code == 422


def test_tokens_are_kept_as_digests_and_never_shown(client: LLMClient) -> None:
    for shown in (repr(client.settings), str(client.settings.model_dump()), repr(client.settings.api_tokens)):
        assert "secret" not in shown
