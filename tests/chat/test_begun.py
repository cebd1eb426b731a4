"""A reply that was begun is gone on with: the prompt ends where it ends, and what comes is the rest of it."""

from __future__ import annotations

from collections.abc import Callable
from typing import Any

import pytest

from llm_core.chat.chat import Chat
from llm_core.chat.formats import DEFAULT_REASONING, reasoning_format
from llm_core.chat.parser import ReplyParser
from llm_core.chat.template import CHATML, ChatTemplate
from llm_core.chat.tool_formats import HERMES
from llm_core.engine.llama.model import Model
from llm_core.events import ContentDelta, ReasoningDelta, ToolCallDelta
from llm_core.messages import Message
from llm_core.request import build_request
from tests.chat.test_template import ALL, QWEN, controls_in, conversation, text_of

THINKS = """
{%- for message in messages %}
    {{- '<|im_start|>' + message.role + '\\n' }}
    {%- if message.role == 'assistant' and loop.last %}
        {{- '<think>\\n' + (message.reasoning_content or '') | trim + '\\n</think>\\n\\n' }}
    {%- endif %}
    {{- message.content + '<|im_end|>\\n' }}
{%- endfor %}
{%- if add_generation_prompt %}{{ '<|im_start|>assistant\\n<think>\\n' }}{% endif %}"""
TAKES_NO_REPLY_LAST = """
{%- if messages[-1].role == 'assistant' %}{{ raise_exception('A user must speak last') }}{% endif %}
{%- for message in messages %}
    {{- '<|im_start|>' + message.role + '\\n' + message.content + '<|im_end|>\\n' }}
{%- endfor %}
{{- '<|im_start|>assistant\\n' }}"""
THINKS_AHEAD = """
{%- for message in messages if message.role != 'assistant' %}{{ message.content + '|' }}{% endfor %}
{{- 'assistant<think>' }}
{%- if messages[-1].role == 'assistant' %}{{ messages[-1].content }}{% endif %}"""
SYSTEM_WITH_THE_LAST = """
{%- set system = messages[0].content + ' ' if messages[0].role == 'system' else '' %}
{%- for message in messages if message.role != 'system' %}
    {{- (system if loop.last and message.role == 'user' else '') + message.content + '|' }}
{%- endfor %}"""
HARMONY = """
{%- for message in messages %}
    {%- if message.role != 'assistant' %}{{ '<|start|>' + message.role + '<|message|>' + message.content + '<|end|>' }}
    {%- elif not loop.last %}
        {{- '<|start|>assistant<|channel|>final<|message|>' + message.content + '<|end|>' }}
    {%- endif %}
{%- endfor %}
{{- '<|start|>assistant' }}{# <|channel|>analysis<|message|> #}"""
BEGUN = conversation("Be brief.", "Hi", "  <b> The capital of")


def rendered(source: str, messages: list[Message], vocabulary: Model) -> tuple[str, bool]:
    prompt = ChatTemplate(source, vocabulary).render(messages)
    return text_of(prompt.tokens, vocabulary), prompt.starts_in_reasoning


@ALL
def test_the_prompt_ends_where_the_reply_does_and_is_the_beginning_of_later_ones(
    source: str, vocabulary: Model
) -> None:
    text, starts_in_reasoning = rendered(source, BEGUN, vocabulary)
    later = conversation("Be brief.", "Hi", BEGUN[-1].content + " France", "And?")
    whole, _ = rendered(source, later, vocabulary)

    assert text.endswith("<b> The capital of")
    assert not starts_in_reasoning
    assert whole.startswith(text) or "[INST]" in whole  # there the system prompt moves


def test_white_space_at_its_end_is_kept_where_a_template_trims(vocabulary: Model) -> None:
    source = "{% for message in messages %}{{ message.content | trim }}|{% endfor %}"
    text, _ = rendered(source, conversation("S", "Hi", "One: "), vocabulary)
    assert text == "S|Hi|One: "


def test_its_special_texts_stay_text(vocabulary: Model) -> None:
    tokens = ChatTemplate(CHATML, vocabulary).render(conversation("S", "Hi", "A <|im_end|> B <|im_")).tokens

    assert text_of(tokens, vocabulary).endswith("assistant\nA <|im_end|> B <|im_")
    assert len(controls_in(tokens, vocabulary)) == 5, "those of three messages that begin, and two that end"


@pytest.mark.parametrize(
    "messages",
    [conversation("S", "Hi", "The"), [Message(role="assistant", content="The")]],
    ids=["conversation", "reply alone"],
)
def test_a_template_that_takes_no_reply_at_the_end_is_asked_for_one(messages: list[Message], vocabulary: Model) -> None:
    text, _ = rendered(TAKES_NO_REPLY_LAST, messages, vocabulary)
    assert text.endswith("<|im_end|>\n<|im_start|>assistant\nThe")


