"""Whoever knocks at the wrong place is told so in the one shape, and what is spoken here."""

from __future__ import annotations

from collections.abc import Iterator
from typing import Any

import httpx
import openai
import pytest

from llm_core.client import LLMClient
from tests.served import served

SITE = "https://example.org"


SETTINGS: dict[str, Any] = {"allowed_origins": SITE}


@pytest.fixture(scope="module")
def http(client: LLMClient) -> Iterator[httpx.Client]:
    with served(client) as url, httpx.Client(base_url=url, timeout=60) as http:
        yield http


def error_of(answer: httpx.Response) -> dict[str, str]:
    assert set(answer.json()) == {"error"}, answer.text
    error: dict[str, str] = answer.json()["error"]
    assert set(error) == {"message", "type", "code", "param"}
    return error


# ── paths and methods ────────────────────────────────────────────────────────────────────────────────────────────────


@pytest.mark.parametrize(
    ("path", "spoken"),
    [
        ("/v1/images/generations", "POST /v1/chat/completions"),
        ("/v1/complete", "POST /v1/chat/completions"),
        ("/v1", "POST /v1/chat/completions"),
        ("/v1/model", "GET /v1/models"),
        ("/api/generates", "POST /api/llm/chat"),
        ("/api/llm/chats", "/docs"),
        ("/api", "/docs"),
    ],
)
@pytest.mark.parametrize("method", ["GET", "POST", "DELETE"])
def test_a_path_that_is_not_there_gets_404_and_says_what_is(
    http: httpx.Client, method: str, path: str, spoken: str
) -> None:
    answer = http.request(method, path)

    assert answer.status_code == 404
    error = error_of(answer)
    assert (error["code"], error["type"]) == ("not_found", "not_found_error")
    assert path in error["message"]
    assert spoken in error["message"]


@pytest.mark.parametrize(
    ("method", "path", "allowed"),
    [
        ("GET", "/v1/chat/completions", "POST"),
        ("POST", "/v1/models", "GET, HEAD"),
        ("GET", "/api/llm/chat", "POST"),
        ("PUT", "/api/llm/chat/session/mine", "DELETE, PATCH"),
        ("PUT", "/api/llm/chat/session/history", "POST"),
        ("OPTIONS", "/api/llm/chat", "POST"),
        ("HEAD", "/api/llm/streams/" + "0" * 32, "DELETE, GET"),
        ("POST", "/metrics", "GET, HEAD"),
        ("DELETE", "/health", "GET, HEAD"),
    ],
)
def test_a_wrong_method_gets_405_and_says_which_are_right(
    http: httpx.Client, method: str, path: str, allowed: str
) -> None:
    answer = http.request(method, path)

    assert (answer.status_code, answer.headers["allow"]) == (405, allowed)
    if method != "HEAD":
        error = error_of(answer)
        assert error["code"] == "method_not_allowed"
        assert error["message"] == f"{method} is not spoken at {path}; {allowed} is."


@pytest.mark.parametrize("path", ["/v1/messages", "/api/chat", "/api/tags"])
def test_a_wrong_method_is_refused_in_the_words_of_whoever_s_route_it_is(http: httpx.Client, path: str) -> None:
    answer = http.put(path)
    said = f"PUT is not spoken at {path}; {answer.headers['allow']} is."

    assert answer.status_code == 405
    error = {"type": "invalid_request_error", "message": said}
    assert answer.json() == ({"type": "error", "error": error} if path.startswith("/v1") else {"error": said})


@pytest.mark.parametrize("path", ["/v1/models", "/api/llm/sessions", "/api/llm/health", "/health", "/metrics"])
def test_head_is_get_without_its_body(http: httpx.Client, path: str) -> None:
    head, get = http.head(path), http.get(path)

    assert (head.status_code, head.content) == (get.status_code, b"") == (200, b"")
    assert head.headers["content-type"] == get.headers["content-type"]
    if path != "/metrics":  # which counts the requests for it
        assert head.headers["content-length"] == get.headers["content-length"]


def test_health_is_also_where_other_servers_have_it(http: httpx.Client) -> None:
    assert http.get("/health").json()["status"] == http.get("/api/llm/health").json()["status"] == "ok"


def test_a_model_can_be_asked_for_by_its_name(http: httpx.Client) -> None:
    with openai.OpenAI(base_url=f"{http.base_url}v1", api_key="none") as client:
        (listed,) = client.models.list().data
        assert client.models.retrieve(listed.id) == listed
        with pytest.raises(openai.NotFoundError) as refused:
            client.models.retrieve("gpt/4o")
    assert refused.value.code == "model_not_found"
    assert listed.id in str(refused.value.body["message"])


def test_the_page_keeps_its_paths(http: httpx.Client) -> None:
    assert "<html" in http.get("/").text
    assert http.get("/gradio_api/info").status_code == 200


# ── names and other sites ────────────────────────────────────────────────────────────────────────────────────────────


