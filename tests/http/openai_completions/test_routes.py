"""OpenAI's own client, unmodified, against `/v1/completions` on the real model."""

from __future__ import annotations

from collections.abc import Iterator
from typing import Any

import httpx
import openai
import pytest
from openai.types import Completion

from llm_core.client import LLMClient
from llm_core.errors import InvalidRequest
from llm_core.settings import Settings
from tests.waiting import is_idle, wait_until

PROMPT = "The capital of France is"
ASKED: dict[str, Any] = {"model": "any", "max_tokens": 6}  # the server is greedy where a request says nothing


SETTINGS: dict[str, Any] = {"context_tokens": 256}


@pytest.fixture(scope="module")
def theirs(url: str) -> Iterator[openai.OpenAI]:
    with openai.OpenAI(base_url=f"{url}v1", api_key="none", max_retries=0) as theirs:
        yield theirs


def texts(chunks: list[Completion], index: int = 0) -> str:
    return "".join(choice.text for chunk in chunks for choice in chunk.choices if choice.index == index)


def tokens_of(client: LLMClient, text: str) -> list[int]:
    return [token.id for token in client.vocabulary().tokenize(text, add_special=False, parse_special=True)]


def test_the_stream_joins_to_the_whole_completion(theirs: openai.OpenAI) -> None:
    whole = theirs.completions.create(prompt=PROMPT, **ASKED)
    chunks = list(theirs.completions.create(prompt=PROMPT, stream=True, **ASKED))

    assert "Paris" in whole.choices[0].text
    assert texts(chunks) == whole.choices[0].text
    assert (whole.object, whole.model, whole.choices[0].finish_reason) == (
        "text_completion",
        "SmolLM2-135M-Instruct",
        "length",
    )
    assert [chunk.choices[0].finish_reason for chunk in chunks][-1] == "length"
    assert {chunk.id for chunk in chunks} == {chunks[0].id}
    assert all(chunk.usage is None for chunk in chunks)


def test_usage_comes_last_in_a_stream_that_asked_for_it(theirs: openai.OpenAI, client: LLMClient) -> None:
    usage = theirs.completions.create(prompt=PROMPT, **ASKED).usage
    *chunks, last = theirs.completions.create(
        prompt=PROMPT, stream=True, stream_options={"include_usage": True}, **ASKED
    )

    assert usage is not None
    assert last.usage is not None
    assert last.choices == []
    assert (last.usage.prompt_tokens, last.usage.completion_tokens) == (len(tokens_of(client, PROMPT)), 6)
    assert usage.total_tokens == last.usage.total_tokens
    assert all(chunk.choices for chunk in chunks)


def test_openais_sixteen_tokens_are_made_where_nothing_is_said(theirs: openai.OpenAI) -> None:
    made = theirs.completions.create(model="any", prompt="One, two, three,", logit_bias={"2": -100, "0": -100})
    assert made.usage is not None
    assert made.usage.completion_tokens == 16


def test_a_prompt_may_be_tokens_and_there_may_be_several(theirs: openai.OpenAI, client: LLMClient) -> None:
    other = "One, two, three,"
    alone = [theirs.completions.create(prompt=prompt, **ASKED) for prompt in (PROMPT, other)]
    tokens = [tokens_of(client, prompt) for prompt in (PROMPT, other)]

    for given in ([PROMPT, other], tokens):
        together = theirs.completions.create(prompt=given, **ASKED)
        assert [choice.text for choice in together.choices] == [each.choices[0].text for each in alone]
        assert [choice.index for choice in together.choices] == [0, 1]
        assert together.usage is not None
        assert together.usage.prompt_tokens == sum(map(len, tokens))
    assert theirs.completions.create(prompt=tokens[0], **ASKED).choices[0].text == alone[0].choices[0].text


@pytest.mark.parametrize("as_tokens", [False, True])
def test_the_prompt_is_told_too_where_it_is_asked_for(
    theirs: openai.OpenAI, client: LLMClient, as_tokens: bool
) -> None:
    prompt: Any = tokens_of(client, PROMPT) if as_tokens else PROMPT
    plain = theirs.completions.create(prompt=prompt, **ASKED).choices[0].text
    whole = theirs.completions.create(prompt=prompt, echo=True, **ASKED)
    chunks = list(theirs.completions.create(prompt=prompt, echo=True, stream=True, **ASKED))

    assert whole.choices[0].text == PROMPT + plain == texts(chunks)


