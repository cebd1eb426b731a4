"""A request becomes a prompt that leaves room for the reply, and the parser that goes with it."""

from __future__ import annotations

import re
from collections.abc import Callable
from typing import Any

import pytest

from llm_core.chat.chat import Chat
from llm_core.engine.llama.model import Model
from llm_core.errors import ContextOverflow, ModelError
from llm_core.events import ContentDelta, ReasoningDelta
from llm_core.request import ChatRequest, build_request

TURNS = [
    {"role": role, "content": f"{number}. " + "word " * 20} for number in range(20) for role in ("user", "assistant")
]
LAST = {"role": "user", "content": "And now?"}


def request(messages: list[dict[str, str]], **options: Any) -> ChatRequest:
    return build_request(messages, **({"max_tokens": 16, "timeout": 30.0} | options))


def test_a_prompt_that_leaves_one_token_for_the_reply_fits_and_a_longer_one_does_not(vocabulary: Model) -> None:
    chat = Chat(vocabulary)
    size = len(chat.prepare(request([LAST]), limit_tokens=4096, shared_system=()).prompt.tokens)

    assert len(chat.prepare(request([LAST]), limit_tokens=size + 1, shared_system=()).prompt.tokens) == size
    with pytest.raises(ContextOverflow):
        chat.prepare(request([LAST]), limit_tokens=size, shared_system=())


def test_with_turns_left_out_a_quarter_is_for_the_reply_however_long_it_may_be(vocabulary: Model) -> None:
    short, long = (
        Chat(vocabulary).prepare(
            request([*TURNS, LAST], overflow="drop_oldest", max_tokens=most), limit_tokens=400, shared_system=()
        )
        for most in (16, 4096)
    )

    assert short.prompt == long.prompt
    assert 100 < len(short.prompt.tokens) <= 300
    assert short.dropped == long.dropped > 0


def test_a_model_without_a_template_is_talked_to_in_chatml(small_vocabulary: Callable[..., Any]) -> None:
    vocabulary = small_vocabulary()
    prompt = Chat(vocabulary).prepare(request([LAST]), limit_tokens=4096, shared_system=()).prompt

    assert vocabulary.text_of(prompt.tokens) == "<s><|im_start|>user\nAnd now?<|im_end|>\n<|im_start|>assistant\n"


def test_the_operators_own_template_takes_the_place_of_the_files(small_vocabulary: Callable[..., Any]) -> None:
    vocabulary = small_vocabulary(chat_template="{{ messages[0].content }} in the file")
    chat = Chat(vocabulary, "<|user|>{{ messages[0].content }}<|bot|>")
    prompt = chat.prepare(request([LAST]), limit_tokens=4096, shared_system=()).prompt

    assert vocabulary.text_of(prompt.tokens) == "<s><|user|>And now?<|bot|>"


@pytest.mark.parametrize(
    ("template", "told"),
    [
        ("{% if %}", "does not compile (line 1"),
        ("{{ raise_exception('I take nobody') }}", "I take nobody"),
        ("{{ messages[0].role }}", "leaves out what the user says"),
        ("{{ messages[0].content.__class__.__mro__ }}", "not allowed"),
        ("{% for a in range(99999) %}{% for b in range(99999) %}x{% endfor %}{% endfor %}", "was stopped"),
    ],
)
def test_a_template_of_the_operators_that_fails_is_refused_at_once(
    small_vocabulary: Callable[..., Any], template: str, told: str
) -> None:
    with pytest.raises(ModelError, match=re.escape(told)):
        Chat(small_vocabulary(), template)


def test_control_tokens_that_mark_thinking_are_to_be_shown(small_vocabulary: Callable[..., Any]) -> None:
    vocabulary = small_vocabulary(control_texts=("<s>", "</s>", "<|START_THINKING|>", "<|END_THINKING|>"))
    source = "{{ messages[0].content }}{% if enable_thinking is defined %}<|START_THINKING|>{% endif %}"
    chat = Chat(small_vocabulary(control_texts=vocabulary.control_texts, chat_template=source))
    prepared = chat.prepare(request([LAST], thinking=True), limit_tokens=4096, shared_system=())

    assert prepared.visible_tokens == {vocabulary.id_of("<|START_THINKING|>"), vocabulary.id_of("<|END_THINKING|>")}
    assert prepared.parser.feed("hm<|END_THINKING|>Hello") == [ReasoningDelta("hm"), ContentDelta("Hello")]


def test_markers_that_are_no_control_tokens_need_not_be_shown(vocabulary: Model) -> None:
    assert Chat(vocabulary).prepare(request([LAST]), limit_tokens=4096, shared_system=()).visible_tokens == frozenset()
