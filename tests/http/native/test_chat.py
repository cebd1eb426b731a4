"""`/api/llm/chat` over real sockets on the real model: streams, sessions, coming back, stopping, refusals."""

from __future__ import annotations

import json
from collections.abc import Iterator
from concurrent.futures import ThreadPoolExecutor
from pathlib import Path
from typing import Any

import httpx
import pytest

from llm_core.client import LLMClient
from llm_core.http import sse as sse_module
from tests.served import served
from tests.waiting import is_idle, wait_until

QUESTION = [{"role": "user", "content": "What is the capital of France?"}]
STORY = "Tell me a very long story about the sea."
# The token that ends a turn (id 2 in the bundled model) is banned, so the reply ends when it is told to.
ENDLESS: dict[str, Any] = {"max_tokens": 900, "logit_bias": {"2": -100}}
Event = dict[str, Any]


SETTINGS: dict[str, Any] = {"queue_limit": 1, "resume_seconds": 1.0}


@pytest.fixture(scope="module")
def http(client: LLMClient) -> Iterator[httpx.Client]:
    with served(client) as url, httpx.Client(base_url=f"{url}api/llm", timeout=60) as http:
        yield http


@pytest.fixture(autouse=True)
def _idle_afterwards(client: LLMClient) -> Iterator[None]:
    yield
    wait_until(lambda: is_idle(client), "the engine is free again")


def events_of(lines: Iterator[str]) -> Iterator[tuple[int, Event]]:
    """The numbered events of a stream."""
    number = 0
    for line in lines:
        if line.startswith("id: "):
            number = int(line.removeprefix("id: "))
        elif line.startswith("data: "):
            yield number, json.loads(line.removeprefix("data: "))


def stream(http: httpx.Client, path: str, body: Event) -> list[tuple[int, Event]]:
    with http.stream("POST", path, json=body) as response:
        assert response.status_code == 200
        assert response.headers["content-type"].startswith("text/event-stream")
        assert response.headers["cache-control"] == "no-cache"
        assert response.headers["x-accel-buffering"] == "no"
        return list(events_of(response.iter_lines()))


def text_of(events: list[tuple[int, Event]]) -> str:
    return "".join(event.get("content", "") for _, event in events)


def code_of(response: httpx.Response) -> str:
    assert set(response.json()) == {"error"}
    code: str = response.json()["error"]["code"]
    return code


# ── answers ──────────────────────────────────────────────────────────────────────────────────────────────────────────


def test_the_stream_joins_to_the_whole_answer(http: httpx.Client) -> None:
    whole = http.post("/chat", json={"messages": QUESTION}).json()
    events = stream(http, "/chat/stream", {"messages": QUESTION})

    assert "Paris" in whole["content"]
    assert text_of(events) == whole["content"]
    assert [number for number, _ in events] == list(range(1, len(events) + 1))
    first, last = events[0][1], events[-1][1]
    assert set(first) == {"stream_id", "queue_position"}
    assert last["done"] is True
    assert last["finish_reason"] == whole["finish_reason"] == "stop"
    counts = {"prompt_tokens", "cached_tokens", "completion_tokens", "draft_tokens", "accepted_tokens"}
    assert set(last["usage"]) == counts | {"cache_miss", "reasoning_tokens"}
    assert set(last["timings"]) == {"queue_ms", "ttft_ms", "tokens_per_second"}


def test_a_session_remembers_and_every_event_names_it(http: httpx.Client) -> None:
    first = http.post("/chat/session", json={"session_id": "memory", "message": "My name is Bo."}).json()
    events = stream(http, "/chat/session/stream", {"session_id": "memory", "message": "What is my name?"})

    assert first["session_id"] == "memory"
    assert all(event["session_id"] == "memory" for _, event in events)
    usage = events[-1][1]["usage"]
    assert usage["cached_tokens"] > usage["prompt_tokens"] / 2, "the first turn is part of the second's prompt"
    history = http.get("/chat/session/memory/history").json()
    assert [message["role"] for message in history["messages"]] == ["user", "assistant"] * 2
    assert history["messages"][-1]["content"] == text_of(events)
    assert history == http.post("/chat/session/history", json={"session_id": "memory"}).json()


