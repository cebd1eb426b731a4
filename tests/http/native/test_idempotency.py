"""`Idempotency-Key` over real sockets on the real model: who was not heard asks again, and nothing is said twice."""

from __future__ import annotations

import json
import socket
from collections.abc import Iterator
from typing import Any

import httpx
import pytest

from llm_core.client import LLMClient
from tests.http.native.test_chat import STORY, code_of, events_of, text_of
from tests.served import loaded_client, served
from tests.waiting import is_idle, wait_until

ANN, BOB = ({"Authorization": f"Bearer {name}-secret"} for name in ("ann", "bob"))
STREAM, WHOLE = "/chat/session/stream", "/chat/session"


@pytest.fixture(scope="module")
def client(tmp_path_factory: pytest.TempPathFactory) -> Iterator[LLMClient]:
    folder = tmp_path_factory.mktemp("data")
    with loaded_client(folder, api_tokens="ann:ann-secret, bob:bob-secret") as client:
        yield client


@pytest.fixture(scope="module")
def http(client: LLMClient) -> Iterator[httpx.Client]:
    with served(client) as url, httpx.Client(base_url=f"{url}api/llm", timeout=60, headers=ANN) as http:
        yield http


def turn(session_id: str, message: str = "Hello", **options: Any) -> dict[str, Any]:
    return {"session_id": session_id, "message": message, "max_tokens": 8} | options


def stream(http: httpx.Client, key: str, body: dict[str, Any]) -> list[tuple[int, dict[str, Any]]]:
    with http.stream("POST", STREAM, json=body, headers={"Idempotency-Key": key}) as response:
        assert response.status_code == 200
        return list(events_of(response.iter_lines()))


def said(http: httpx.Client, session_id: str, owner: dict[str, str] = ANN) -> list[str]:
    messages = http.get(f"{WHOLE}/{session_id}/history", headers=owner).json()["messages"]
    return [message["content"] for message in messages]


def test_a_key_that_comes_again_comes_back_to_the_same_reply_streamed_and_whole(http: httpx.Client) -> None:
    key, body = "5d0c-first", turn("again")
    events = stream(http, key, body)

    again = stream(http, key, body)
    whole = http.post(WHOLE, json=body, headers={"Idempotency-Key": key}).json()

    assert again == events
    assert whole["content"] == text_of(events)
    assert whole["usage"] == events[-1][1]["usage"]
    assert said(http, "again") == ["Hello", text_of(events)]


def test_a_whole_answer_comes_back_as_it_was(http: httpx.Client) -> None:
    first, second = (http.post(WHOLE, json=turn("whole"), headers={"Idempotency-Key": "whole"}) for _ in range(2))

    assert first.json() == second.json()
    assert len(said(http, "whole")) == 2


def test_who_was_cut_off_before_the_answer_reads_all_of_it(http: httpx.Client, client: LLMClient) -> None:
    body = turn("cut", STORY, max_tokens=60, logit_bias={"2": -100})
    content = json.dumps(body).encode()
    head = {"Host": http.base_url.netloc.decode(), "Content-Length": str(len(content)), **ANN}
    head |= {"Content-Type": "application/json", "Idempotency-Key": "cut"}
    lines = "".join(f"{name}: {value}\r\n" for name, value in head.items())
    with socket.create_connection((http.base_url.host, http.base_url.port or 80)) as line:
        line.sendall(f"POST /api/llm{STREAM} HTTP/1.1\r\n{lines}\r\n".encode() + content)
        assert line.recv(4) == b"HTTP", "the turn is taken, and the reader knows no more than that"

    events = stream(http, "cut", body)

    assert [number for number, _ in events] == list(range(1, len(events) + 1))
    assert events[0][1]["queue_position"] == 0
    assert events[-1][1]["finish_reason"] == "length"
    assert said(http, "cut") == [STORY, text_of(events)]
    wait_until(lambda: is_idle(client), "the engine is free again")


def test_while_the_reply_is_made_a_second_reader_gets_it_from_the_beginning(http: httpx.Client) -> None:
    body = turn("running", STORY, max_tokens=900, logit_bias={"2": -100})
    with http.stream("POST", STREAM, json=body, headers={"Idempotency-Key": "running"}) as response:
        events = events_of(response.iter_lines())
        first = [next(events) for _ in range(10)]
        with http.stream("POST", STREAM, json=body, headers={"Idempotency-Key": "running"}) as other:
            others = events_of(other.iter_lines())
            assert [next(others) for _ in range(10)] == first
            http.delete(f"/streams/{first[0][1]['stream_id']}")
            assert list(others) == list(events)


@pytest.mark.parametrize("body", [turn("used", "Something else"), turn("unused")])
@pytest.mark.parametrize("path", [WHOLE, STREAM])
def test_a_key_with_another_message_or_session_is_refused(http: httpx.Client, path: str, body: dict[str, Any]) -> None:
    stream(http, "used", turn("used"))

    refused = http.post(path, json=body, headers={"Idempotency-Key": "used"})

    assert (refused.status_code, code_of(refused)) == (409, "idempotency_key_reused")
    assert refused.json()["error"]["type"] == "conflict_error"
    assert len(said(http, "used")) == 2
    assert http.get(f"{WHOLE}/unused/history").status_code == 404


def test_the_same_key_of_somebody_else_is_another_key(http: httpx.Client) -> None:
    for owner in (ANN, BOB):
        headers = owner | {"Idempotency-Key": "same"}
        answer = http.post(WHOLE, json=turn("same", f"I have {owner['Authorization'][7:10]}"), headers=headers)
        assert answer.status_code == 200

    assert said(http, "same", ANN)[0] == "I have ann"
    assert said(http, "same", BOB)[0] == "I have bob"


def test_a_key_names_a_stream_that_is_read_on_as_any_other(http: httpx.Client) -> None:
    events = stream(http, "resumed", turn("resumed"))

    path = f"/streams/{events[0][1]['stream_id']}"
    with http.stream("GET", path, headers={"Last-Event-ID": "2"}) as response:
        assert list(events_of(response.iter_lines())) == events[2:]
    assert http.get(path, headers=BOB).status_code == 404


def test_what_was_refused_leaves_its_key_free(http: httpx.Client) -> None:
    headers = {"Idempotency-Key": "free"}
    assert http.post(WHOLE, json=turn("free", temperature=7), headers=headers).status_code == 422
    assert http.post(WHOLE, json=turn("free", tool_choice="required"), headers=headers).status_code == 400

    assert http.post(WHOLE, json=turn("free"), headers=headers).status_code == 200


@pytest.mark.parametrize("key", ["", "a b", "x" * 256, "é".encode()])
@pytest.mark.parametrize("path", [WHOLE, STREAM])
def test_a_key_that_is_not_allowed_is_refused_by_name(http: httpx.Client, path: str, key: str | bytes) -> None:
    refused = http.post(path, json=turn("badkey"), headers=[("Idempotency-Key", key)])

    assert (refused.status_code, code_of(refused)) == (422, "invalid_request")
    assert refused.json()["error"]["param"] == "Idempotency-Key"


def test_the_documentation_has_the_header(http: httpx.Client) -> None:
    schema = httpx.get(str(http.base_url.copy_with(path="/openapi.json")), headers=ANN).json()

    for path in (WHOLE, STREAM):
        asked = schema["paths"][f"/api/llm{path}"]["post"]
        (header,) = (each for each in asked["parameters"] if each["in"] == "header")
        assert (header["name"], header["required"]) == ("Idempotency-Key", False)
        assert "said twice" in header["description"]
        assert "Idempotency-Key" in asked["responses"]["409"]["description"]
