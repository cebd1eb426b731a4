"""A conversation that is too long is refused with figures, or loses as few of its oldest turns as will do."""

from __future__ import annotations

from collections.abc import Sequence

import pytest
from hypothesis import given
from hypothesis import strategies as st

from llm_core.chat.fit import Fitted, fit
from llm_core.chat.template import Prompt
from llm_core.errors import ContextOverflow
from llm_core.messages import Message
from llm_core.options import Overflow


class Renderer:
    """Makes a prompt with one token a character, and remembers what it was asked for."""

    def __init__(self) -> None:
        self.rendered: list[tuple[Message, ...]] = []

    def __call__(self, messages: Sequence[Message]) -> Prompt:
        self.rendered.append(tuple(messages))
        text = "".join(message.content for message in messages)
        return Prompt(tuple(map(ord, text)), shared_tokens=0, starts_in_reasoning=False)


def messages(script: str) -> list[Message]:
    """`s:abc u:de a:f` as messages."""
    roles = {"s": "system", "u": "user", "a": "assistant", "t": "tool"}
    parts = [part.split(":") for part in script.split()]
    return [
        Message(role=roles[role], content=content, tool_call_id="call" if role == "t" else None)  # type: ignore[arg-type]
        for role, content in parts
    ]


def fitted(script: str, limit: int, *, overflow: Overflow = "drop_oldest", reply: int = 0) -> Fitted:
    return fit(messages(script), Renderer(), limit_tokens=limit, overflow=overflow, reply_tokens=reply)


def outcome(script: str, limit: int, *, reply: int = 0) -> tuple[str, int]:
    found = fitted(script, limit, reply=reply)
    return "".join(map(chr, found.prompt.tokens)), found.dropped


LONG = "s:S u:1111 a:aaaa u:2222 a:bbbb u:3333"


@pytest.mark.parametrize("overflow", ["error", "drop_oldest"])
def test_what_fits_stays_whole(overflow: Overflow) -> None:
    assert fitted(LONG, 21, overflow=overflow).dropped == 0


def test_what_does_not_fit_is_refused_with_both_figures_and_a_way_out() -> None:
    with pytest.raises(ContextOverflow, match=r"it has 21 tokens, .* is 20 tokens .*\. Shorten it") as refused:
        fitted(LONG, 20, overflow="error")

    assert refused.value.param == "messages"


@pytest.mark.parametrize(
    ("limit", "kept", "dropped"),
    [(20, "S2222bbbb3333", 2), (13, "S2222bbbb3333", 2), (12, "S3333", 4), (5, "S3333", 4)],
)
def test_as_few_of_the_oldest_turns_are_left_out_as_will_do(limit: int, kept: str, dropped: int) -> None:
    assert outcome(LONG, limit) == (kept, dropped)


@pytest.mark.parametrize(
    ("agent", "words"),
    [
        ("langchain-openai 1.7", "context_length_exceeded"),
        ("litellm 1.110", "this model's maximum context length is"),
        ("litellm 1.110", "exceeds the available context size"),
        ("pi-ai 0.73", "maximum context length is 20 tokens"),
    ],
)
@pytest.mark.parametrize("overflow", ["error", "drop_oldest"])
def test_agents_know_it_by_its_words(agent: str, words: str, overflow: Overflow) -> None:
    with pytest.raises(ContextOverflow) as refused:
        fitted(f"u:{'a' * 30}", 20, overflow=overflow)
    assert words in refused.value.message, agent


def test_a_last_turn_that_does_not_fit_alone_is_refused() -> None:
    with pytest.raises(
        ContextOverflow, match=r"last turn with the system prompt exceeds .* has 5 tokens, .* is 4 tokens"
    ):
        fitted(LONG, 4)


@pytest.mark.parametrize(
    ("script", "limit", "kept"),
    [
        ("s:S s:T u:1111 a:aaaa u:2", 3, "ST2"),
        ("u:1111 a:aaaa t:tttt a:aaaa u:2 t:3", 8, "23"),
        ("a:hello u:1", 1, "1"),
        ("u:1 u:2 u:3", 2, "23"),
    ],
    ids=["several system messages", "an exchange with a tool", "a greeting", "questions only"],
)
def test_system_messages_stay_and_a_turn_goes_as_a_whole(script: str, limit: int, kept: str) -> None:
    assert outcome(script, limit)[0] == kept


def test_a_single_turn_has_nothing_to_leave_out() -> None:
    with pytest.raises(ContextOverflow):
        fitted("s:S u:11111", 5)


def test_room_for_the_reply_is_made_by_leaving_out_turns() -> None:
    assert outcome(LONG, 21, reply=5) == ("S2222bbbb3333", 2)


def test_the_last_turn_may_use_the_replys_room() -> None:
    assert outcome(LONG, 5, reply=3) == ("S3333", 4)


def test_a_long_history_is_rendered_a_few_times_only() -> None:
    render = Renderer()
    fit(messages("s:S " + "u:1 a:2 " * 500 + "u:3"), render, limit_tokens=300, overflow="drop_oldest")

    assert len(render.rendered) <= 12


@given(
    lengths=st.lists(st.tuples(st.integers(1, 9), st.integers(1, 9)), min_size=1, max_size=12),
    limit=st.integers(1, 120),
)
def test_it_finds_what_trying_every_turn_in_order_finds(lengths: list[tuple[int, int]], limit: int) -> None:
    turns = [f"u:{'u' * asked} a:{'a' * answered} " for asked, answered in lengths]
    ends = ["s:S " + "".join(turns[start:]) for start in range(len(turns))]
    fitting = [end for end in ends if len(Renderer()(messages(end)).tokens) <= limit]
    if not fitting:
        with pytest.raises(ContextOverflow):
            fitted(ends[0], limit)
        return

    assert outcome(ends[0], limit)[0] == "".join(message.content for message in messages(fitting[0]))