def test_an_owner_sees_their_sessions_and_can_change_them(http: httpx.Client) -> None:
    http.post("/chat/session", json={"session_id": "pets", "message": "Cats or dogs?", "max_tokens": 4})

    (row,) = http.get("/sessions", params={"search": "CATS"}).json()["sessions"]
    assert (row["session_id"], row["title"], row["turns"], row["busy"]) == ("pets", "Cats or dogs?", 1, False)
    assert http.patch("/chat/session/pets", json={"title": "Animals"}).json()["title"] == "Animals"
    assert http.get("/chat/session/pets/export").json()["title"] == "Animals"
    markdown = http.get("/chat/session/pets/export", params={"format": "markdown"})
    assert markdown.text.startswith("# Animals\n")
    assert "Cats or dogs?" in markdown.text
    assert 'filename="pets.md"' in markdown.headers["content-disposition"]
    assert http.delete("/chat/session/pets").json() == {"id": "pets", "deleted": True}
    assert http.get("/chat/session/pets/history").status_code == 404


def test_a_version_of_a_turn_is_made_listed_and_chosen(http: httpx.Client) -> None:
    def say(message: str, **more: str) -> str:
        http.post("/chat/session", json={"session_id": "ways", "message": message, "max_tokens": 2, **more})
        return str(http.get("/chat/session/ways/history").json()["messages"][-1]["stream_id"])

    def said() -> list[str]:
        return [each["content"] for each in http.get("/chat/session/ways/history").json()["messages"][::2]]

    first = say("Cats?")
    say("Why?")
    second = say("Dogs?", replaces=first)
    assert said() == ["Dogs?"]
    assert http.get("/chat/session/ways/history").json()["messages"][-1]["versions"] == [first, second]

    found = http.get(f"/chat/session/ways/turns/{second}/versions").json()["versions"]
    assert [(each["stream_id"], each["chosen"], each["messages"][0]["content"]) for each in found] == [
        (first, False, "Cats?"),
        (second, True, "Dogs?"),
    ]
    chosen = http.post(f"/chat/session/ways/turns/{first}/choose").json()
    assert [each["content"] for each in chosen["messages"][::2]] == said() == ["Cats?", "Why?"]
    say("Mice?", after=first)
    assert said() == ["Cats?", "Mice?"]
    exported = http.get("/chat/session/ways/export").json()["set_aside"]
    assert [each["messages"][0]["content"] for each in exported] == ["Why?", "Dogs?"]
    assert http.post(f"/chat/session/ways/turns/{'0' * 32}/choose").status_code == 409
    assert http.post(f"/chat/session/none/turns/{first}/choose").status_code == 404
    assert http.patch("/chat/session/ways", json={"pinned": True}).status_code == 200
    assert http.get("/sessions").json()["sessions"][0]["pinned"]
    assert http.patch("/chat/session/ways", json={}).status_code == 422


# ── coming back ──────────────────────────────────────────────────────────────────────────────────────────────────────


def test_a_reader_who_was_cut_off_reads_on_with_nothing_lost_or_twice(http: httpx.Client) -> None:
    body = {"session_id": "resumed", "message": STORY, **ENDLESS}
    seen: list[tuple[int, Event]] = []
    with http.stream("POST", "/chat/session/stream", json=body) as response:
        for numbered in events_of(response.iter_lines()):
            seen.append(numbered)
            if len(seen) == 12:
                break
    stream_id = seen[0][1]["stream_id"]

    with http.stream("GET", f"/streams/{stream_id}", headers={"Last-Event-ID": str(seen[-1][0])}) as response:
        for numbered in events_of(response.iter_lines()):
            seen.append(numbered)
            if len(seen) == 40:
                assert http.delete(f"/streams/{stream_id}").json() == {"id": stream_id, "deleted": True}

    assert [number for number, _ in seen] == list(range(1, len(seen) + 1))
    assert seen[-1][1]["finish_reason"] == "cancelled"
    message = http.get("/chat/session/resumed/history").json()["messages"][-1]
    assert message["content"] == text_of(seen)
    assert message["status"] == "cancelled"


