"""Gradio's own client, unmodified, over a real port."""

from __future__ import annotations

from concurrent.futures import CancelledError, ThreadPoolExecutor
from itertools import pairwise
from typing import Any

import gradio_client
import httpx
import pytest
from gradio_client.exceptions import AppError

from llm_core.client import LLMClient
from tests.waiting import is_idle, wait_until

from .conftest import connect

QUESTION = [{"role": "user", "content": "What is the capital of France?"}]
STORY = "Tell me a very long story about the sea."


def test_a_stream_yields_the_text_so_far_and_last_the_whole_reply(ann: gradio_client.Client) -> None:
    whole = ann.predict(QUESTION, 0, 24, api_name="/chat_complete")
    pieces = list(ann.submit(QUESTION, 0, 24, api_name="/chat_stream"))

    assert "Paris" in whole
    assert pieces[-1] == whole
    assert all(later.startswith(earlier) for earlier, later in pairwise(pieces))


def test_a_session_remembers_and_is_listed_and_deleted(ann: gradio_client.Client) -> None:
    first = ann.predict("pets", "My name is Bo.", 0, 12, api_name="/session_chat")
    pieces = list(ann.submit("pets", "What is my name?", 0, 12, api_name="/session_chat_stream"))

    history = ann.predict("pets", api_name="/session_history")
    assert [message["role"] for message in history] == ["user", "assistant"] * 2
    assert [history[1]["content"], history[3]["content"]] == [first, pieces[-1]]
    assert [row["session_id"] for row in ann.predict(api_name="/sessions")] == ["pets"]
    assert ann.predict("pets", api_name="/session_delete") is True
    assert ann.predict(api_name="/sessions") == []


def test_files_go_with_a_message(ann: gradio_client.Client) -> None:
    files = [{"name": "notes.md", "media_type": "text/plain", "text": "Bo is a heron."}]
    for name in ("/session_chat", "/session_chat_stream"):
        ann.predict("files", "Who is Bo?", 0, 2, attachments=files, api_name=name)

    history = ann.predict("files", api_name="/session_history")
    assert [message.get("attachments") for message in history] == [files, None] * 2
    ann.predict("files", api_name="/session_delete")


def test_another_version_of_a_turn_is_chosen(client: LLMClient, ann: gradio_client.Client) -> None:
    ann.predict("ways", "Cats?", 0, 2, api_name="/session_chat")
    first = ann.predict("ways", api_name="/session_history")[-1]["stream_id"]
    assert client.sessions.begin("ways", "Dogs?", replaces=first, max_tokens=2, owner="name:ann").wait(60)

    found = ann.predict("ways", first, api_name="/session_versions")
    assert [(each["messages"][0]["content"], each["chosen"]) for each in found] == [("Cats?", False), ("Dogs?", True)]
    assert ann.predict("ways", first, api_name="/session_choose") is True
    assert ann.predict("ways", api_name="/session_history")[0]["content"] == "Cats?"
    ann.predict("ways", api_name="/session_delete")


def test_the_token_says_whose_sessions_they_are(url: str, ann: gradio_client.Client) -> None:
    bob = connect(url, "bob-secret")
    ann.predict("diary", "My secret is 4711.", 0, 4, api_name="/session_chat")

    assert bob.predict(api_name="/sessions") == []
    with pytest.raises(AppError, match="no session 'diary'"):
        bob.predict("diary", api_name="/session_history")
    with pytest.raises(Exception, match="credentials were not provided"):
        connect(url, "wrong")


@pytest.mark.parametrize("endpoint", ["/chat_stream", "/session_chat_stream"])
def test_a_cancelled_job_stops_the_engine(ann: gradio_client.Client, client: LLMClient, endpoint: str) -> None:
    before = client.stats()
    assert before is not None
    asked: tuple[Any, ...] = ([{"role": "user", "content": STORY}],) if endpoint == "/chat_stream" else ("long", STORY)
    job = ann.submit(*asked, 1.5, 900, api_name=endpoint)
    next(iter(job))

    job.cancel()

    wait_until(lambda: is_idle(client), "the engine is free")
    after = client.stats()
    assert after is not None
    assert after.generated_tokens - before.generated_tokens < 450, "the rest of the reply was never made"


def test_a_cancelled_job_ends_and_no_other_of_its_client_or_of_others_does(
    ann: gradio_client.Client, client: LLMClient
) -> None:
    story = [{"role": "user", "content": STORY}]
    job = ann.submit(story, 1.5, 900, api_name="/chat_stream")
    next(iter(job))
    count = [
        {"role": "user", "content": "Count from 1 to 20, with a comma between the numbers."}
    ]  # sure, beside anyone
    others = [ann.submit(count, 0, 40, api_name=endpoint) for endpoint in ("/chat_stream", "/chat_complete")]

    job.cancel()

    # The last is gradio_client's own, where its look at the cancel and the end of the stream come at once.
    ends = r"This job was cancelled|^$|Did not expect 2 tasks"
    with pytest.raises((AppError, CancelledError, ValueError), match=ends):
        job.result(timeout=60)
    first, second = (other.result(timeout=120) for other in others)
    assert first == second
    wait_until(lambda: is_idle(client), "the engine is free")


def test_a_job_is_not_cancelled_by_who_does_not_know_its_session(url: str, ann: gradio_client.Client) -> None:
    job = ann.submit([{"role": "user", "content": STORY}], 0, 60, api_name="/chat_stream")
    next(iter(job))
    event_id = job.communicator.event_id
    for endpoint in ann.endpoints:
        body = {"session_hash": "another", "fn_index": endpoint, "event_id": event_id}
        assert httpx.post(f"{url}gradio_api/cancel", json=body, headers=ann.headers).json() == {"success": True}

    assert len(job.result(timeout=120)) > 100


def test_two_clients_at_once_both_get_their_answers(url: str, ann: gradio_client.Client) -> None:
    bob = connect(url, "bob-secret")
    with ThreadPoolExecutor(2) as pool:
        answers = list(pool.map(lambda each: each.predict(QUESTION, 0, 24, api_name="/chat_complete"), [ann, bob]))

    assert all("Paris" in answer for answer in answers)


def test_what_is_refused_is_told_in_a_sentence(ann: gradio_client.Client) -> None:
    with pytest.raises(AppError, match="temperature"):
        ann.predict(QUESTION, 9, 4, api_name="/chat_complete")
    with pytest.raises(AppError, match="role"):
        list(ann.submit([{"role": "boss", "content": "Hi"}], 0, 4, api_name="/chat_stream").result())
    with pytest.raises(AppError, match="session_id"):
        ann.predict("not/an/id", "Hi", 0, 4, api_name="/session_chat")


def test_the_endpoints_are_typed(ann: gradio_client.Client) -> None:
    endpoints = ann.view_api(return_format="dict", print_info=False)["named_endpoints"]

    names = {"/chat_stream", "/chat_complete", "/session_chat_stream", "/session_chat", "/session_history"}
    assert names | {"/session_delete", "/sessions", "/chat"} <= set(endpoints)
    parameters = {each["parameter_name"]: each["type"] for each in endpoints["/chat_stream"]["parameters"]}
    assert parameters["temperature"] == {"type": "number"}
    assert parameters["max_tokens"] == {"type": "integer"}
    assert parameters["messages"]["type"] == "array"
    assert endpoints["/chat_stream"]["returns"][0]["type"] == {"type": "string"}
    assert "request" not in parameters
