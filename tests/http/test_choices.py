"""Several choices in one answer: each is a reply of its own, and the prompt is computed and counted once."""

from __future__ import annotations

import asyncio
import uuid
from collections.abc import AsyncGenerator, Iterator
from contextlib import aclosing
from pathlib import Path
from typing import Any

import httpx
import openai
import pytest

from llm_core.client import LLMClient
from llm_core.errors import QueueFull
from llm_core.events import ChatEvent, ContentDelta, Done, Queued, Timings, Usage
from llm_core.http.choices import Numbered, collected, seeds, side_by_side, total
from tests.served import loaded_client, served
from tests.waiting import is_idle, stats_of, wait_until

QUESTION: list[Any] = [{"role": "user", "content": "Name a fruit."}]
WARM: dict[str, Any] = {"model": "any", "temperature": 1.0, "max_tokens": 12}
ENDLESS: dict[str, Any] = {"model": "any", "max_tokens": 400, "logit_bias": {"2": -100, "0": -100}}
PARALLEL = 4


SETTINGS: dict[str, Any] = {"parallel": PARALLEL, "queue_limit": 1}


@pytest.fixture(scope="module")
def theirs(url: str) -> Iterator[openai.OpenAI]:
    with openai.OpenAI(base_url=f"{url}v1", api_key="none", max_retries=0) as theirs:
        yield theirs


@pytest.fixture(autouse=True)
def _idle_afterwards(client: LLMClient) -> Iterator[None]:
    yield
    wait_until(lambda: is_idle(client), "the engine is free again")


def test_each_choice_is_the_reply_to_a_seed_of_its_own(theirs: openai.OpenAI) -> None:
    alone = [
        theirs.chat.completions.create(messages=QUESTION, seed=seed, **WARM).choices[0].message.content
        for seed in (7, 8, 9)
    ]
    together = theirs.chat.completions.create(messages=QUESTION, seed=7, n=3, **WARM)
    chunks = list(theirs.chat.completions.create(messages=QUESTION, seed=7, n=3, stream=True, **WARM))

    assert len(set(alone)) > 1
    assert [choice.message.content for choice in together.choices] == alone
    assert [choice.index for choice in together.choices] == [0, 1, 2]
    told = [choice for chunk in chunks for choice in chunk.choices]
    streamed = ["".join(each.delta.content or "" for each in told if each.index == at) for at in range(3)]
    assert streamed == alone
    for at, choice in enumerate(together.choices):
        mine = [each for each in told if each.index == at]
        assert (mine[0].delta.role, mine[-1].finish_reason) == ("assistant", choice.finish_reason)


@pytest.mark.parametrize("stream", [False, True])
@pytest.mark.parametrize("route", ["chat/completions", "completions"])
@pytest.mark.local_engine
def test_the_prompt_is_computed_once_and_counted_once(client: LLMClient, url: str, route: str, stream: bool) -> None:
    new = f"{uuid.uuid4()} " * 12  # nothing of it is known
    asked = {"messages": [{"role": "user", "content": new}]} if route.startswith("chat") else {"prompt": new}
    before = stats_of(client).prefilled_tokens
    body = asked | WARM | {"n": PARALLEL, "stream": stream, "stream_options": {"include_usage": True}}
    answer = httpx.post(f"{url}v1/{route}", json=body, timeout=120)
    computed = stats_of(client).prefilled_tokens - before

    if stream:
        lines = [line.removeprefix("data: ") for line in answer.text.splitlines() if line.startswith("data: {")]
        usages = [httpx.Response(200, text=line).json().get("usage") for line in lines]
        (usage,) = [usage for usage in usages if usage]
    else:
        usage = answer.json()["usage"]
    prompt, cached = usage["prompt_tokens"], usage["prompt_tokens_details"]["cached_tokens"]
    assert prompt > 200
    assert computed == prompt - cached + PARALLEL - 1, "each choice computes the prompt's last token"
    assert PARALLEL < usage["completion_tokens"] <= PARALLEL * WARM["max_tokens"]


def test_who_leaves_stops_all(theirs: openai.OpenAI, client: LLMClient) -> None:
    with theirs.chat.completions.create(messages=QUESTION, n=PARALLEL, stream=True, **ENDLESS) as stream:
        for _ in range(PARALLEL + 1):
            next(stream)
        assert stats_of(client).running + stats_of(client).waiting == PARALLEL
    wait_until(lambda: is_idle(client), "the engine is idle")


