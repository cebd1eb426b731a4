"""A file becomes text over HTTP, the text goes with a message, and what was attached is kept with the session."""

from __future__ import annotations

import json
from collections.abc import Iterator
from typing import Any

import httpx
import pytest

from llm_core.client import LLMClient
from tests.attachments.files import pdf
from tests.served import served

pytestmark = pytest.mark.local_engine

BYTES = {"Content-Type": "application/octet-stream"}
NOTES = {"name": "notes.md", "media_type": "text/markdown", "text": "The code word is heron."}


SETTINGS: dict[str, Any] = {"context_tokens": 512}


@pytest.fixture(scope="module")
def http(client: LLMClient) -> Iterator[httpx.Client]:
    with served(client) as url, httpx.Client(base_url=f"{url}api/llm", timeout=120) as http:
        yield http


def attach(http: httpx.Client, name: str, data: bytes, **more: Any) -> httpx.Response:
    return http.post("/attachments", params={"name": name}, content=data, headers=BYTES, **more)


def test_a_file_goes_back_as_text_with_the_tokens_that_the_prompt_grows_by(
    http: httpx.Client, client: LLMClient
) -> None:
    answer = attach(http, "report.pdf", pdf("Sales grew by a third")).json()

    assert answer["attachment"] == {
        "name": "report.pdf",
        "media_type": "application/pdf",
        "text": "Sales grew by a third",
    }
    message = {"role": "user", "content": "How much?"}
    grown = client.count_tokens([message | {"attachments": [answer["attachment"]]}]) - client.count_tokens([message])
    assert not answer["is_estimate"]
    assert 0 <= grown - answer["tokens"] <= 2  # the blank line between the file and the text


def test_what_cannot_be_read_is_refused_with_a_sentence(http: httpx.Client) -> None:
    refused = attach(http, "scan.pdf", pdf(""))

    assert refused.status_code == 400
    assert "Have its text recognised (OCR) first" in refused.json()["error"]["message"]


def test_what_a_page_of_another_site_could_send_unasked_is_not_read(http: httpx.Client) -> None:
    refused = http.post("/attachments", params={"name": "a.txt"}, content=b"x", headers={"Content-Type": "text/plain"})

    assert refused.status_code == 400
    assert "application/octet-stream" in refused.json()["error"]["message"]


def test_a_session_keeps_what_is_attached_and_exports_it(http: httpx.Client) -> None:
    said = {"session_id": "files", "message": "What is the code word?", "attachments": [NOTES], "max_tokens": 4}
    reply = http.post("/chat/session", json=said).json()
    history = http.get("/chat/session/files/history").json()
    exported = [http.get("/chat/session/files/export", params={"format": kind}).text for kind in ("json", "markdown")]

    assert reply["usage"]["prompt_tokens"] > 20
    assert history["title"] == "What is the code word?"
    assert history["messages"][0]["content"] == "What is the code word?"
    assert history["messages"][0]["attachments"] == [NOTES]
    assert json.loads(exported[0])["messages"][0]["attachments"] == [NOTES]
    assert "attached notes.md" in exported[1]
    assert NOTES["text"] in exported[1]


def test_a_key_that_is_sent_again_with_another_file_is_refused(http: httpx.Client) -> None:
    said = {"session_id": "once", "message": "Read it.", "attachments": [NOTES], "max_tokens": 2}
    key = {"Idempotency-Key": "one"}

    assert http.post("/chat/session", json=said, headers=key).status_code == 200
    assert http.post("/chat/session", json=said, headers=key).status_code == 200
    other = said | {"attachments": [NOTES | {"text": "Another."}]}
    assert http.post("/chat/session", json=other, headers=key).status_code == 409


def test_files_belong_to_a_message(http: httpx.Client) -> None:
    refused = http.post("/chat/session", json={"session_id": "a", "attachments": [NOTES], "tool_results": []})

    assert refused.status_code in (400, 422)
    assert http.get("/chat/session/a/history").status_code == 404


def test_the_model_is_told_the_file_before_the_message(http: httpx.Client) -> None:
    told = "Attached file: notes.md\n```md\nThe code word is heron.\n```\n\nHi"
    asked: list[tuple[str, dict[str, Any]]] = [
        ("/chat", {"messages": [{"role": "user", "content": told}]}),
        ("/chat", {"messages": [{"role": "user", "content": "Hi", "attachments": [NOTES]}]}),
        ("/chat/session", {"session_id": "attached", "message": "Hi", "attachments": [NOTES]}),
    ]
    counts = [http.post(path, json=body | {"max_tokens": 1}).json()["usage"]["prompt_tokens"] for path, body in asked]

    assert len(set(counts)) == 1
