"""A raw prompt: the model goes on from the very text or tokens, in this process and on an engine elsewhere."""

from __future__ import annotations

import asyncio
from typing import Any

import pytest

from llm_core.backends.raw_prompt import raw_prompt
from llm_core.client import LLMClient
from llm_core.completion_request import build_completion
from llm_core.errors import ContextOverflow, InvalidRequest
from llm_core.events import ContentDelta, Done, Queued
from tests.waiting import is_idle, wait_until

PROMPT = "The capital of France is"


SETTINGS: dict[str, Any] = {"max_tokens": 8, "context_tokens": 256}


def tokens_of(client: LLMClient, text: str, **options: bool) -> list[int]:
    wanted = {"add_special": False, "parse_special": False} | options
    return [token.id for token in client.vocabulary().tokenize(text, **wanted)]


def test_the_model_goes_on_from_the_text_and_from_its_tokens(client: LLMClient) -> None:
    reply = client.complete(PROMPT)

    assert "Paris" in reply.content
    assert reply.usage.prompt_tokens == len(tokens_of(client, PROMPT))
    assert client.complete(tokens_of(client, PROMPT)).content == reply.content


def test_the_stream_and_the_async_twins_say_the_same(client: LLMClient) -> None:
    events = list(client.complete_stream(PROMPT))

    async def twins() -> tuple[str, list[Any]]:
        stream = [event async for event in client.acomplete_stream(PROMPT)]
        return (await client.acomplete(PROMPT)).content, stream

    whole, stream = asyncio.run(twins())
    texts = ["".join(event.text for event in each if isinstance(event, ContentDelta)) for each in (events, stream)]
    assert (type(events[0]), type(events[-1])) == (Queued, Done)
    assert texts == [client.complete(PROMPT).content] * 2 == [whole] * 2


def test_it_is_the_prompt_that_a_chat_makes(client: LLMClient) -> None:
    messages = [{"role": "user", "content": "What is the capital of France?"}]

    assert client.complete(client.apply_template(messages)).content == client.generate(messages)


def test_names_of_control_tokens_are_control_tokens(client: LLMClient) -> None:
    reply = client.complete("Hi<|im_end|>")
    assert reply.usage.prompt_tokens == len(tokens_of(client, "Hi<|im_end|>", parse_special=True))


def test_what_looks_like_thinking_or_a_call_is_text(client: LLMClient) -> None:
    reply = client.complete(" <think> <think> <think> <think> <think> <think>", logit_bias={2: -100, 0: -100})
    assert reply.reasoning is None
    assert reply.content


def test_options_are_those_of_every_request(client: LLMClient) -> None:
    reply = client.complete(PROMPT, max_tokens=3, logprobs=2)

    assert (reply.finish_reason, reply.usage.completion_tokens, len(reply.logprobs)) == ("length", 3, 3)
    assert all(len(each.top) == 2 for each in reply.logprobs)
    assert client.complete(PROMPT, stop="Paris").content.strip() == ""


def test_who_leaves_stops_it(client: LLMClient) -> None:
    for _ in client.complete_stream(PROMPT, max_tokens=200, logit_bias={2: -100, 0: -100}):
        break
    wait_until(lambda: is_idle(client), "the engine is idle")


@pytest.mark.parametrize(
    ("prompt", "options", "param", "said"),
    [
        ("", {}, "prompt", "at least one"),
        ([], {}, "prompt", "at least one"),
        ([2**31 - 1], {}, "prompt", "from 0 to"),
        ([-1], {}, "prompt.0", "greater"),
        ([1, "a"], {}, "prompt.1", "integer"),
        ([1, True], {}, "prompt.1", "integer"),
        (3, {}, "prompt", "string"),
        ("\ud800", {}, "prompt", "surrogate"),
        ("sea " * 300, {}, "prompt", "context length is 255"),
        (PROMPT, {"suffix": "."}, "suffix", "cannot fill in"),
        (PROMPT, {"temperature": 9}, "temperature", "less than"),
        (PROMPT, {"tools": []}, "tools", "no such field"),
        (PROMPT, {"lora": [{"name": "none"}]}, "lora", "none"),
    ],
    ids=str,
)
def test_what_cannot_be_done_is_refused_by_name(
    client: LLMClient, prompt: Any, options: dict[str, Any], param: str, said: str
) -> None:
    with pytest.raises(InvalidRequest, match=said) as refused:
        client.complete(prompt, **options)

    assert refused.value.param == param
    assert isinstance(refused.value, ContextOverflow) is ("context" in said)


class _FillsIn:
    """A vocabulary of letters that can fill in, and wants BOS."""

    vocab_size, add_bos = 2_000, True
    fill_in: tuple[int, int, int] | None = (1_001, 1_002, 1_003)

    def tokenize(self, text: str, *, add_special: bool, parse_special: bool) -> list[int]:
        return ([1_000] if add_special else []) + ([999] if parse_special else [ord(each) for each in text])


def test_what_is_filled_in_stands_between_the_text_and_its_suffix_which_are_text() -> None:
    model: Any = _FillsIn()
    options: dict[str, Any] = {"max_tokens": 1, "timeout": 1}

    def tokens(prompt: Any, **more: Any) -> tuple[int, ...]:
        return raw_prompt(build_completion(prompt, **options, **more), model, limit_tokens=100)

    assert tokens("ab", suffix="c") == (1_000, 1_001, 97, 98, 1_002, 99, 1_003)
    assert tokens([5], suffix="") == (1_001, 5, 1_002, 1_003)
    assert tokens("ab") == (1_000, 999)
    assert tokens([5]) == (5,)


def test_what_was_computed_is_found_again_by_its_owner_and_by_nobody_else(client: LLMClient) -> None:
    long = "One two three four five six seven eight nine ten. " * 4
    client.complete(long, owner="ann", max_tokens=1)

    assert client.complete(long, owner="ann", max_tokens=1).usage.cached_tokens > 20
    assert client.complete(long, owner="bob", max_tokens=1).usage.cached_tokens == 0
