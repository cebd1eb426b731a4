"""A conversation that has outgrown its context is read once and not again each turn, through every doorway."""

from __future__ import annotations

from collections.abc import Callable, Iterator
from typing import Any

import httpx
import pytest

from llm_core.client import LLMClient
from tests.served import served

# An engine elsewhere has another way (docs/remote.md). Seventy replies take a while where the machine is busy.
pytestmark = [pytest.mark.local_engine, pytest.mark.timeout(600)]
PAST = 20  # turns after the first that has something left out
GREEDY = {"temperature": 0, "max_tokens": 2}
Say = Callable[[str], tuple[dict[str, Any], int]]
"""Says something in one conversation; gives the reply's usage, and how many messages were left out."""


SETTINGS: dict[str, Any] = {"context_tokens": 512, "parallel": 1}


@pytest.fixture(scope="module")
def http(client: LLMClient) -> Iterator[httpx.Client]:
    with served(client) as url, httpx.Client(base_url=f"{url}api/llm/", timeout=60) as http:
        yield http


def in_python(client: LLMClient, _http: httpx.Client) -> Say:
    def say(text: str) -> tuple[dict[str, Any], int]:
        reply = client.chat_session("python", text, **GREEDY)
        return reply.to_dict()["usage"], reply.dropped_messages

    return say


def over_http(_client: LLMClient, http: httpx.Client) -> Say:
    def say(text: str) -> tuple[dict[str, Any], int]:
        answer = http.post("chat/session", json={"session_id": "http", "message": text, **GREEDY}).json()
        return answer["usage"], answer.get("dropped_messages", 0)

    return say


def without_a_session(_client: LLMClient, http: httpx.Client) -> Say:
    messages: list[dict[str, str]] = []

    def say(text: str) -> tuple[dict[str, Any], int]:
        messages.append({"role": "user", "content": text})
        # How long the reply may be changes, and the cut does not move.
        options = GREEDY | {"max_tokens": 2 + len(messages) % 5}
        answer = http.post("chat", json={"messages": messages, "overflow": "drop_oldest", **options}).json()
        messages.append({"role": "assistant", "content": answer["content"]})
        return answer["usage"], answer.get("dropped_messages", 0)

    return say


@pytest.mark.parametrize("doorway", [in_python, over_http, without_a_session])
def test_most_turns_past_the_context_read_only_what_is_new(
    doorway: Callable[[LLMClient, httpx.Client], Say], client: LLMClient, http: httpx.Client
) -> None:
    client.clear_cache()  # of what was said through another doorway
    say = doorway(client, http)
    number, dropped, read_again = 0, [0], 0
    while len(dropped) <= PAST:
        number += 1
        words = "The ship sails north, and the wind is cold." if dropped[-1] else "The wind is cold. " * 20
        usage, left_out = say(f"{number}. {words}")
        assert usage["cache_miss"] == ("trimmed" if left_out != dropped[-1] else None), usage
        if not left_out:
            continue
        read = usage["prompt_tokens"] - usage["cached_tokens"]
        read_again += left_out != dropped[-1]
        assert read < 40 or left_out != dropped[-1], (number, usage)
        dropped.append(left_out)

    assert dropped == sorted(dropped)
    assert 2 <= read_again <= PAST // 4