def test_a_request_that_finds_no_room_for_all_is_refused_and_leaves_none_behind(
    theirs: openai.OpenAI, client: LLMClient
) -> None:
    with theirs.chat.completions.create(messages=QUESTION, n=PARALLEL - 1, stream=True, **ENDLESS) as stream:
        for _ in range(PARALLEL):
            next(stream)
        with pytest.raises(openai.InternalServerError, match="Try again in a few seconds") as refused:
            theirs.chat.completions.create(messages=QUESTION, n=PARALLEL, **WARM)
        assert refused.value.status_code == 503
        wait_until(lambda: stats_of(client).running + stats_of(client).waiting == PARALLEL - 1, "the others run on")


def test_no_more_are_made_than_there_are_slots(theirs: openai.OpenAI) -> None:
    with pytest.raises(openai.BadRequestError, match=f"at most {PARALLEL} choices"):
        theirs.chat.completions.create(messages=QUESTION, n=PARALLEL + 1, **WARM)


@pytest.mark.local_engine
def test_each_counts_as_a_request(tmp_path: Path) -> None:
    with loaded_client(tmp_path, rate_limit="3/minute") as client, served(client) as url:
        statuses = [
            httpx.post(f"{url}v1/completions", json={"prompt": "Hi", "n": 2, "max_tokens": 1}).status_code
            for _ in range(2)
        ]
        assert statuses == [200, 429]


# ── side by side ─────────────────────────────────────────────────────────────────────────────────────────────────────

END = Done("stop", Usage(), Timings())


class Reply:
    """A reply that says what it is told to.

    Attributes:
        is_closed: Its reader has left, or it has ended.
    """

    def __init__(self, *said: ChatEvent | Exception | float) -> None:
        self._said, self.is_closed = said, False

    async def events(self) -> AsyncGenerator[ChatEvent]:
        try:
            for each in self._said:
                if isinstance(each, Exception):
                    raise each
                if isinstance(each, float):
                    await asyncio.sleep(each)
                else:
                    yield each
        finally:
            self.is_closed = True


def together(*replies: Reply) -> AsyncGenerator[Numbered]:
    return side_by_side([reply.events() for reply in replies])


async def test_a_refusal_of_one_comes_before_anything_of_the_others_and_closes_them() -> None:
    endless, refused = Reply(Queued(0), ContentDelta("a"), 600.0), Reply(0.05, QueueFull("No."))
    with pytest.raises(QueueFull):
        await anext(together(endless, refused))

    assert endless.is_closed


async def test_a_failure_of_one_ends_all() -> None:
    endless, fails = Reply(Queued(0), 600.0), Reply(Queued(0), 0.05, ValueError("inside"))
    events = together(endless, fails)

    assert [await anext(events), await anext(events)] == [(0, Queued(0)), (1, Queued(0))]
    with pytest.raises(ValueError, match="inside"):
        await anext(events)
    assert endless.is_closed


@pytest.mark.parametrize("count", [1, 3])
async def test_who_leaves_closes_all(count: int) -> None:
    replies = [Reply(Queued(0), 600.0) for _ in range(count)]
    async with aclosing(together(*replies)) as events:
        await anext(events)

    assert all(reply.is_closed for reply in replies)


async def test_whole_replies_are_collected_in_their_order() -> None:
    late, soon = Reply(0.05, ContentDelta("late"), END), Reply(ContentDelta("so"), ContentDelta("on"), END)

    assert [reply.content for reply in await collected(together(late, soon), 2)] == ["late", "soon"]


def test_each_prompt_is_counted_once_as_its_first_reader_found_it() -> None:
    usages = [Usage(9, 8, 2), Usage(9, 3, 4, "new"), Usage(5, 0, 1), Usage(5, 4, 1)]

    assert total(usages, n=2) == Usage(14, 3, 8, "new")
    assert total(usages[:1], n=1) == usages[0]


def test_seeds_follow_one_another_and_none_stays_none() -> None:
    assert seeds(2**32 - 2, 3) == [2**32 - 2, 0, 1]
    assert seeds(None, 2) == [None, None]