def test_an_ended_stream_can_be_read_again_and_its_end_is_its_end(http: httpx.Client) -> None:
    events = stream(http, "/chat/session/stream", {"session_id": "again", "message": "Hello", "max_tokens": 8})
    path = f"/streams/{events[0][1]['stream_id']}"

    with http.stream("GET", path) as response:
        assert list(events_of(response.iter_lines())) == events
    after_all = http.get(path, headers={"Last-Event-ID": str(len(events))})
    assert (after_all.status_code, after_all.content) == (204, b""), "EventSource would come back for ever else"


def test_an_ended_stream_has_nothing_to_stop_and_can_still_be_read(http: httpx.Client) -> None:
    events = stream(http, "/chat/session/stream", {"session_id": "over", "message": "Hello", "max_tokens": 2})
    path = f"/streams/{events[0][1]['stream_id']}"

    refused = http.delete(path)

    assert (refused.status_code, code_of(refused)) == (404, "stream_not_found")
    assert "has ended" in refused.json()["error"]["message"]
    with http.stream("GET", path) as response:
        assert list(events_of(response.iter_lines())) == events


def test_a_session_whose_reader_stays_away_stops_after_the_set_time(http: httpx.Client, client: LLMClient) -> None:
    body = {"session_id": "away", "message": STORY, **ENDLESS}
    with http.stream("POST", "/chat/session/stream", json=body) as response:
        next(events_of(response.iter_lines()))
    wait_until(lambda: is_idle(client), "the reply has stopped")

    def status() -> str:
        said: str = http.get("/chat/session/away/history").json()["messages"][-1]["status"]
        return said

    wait_until(lambda: status() == "cancelled", "the turn says so")


# ── leaving and stopping ─────────────────────────────────────────────────────────────────────────────────────────────


def test_when_the_reader_of_a_stateless_stream_leaves_it_stops(http: httpx.Client, client: LLMClient) -> None:
    stats = client.stats()
    assert stats is not None
    with http.stream(
        "POST", "/chat/stream", json={"messages": [{"role": "user", "content": STORY}], **ENDLESS}
    ) as all_:
        next(events_of(all_.iter_lines()))

    wait_until(lambda: is_idle(client), "the slot is free", seconds=10)
    now = client.stats()
    assert now is not None
    assert now.generated_tokens - stats.generated_tokens < 450, "the rest of the reply was never made"


def test_any_stream_can_be_stopped_by_its_id(http: httpx.Client) -> None:
    body = {"messages": [{"role": "user", "content": STORY}], **ENDLESS}
    with http.stream("POST", "/chat/stream", json=body) as response:
        events = events_of(response.iter_lines())
        stream_id = next(events)[1]["stream_id"]
        assert http.delete(f"/streams/{stream_id}").status_code == 200
        assert list(events)[-1][1]["finish_reason"] == "cancelled"
    assert http.delete(f"/streams/{stream_id}").status_code == 404