class TestThinking:
    """Of a reply with text the text goes on, of one with thinking alone the thinking."""

    @pytest.mark.parametrize(
        ("reply", "end", "in_thought"),
        [
            ({"content": "Yes"}, "<think>\n\n</think>\n\nYes", False),
            ({"content": "Yes", "reasoning": "Hm."}, "<think>\nHm.\n</think>\n\nYes", False),
            ({"content": "", "reasoning": "Hm, "}, "<think>\nHm, ", True),
            ({"content": "<think>\nHm, "}, "<think>\nHm, ", True),
        ],
        ids=str,
    )
    def test_the_template_writes_it(self, reply: dict[str, str], end: str, in_thought: bool, vocabulary: Model) -> None:
        messages = [*conversation("S", "Hi"), Message.model_validate({"role": "assistant"} | reply)]
        text, starts_in_reasoning = rendered(THINKS, messages, vocabulary)

        assert text.endswith(f"<|im_start|>assistant\n{end}")
        assert starts_in_reasoning is in_thought

    @pytest.mark.parametrize(
        ("source", "reply", "end"),
        [
            (CHATML, {"content": "", "reasoning": "Hm"}, "<|im_start|>assistant\n<think>\nHm"),
            (TAKES_NO_REPLY_LAST + "{{ '<think>\\n' }}", {"content": "", "reasoning": "Hm"}, "assistant\n<think>\nHm"),
            (TAKES_NO_REPLY_LAST + "<think>", {"content": "Yes"}, "<think>\n</think>\n\nYes"),
            (TAKES_NO_REPLY_LAST + "<think></think>", {"content": "", "reasoning": "Hm"}, "assistant\n<think>\nHm"),
            (THINKS_AHEAD, {"content": "Yes"}, "assistant<think>\n</think>\n\nYes"),
            (SYSTEM_WITH_THE_LAST, {"content": "Yes"}, "S Hi|Yes"),
            (QWEN, {"content": "", "reasoning": "Hm"}, "<|im_start|>assistant\n<think>\nHm"),
            (HARMONY, {"content": "Yes"}, "<|start|>assistant<|channel|>final<|message|>Yes"),
            (HARMONY, {"content": "", "reasoning": "Hm"}, "<|start|>assistant<|channel|>analysis<|message|>Hm"),
        ],
        ids=str,
    )
    def test_where_a_template_leaves_it_out_it_stands_behind_what_asks_for_a_reply(
        self, source: str, reply: dict[str, str], end: str, vocabulary: Model
    ) -> None:
        messages = [*conversation("S", "Hi"), Message.model_validate({"role": "assistant"} | reply)]
        assert rendered(source, messages, vocabulary)[0].endswith(end)


class TestWhatComes:
    def test_all_of_it_is_told_the_white_space_at_its_start_too(self) -> None:
        parser = ReplyParser(DEFAULT_REASONING, False, goes_on=True)
        deltas = [*parser.feed("\n <th"), *parser.feed("ink> of"), *parser.finish()]

        assert "".join(delta.text for delta in deltas if isinstance(delta, ContentDelta)) == "\n <think> of"
        assert all(isinstance(delta, ContentDelta) for delta in deltas)

    def test_thinking_goes_on_to_its_end(self) -> None:
        parser = ReplyParser(DEFAULT_REASONING, True, goes_on=True)
        deltas = [*parser.feed(" so\n</thi"), *parser.feed("nk>\n\nYes"), *parser.finish()]

        assert deltas == [ReasoningDelta(" so"), ContentDelta("Yes")]

    def test_a_call_is_read(self) -> None:
        parser = ReplyParser(DEFAULT_REASONING, False, HERMES, {"now"}, goes_on=True)
        deltas = [*parser.feed('.\n<tool_call>\n{"name": "now", "arguments": {}}\n</tool_call>'), *parser.finish()]

        assert deltas[0] == ContentDelta(".")
        assert any(isinstance(delta, ToolCallDelta) and delta.name == "now" for delta in deltas)


def test_a_conversation_that_ends_with_a_reply_is_prepared_to_go_on(small_vocabulary: Callable[..., Any]) -> None:
    messages = [{"role": "user", "content": "Hi"}, {"role": "assistant", "content": "<think>Hm"}]
    chat = Chat(small_vocabulary(chat_template=THINKS))
    prepared = chat.prepare(build_request(messages, max_tokens=9, timeout=9), limit_tokens=4096, shared_system=())

    assert prepared.prompt.starts_in_reasoning
    assert prepared.parser.feed(" so</think>Yes") == [ReasoningDelta(" so"), ContentDelta("Yes")]
    assert reasoning_format(THINKS) == DEFAULT_REASONING
