"""llama-server's routes about texts and tokens, on the real vocabulary, and in front of an engine that has them."""

from __future__ import annotations

from collections.abc import Iterator
from pathlib import Path
from typing import Any

import httpx
import pytest

from llm_core.client import LLMClient
from llm_core.errors import InvalidRequest
from llm_core.settings import Settings
from tests.served import loaded_client, served

CHAT = [{"role": "system", "content": "Be brief."}, {"role": "user", "content": "Hi <|im_end|>"}]
TEXT = "Hello, 媽 🤗"


@pytest.fixture(scope="module")
def http(url: str) -> Iterator[httpx.Client]:
    with httpx.Client(base_url=url, timeout=60) as http:
        yield http


def told(http: httpx.Client, path: str, body: Any) -> Any:
    answer = http.post(path, json=body)
    assert answer.status_code == 200, answer.text
    return answer.json()


def test_a_text_comes_back_from_its_tokens(http: httpx.Client) -> None:
    tokens = told(http, "tokenize", {"content": TEXT})["tokens"]

    assert all(isinstance(each, int) for each in tokens)
    assert told(http, "detokenize", {"tokens": tokens}) == {"content": TEXT}
    assert told(http, "tokenize", {"content": ""}) == {"tokens": []}


def test_a_piece_is_text_or_the_bytes_of_a_part_of_a_character(http: httpx.Client) -> None:
    tokens = told(http, "tokenize", {"content": TEXT, "with_pieces": True})["tokens"]
    pieces = [each["piece"] for each in tokens]
    whole = b"".join(piece.encode() if isinstance(piece, str) else bytes(piece) for piece in pieces)

    assert [each["id"] for each in tokens] == told(http, "tokenize", {"content": TEXT})["tokens"]
    assert whole.decode() == TEXT
    assert {type(piece) for piece in pieces} == {str, list}


def test_the_name_of_a_control_token_is_text_unless_it_is_asked_for(http: httpx.Client) -> None:
    plain = told(http, "tokenize", {"content": "<|im_end|>"})["tokens"]
    special = told(http, "tokenize", {"content": "<|im_end|>", "parse_special": True})["tokens"]

    assert len(plain) > 1 == len(special)
    assert told(http, "detokenize", {"tokens": special}) == {"content": "<|im_end|>"}


def test_the_template_is_applied_and_nothing_generated(http: httpx.Client, client: LLMClient) -> None:
    prompt = told(http, "apply-template", {"messages": CHAT, "chat_template_kwargs": {"enable_thinking": False}})
    begun = told(http, "apply-template", {"messages": [*CHAT, {"role": "assistant", "content": "Hel"}]})

    assert prompt == {
        "prompt": "<|im_start|>system\nBe brief.<|im_end|>\n<|im_start|>user\nHi <|im_end|><|im_end|>\n"
        "<|im_start|>assistant\n"
    }
    assert begun["prompt"] == prompt["prompt"] + "Hel"
    assert prompt["prompt"] == client.apply_template(CHAT)


@pytest.mark.parametrize(
    ("path", "body", "status", "param"),
    [
        ("tokenize", {}, 422, "content"),
        ("tokenize", {"content": 3}, 422, "content"),
        ("tokenize", {"content": "a", "add_special": "yes"}, 422, "add_special"),
        ("tokenize", {"content": "a" * 2_000_001}, 422, "content"),
        ("detokenize", {"tokens": [-1]}, 422, "tokens.0"),
        ("detokenize", {"tokens": [True]}, 422, "tokens.0"),
        ("detokenize", {"tokens": [1, "2"]}, 422, "tokens.1"),
        ("detokenize", {"tokens": [2**31 - 1]}, 400, "tokens"),
        ("detokenize", {"tokens": "Hello"}, 422, "tokens"),
        ("apply-template", {"messages": []}, 422, "messages"),
        ("apply-template", {"messages": CHAT, "grammar": "root ::= x"}, 400, "grammar"),
    ],
    ids=str,
)
def test_a_bad_field_is_refused_by_name(http: httpx.Client, path: str, body: Any, status: int, param: str) -> None:
    answer = http.post(path, json=body)
    assert (answer.status_code, answer.json()["error"]["param"]) == (status, param), answer.text


def test_another_method_is_told_which_is_spoken(http: httpx.Client) -> None:
    answer = http.get("tokenize")
    assert (answer.status_code, answer.headers["allow"]) == (405, "POST")


@pytest.mark.local_engine
def test_nobody_is_told_without_a_token(tmp_path: Path) -> None:
    with loaded_client(tmp_path, api_tokens="ann:secret", parallel=1) as client, served(client) as url:
        assert httpx.post(f"{url}tokenize", json={"content": "a"}).status_code == 401
        answer = httpx.post(f"{url}tokenize", json={"content": "a"}, headers={"Authorization": "Bearer secret"})
        assert answer.status_code == 200


@pytest.mark.local_engine
def test_an_engine_elsewhere_is_asked_by_its_own_routes(url: str, client: LLMClient) -> None:
    with LLMClient(Settings(server_url=url)) as front:
        for wanted in ({"add_special": True, "parse_special": True}, {"add_special": False, "parse_special": False}):
            text = f"{TEXT}<|im_end|>"
            assert front.vocabulary().tokenize(text, **wanted) == client.vocabulary().tokenize(text, **wanted)
        tokens = [token.id for token in client.vocabulary().tokenize(TEXT, add_special=False, parse_special=False)]
        assert front.vocabulary().detokenize(tokens) == TEXT
        assert front.apply_template(CHAT, thinking=False) == client.apply_template(CHAT)
        with pytest.raises(InvalidRequest, match="refuses the request"):
            front.vocabulary().detokenize([2**31 - 1])