@pytest.mark.local_engine
def test_silence_is_filled_so_that_proxies_do_not_hang_up(http: httpx.Client, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(sse_module, "KEEP_ALIVE_SECONDS", 0.05)
    body = {"messages": [{"role": "user", "content": STORY}], **ENDLESS}
    with http.stream("POST", "/chat/stream", json=body) as one, http.stream("POST", "/chat/stream", json=body) as two:
        reading = [events_of(each.iter_lines()) for each in (one, two)]  # one that is thrown away hangs up
        for events in reading:
            next(events)
        with http.stream("POST", "/chat/stream", json=body) as waiting:
            lines = waiting.iter_lines()
            assert any('"queue_position":1' in line for line in lines)
            assert any(line == ": keep-alive" for line in lines)


# ── refusals ─────────────────────────────────────────────────────────────────────────────────────────────────────────


@pytest.mark.parametrize(
    ("body", "status", "param"),
    [
        ({}, 422, "messages"),
        ({"messages": []}, 422, "messages"),
        ({"messages": [{"role": "boss", "content": "Hi"}]}, 422, "messages.0.role"),
        ({"messages": [{"role": "user", "content": "Hi"}] * 2001}, 422, "messages"),
        ({"messages": QUESTION, "temperature": -1}, 422, "temperature"),
        ({"messages": QUESTION, "max_tokens": 10**9}, 422, "max_tokens"),
        ({"messages": QUESTION, "seed": 2**40}, 422, "seed"),
        ({"messages": QUESTION, "stop": ["x"] * 17}, 422, "stop"),
        ({"messages": QUESTION, "temprature": 1}, 422, "temprature"),
        ({"messages": QUESTION, "tools": [{"type": "function"}]}, 400, "tools"),
    ],
)
@pytest.mark.parametrize("path", ["/chat", "/chat/stream"])
def test_a_bad_field_is_refused_by_name(
    http: httpx.Client, path: str, body: dict[str, Any], status: int, param: str
) -> None:
    answer = http.post(path, json=body)

    assert answer.status_code == status
    assert code_of(answer) == "invalid_request"
    assert str(answer.json()["error"]["param"]).startswith(param)


@pytest.mark.parametrize(
    "body",
    [
        b"",
        b"{",
        b"[]",
        b'{"messages": [{"role": "user", "content": "\\ud800"}]}',
        b'{"messages": [{"role": "user", "content": "Hi"}], "temperature": NaN}',
        b'{"messages": [{"role": "user", "content": "Hi"}], "top_p": 1e999}',
    ],
)
def test_a_body_that_is_no_text_or_no_number_is_refused(http: httpx.Client, body: bytes) -> None:
    answer = http.post("/chat/stream", content=body, headers={"Content-Type": "application/json"})

    assert answer.status_code == 422
    assert code_of(answer) == "invalid_request"


@pytest.mark.parametrize("session_id", ["", "a/b", "a b", "x" * 129, "é"])
def test_a_session_id_that_is_not_allowed_is_refused(http: httpx.Client, session_id: str) -> None:
    answer = http.post("/chat/session", json={"session_id": session_id, "message": "Hi"})

    assert answer.status_code == 422
    assert "session_id" in answer.json()["error"]["message"]


def test_a_conversation_that_cannot_fit_is_refused_before_it_queues(http: httpx.Client) -> None:
    long = [{"role": "user", "content": "the sea " * 2000}]
    for path in ("/chat", "/chat/stream"):
        answer = http.post(path, json={"messages": long})
        assert answer.status_code == 400
        assert code_of(answer) == "context_overflow"


def test_a_second_turn_in_a_busy_session_is_refused_and_so_is_its_end(http: httpx.Client) -> None:
    body = {"session_id": "busy", "message": STORY, **ENDLESS}
    with http.stream("POST", "/chat/session/stream", json=body) as response:
        events = events_of(response.iter_lines())
        stream_id = next(events)[1]["stream_id"]
        for path in ("/chat/session", "/chat/session/stream"):
            answer = http.post(path, json={"session_id": "busy", "message": "Hello?"})
            assert (answer.status_code, code_of(answer)) == (409, "session_busy")
        deleted = http.delete("/chat/session/busy")
        assert (deleted.status_code, code_of(deleted)) == (409, "session_busy")
        http.delete(f"/streams/{stream_id}")


@pytest.fixture
def full_queue(http: httpx.Client) -> Iterator[None]:
    """Two streams that run and one that waits: there is no room for more."""
    body = {"messages": [{"role": "user", "content": STORY}], **ENDLESS}
    with (
        http.stream("POST", "/chat/stream", json=body) as one,
        http.stream("POST", "/chat/stream", json=body) as two,
        http.stream("POST", "/chat/stream", json=body) as three,
    ):
        reading = [events_of(each.iter_lines()) for each in (one, two, three)]  # one that is thrown away hangs up
        for events in reading:
            next(events)
        yield


@pytest.mark.usefixtures("full_queue")
@pytest.mark.parametrize(
    ("path", "asked"),
    [
        ("/chat", {"messages": QUESTION}),
        ("/chat/stream", {"messages": QUESTION}),
        ("/chat/session", {"session_id": "full", "message": "Hi"}),
        ("/chat/session/stream", {"session_id": "full", "message": "Hi"}),
    ],
)
def test_a_full_queue_is_told_before_a_prompt_is_made_or_a_message_saved(
    http: httpx.Client, client: LLMClient, monkeypatch: pytest.MonkeyPatch, path: str, asked: Event
) -> None:
    def too_much(*_: object) -> None:
        raise AssertionError("this was for nothing")

    with monkeypatch.context() as patch:
        patch.setattr(client.models, "submit", too_much)
        patch.setattr(client.sessions, "_store", too_much)
        answer = http.post(path, json=asked)

    assert (answer.status_code, code_of(answer)) == (503, "queue_full")
    assert int(answer.headers["retry-after"]) > 0
    assert http.get("/chat/session/full/history").status_code == 404


def test_what_is_not_there_is_404_in_the_one_shape(http: httpx.Client) -> None:
    for method, path in (
        ("GET", "/chat/session/none/history"),
        ("GET", "/chat/session/none/export"),
        ("DELETE", "/chat/session/none"),
        ("GET", f"/streams/{'0' * 32}"),
        ("DELETE", f"/streams/{'0' * 32}"),
    ):
        answer = http.request(method, path)
        assert answer.status_code == 404, path
        assert code_of(answer) in ("session_not_found", "stream_not_found")


def test_a_body_over_the_limit_is_refused(http: httpx.Client) -> None:
    for content in (b" " * (4 * 2**20 + 1), iter([b" " * (4 * 2**20 + 1)])):
        answer = http.post("/chat", content=content, headers={"Content-Type": "application/json"})
        assert (answer.status_code, code_of(answer)) == (413, "request_too_large")


# ── the reference ────────────────────────────────────────────────────────────────────────────────────────────────────


def test_the_documentation_names_every_route_and_loads_nothing_from_elsewhere(http: httpx.Client) -> None:
    root = str(http.base_url).removesuffix("/api/llm/")
    schema = httpx.get(f"{root}/openapi.json").json()

    assert {"/api/llm/chat", "/api/llm/chat/stream", "/api/llm/streams/{stream_id}", "/v1/chat/completions"} <= set(
        schema["paths"]
    )
    assert "409" in schema["paths"]["/api/llm/chat/session"]["post"]["responses"]
    docs = httpx.get(f"{root}/docs").text
    assert "https://" not in docs.split("swagger-ui-bundle", 1)[0]


def test_many_readers_at_once_each_get_their_own_answer(http: httpx.Client) -> None:
    questions = ["What is the capital of France?", "What is 1 + 1?", "Say hello.", "Name a colour.", "Name an animal."]
    bodies = [{"messages": [{"role": "user", "content": each}], "max_tokens": 6} for each in questions]
    alone = [http.post("/chat", json=body).json()["content"] for body in bodies]

    def ask(body: dict[str, Any]) -> str:
        while (answer := http.post("/chat", json=body)).status_code == 503:  # two slots, and one place to wait
            pass
        content: str = answer.json()["content"]
        return content

    with ThreadPoolExecutor(5) as pool:
        together = list(pool.map(ask, bodies))

    # Greedy replies to short questions may differ in a later word where logits nearly tie; not in the first.
    assert [text.split()[0] for text in together] == [text.split()[0] for text in alone]


def test_sessions_are_files_of_the_data_folder(client: LLMClient, http: httpx.Client) -> None:
    http.get("/sessions")
    assert Path(client.settings.data_dir, "sessions.db").is_file()