def test_log_probabilities_are_in_openais_old_form(theirs: openai.OpenAI) -> None:
    whole = theirs.completions.create(prompt=PROMPT, logprobs=2, **ASKED).choices[0]
    chunks = list(theirs.completions.create(prompt=PROMPT, logprobs=2, stream=True, **ASKED))
    streamed = [choice.logprobs for chunk in chunks for choice in chunk.choices if choice.logprobs]

    told = whole.logprobs
    assert told is not None
    assert told.tokens is not None
    assert told.text_offset is not None
    assert told.token_logprobs is not None
    assert told.top_logprobs is not None
    assert "".join(told.tokens) == whole.text
    assert [whole.text[at:].startswith(token) for at, token in zip(told.text_offset, told.tokens, strict=True)]
    assert told.text_offset == [len("".join(told.tokens[:at])) for at in range(6)]
    assert [top[token] for top, token in zip(told.top_logprobs, told.tokens, strict=True)] == told.token_logprobs
    assert {len(top) for top in told.top_logprobs} == {2}
    assert [at for each in streamed for at in each.text_offset or ()] == told.text_offset
    assert [token for each in streamed for token in each.tokens or ()] == told.tokens


def test_what_others_read_is_read(theirs: openai.OpenAI) -> None:
    made = theirs.completions.create(
        model="any", prompt=PROMPT, stop="Paris", user="ada", extra_body={"n_predict": 9, "top_k": 1, "best_of": 1}
    )
    assert made.choices[0].text.strip() == ""
    assert made.choices[0].finish_reason == "stop"


def test_who_leaves_a_stream_stops_all_its_choices(theirs: openai.OpenAI, client: LLMClient) -> None:
    endless: dict[str, Any] = {"max_tokens": 200, "logit_bias": {"2": -100, "0": -100}, "n": 2}
    with theirs.completions.create(model="any", prompt=PROMPT, stream=True, **endless) as stream:
        next(stream)
    wait_until(lambda: is_idle(client), "the engine is idle")


@pytest.mark.parametrize(
    ("fields", "param"),
    [
        ({}, "prompt"),
        ({"prompt": None}, "prompt"),
        ({"prompt": 3}, "prompt"),
        ({"prompt": ""}, "prompt"),
        ({"prompt": []}, "prompt"),
        ({"prompt": [True]}, "prompt"),
        ({"prompt": [1, "a"]}, "prompt"),
        ({"prompt": ["a", [-1]]}, "prompt.0"),
        ({"prompt": [2**31 - 1]}, "prompt"),
        ({"prompt": ["a"] * 17}, "prompt"),
        ({"prompt": ["a"] * 9, "n": 2}, "prompt"),
        ({"prompt": "sea " * 300}, "prompt"),
        ({"prompt": "a", "suffix": "b"}, "suffix"),
        ({"prompt": "a", "suffix": "b", "stream": True}, "suffix"),
        ({"prompt": "a", "max_tokens": 0}, "max_tokens"),
        ({"prompt": "a", "logprobs": 6}, "logprobs"),
        ({"prompt": "a", "logprobs": True, "echo": True}, "echo"),
        ({"prompt": "a", "best_of": 2}, "best_of"),
        ({"prompt": "a", "n": 3}, "n"),
        ({"prompt": "a", "n": 17}, "n"),
        ({"prompt": "a", "temperature": 9}, "temperature"),
        ({"prompt": "a", "tools": [{}]}, "tools"),
        ({"prompt": "a", "response_format": {"type": "json_object"}}, "response_format"),
        ({"prompt": "a", "guided_json": {"type": "object"}}, "guided_json"),
        ({"prompt": "a", "grammar": "root ::= x"}, "grammar"),
        ({"prompt": "a", "min_tokens": 3}, "min_tokens"),
    ],
    ids=str,
)
def test_a_bad_field_is_refused_by_name(url: str, fields: dict[str, Any], param: str) -> None:
    answer = httpx.post(f"{url}v1/completions", json={"model": "any"} | fields, timeout=60)
    assert (answer.status_code, answer.json()["error"]["param"]) == (400, param), answer.text


@pytest.mark.local_engine
def test_an_engine_elsewhere_goes_on_from_raw_prompts_too(url: str, client: LLMClient) -> None:
    with LLMClient(Settings(server_url=url, temperature=0)) as front:
        reply, here = (
            front.complete(PROMPT, max_tokens=6, logprobs=1),
            client.complete(PROMPT, max_tokens=6, logprobs=1),
        )

        assert (reply.content, reply.finish_reason) == (here.content, here.finish_reason)
        assert [each.logprob for each in reply.logprobs] == [each.logprob for each in here.logprobs]
        assert [each.top for each in reply.logprobs] == [each.top for each in here.logprobs]
        assert reply.usage.prompt_tokens == here.usage.prompt_tokens
        assert front.complete(tokens_of(client, PROMPT), max_tokens=6).content == here.content
        with pytest.raises(InvalidRequest, match="suffix"):
            front.complete(PROMPT, suffix="b")