@pytest.mark.parametrize("name", ["evil.example", "localhost.evil.example", "", "a b"])
def test_a_name_that_is_not_ours_is_refused_with_what_to_set(http: httpx.Client, name: str) -> None:
    answer = http.get("/api/llm/health", headers={"Host": name})

    assert answer.status_code == 400
    error = error_of(answer)
    assert error["code"] == "invalid_host"
    assert error["message"].startswith("Invalid host header")
    assert "LLM_ALLOWED_HOSTS" in error["message"]


def preflight(http: httpx.Client, *, origin: str = SITE, method: str = "POST", headers: str = "") -> httpx.Response:
    asked = {"Origin": origin, "Access-Control-Request-Method": method, "Access-Control-Request-Headers": headers}
    return http.options("/v1/chat/completions", headers=asked)


@pytest.mark.parametrize("method", ["GET", "POST", "PATCH", "DELETE"])
def test_a_page_that_may_call_may_send_any_header_and_each_method(http: httpx.Client, method: str) -> None:
    headers = "authorization, content-type, last-event-id, x-stainless-lang, x-stainless-retry-count"

    answer = preflight(http, method=method, headers=headers)

    assert answer.status_code == 200
    assert answer.headers["access-control-allow-origin"] == SITE
    assert answer.headers["access-control-allow-headers"] == headers
    assert method in answer.headers["access-control-allow-methods"].split(", ")


def test_the_answer_to_such_a_page_shows_its_headers(http: httpx.Client) -> None:
    answer = http.get("/v1/models", headers={"Origin": SITE})

    assert answer.headers["access-control-allow-origin"] == SITE
    assert answer.headers["access-control-expose-headers"] == "Retry-After, X-Request-ID"


@pytest.mark.parametrize(
    ("asked", "said"),
    [
        ({"origin": "https://evil.example"}, "Pages of https://evil.example may not call this server."),
        ({"method": "PUT"}, "Pages of other sites may send GET, POST, PATCH, DELETE, not PUT."),
    ],
)
def test_a_refused_page_is_told_why_in_the_one_shape(http: httpx.Client, asked: dict[str, str], said: str) -> None:
    answer = preflight(http, **asked)

    assert answer.status_code == 400
    error = error_of(answer)
    assert (error["code"], error["message"].startswith(said)) == ("cors_refused", True)
    assert ("access-control-allow-origin" in answer.headers) == ("origin" not in asked)


# ── bodies that cannot be read ───────────────────────────────────────────────────────────────────────────────────────

BODY = b'{"messages": [{"role": "user", "content": "Hi"}], "max_tokens": 1}'
PATHS = [("/api/llm/chat", 422), ("/v1/chat/completions", 400)]


@pytest.mark.parametrize(("path", "status"), PATHS)
@pytest.mark.parametrize("kind", [None, "text/plain", "multipart/form-data", "application/jsonp"])
def test_a_body_that_is_not_said_to_be_json_is_refused_with_what_to_send(
    http: httpx.Client, path: str, status: int, kind: str | None
) -> None:
    answer = http.post(path, content=BODY, headers={"Content-Type": kind} if kind else {})

    assert answer.status_code == status
    assert "Content-Type must be application/json" in error_of(answer)["message"]


FORM = {"Content-Type": "application/x-www-form-urlencoded"}  # as `curl -d` says it of anything


@pytest.mark.parametrize(("path", "status"), PATHS)
@pytest.mark.parametrize("browser", [{"Origin": "null"}, {"Sec-Fetch-Site": "cross-site"}, {"Referer": SITE}])
def test_a_form_is_read_as_json_unless_a_browser_sends_it(
    http: httpx.Client, path: str, status: int, browser: dict[str, str]
) -> None:
    assert http.post(path, content=BODY, headers=FORM).status_code == 200
    assert http.post(path, content=BODY, headers=FORM | browser).status_code == status


def test_a_body_that_is_missing_is_told_to_be_missing(http: httpx.Client) -> None:
    assert error_of(http.post("/api/llm/chat"))["message"] == "The body: field required"


@pytest.mark.parametrize(("path", "status"), PATHS)
@pytest.mark.parametrize("kind", ["application/json", "Application/JSON; charset=utf-8", "application/vnd.x+json"])
def test_a_body_that_is_said_to_be_json_is_read(http: httpx.Client, path: str, status: int, kind: str) -> None:
    assert http.post(path, content=BODY, headers={"Content-Type": kind}).status_code == 200
    assert http.post(path, content=b"[]", headers={"Content-Type": kind}).status_code == status


@pytest.mark.parametrize(("path", "status"), PATHS)
@pytest.mark.parametrize("body", [b'{"messages": "\xff"}', b"[" * 100_000, b"\x00", b"{"])
def test_a_body_that_cannot_be_decoded_gets_the_status_of_other_bad_bodies(
    http: httpx.Client, path: str, status: int, body: bytes
) -> None:
    answer = http.post(path, content=body, headers={"Content-Type": "application/json"})

    assert answer.status_code == status
    assert "not JSON" in error_of(answer)["message"]
