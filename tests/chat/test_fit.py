"""A conversation that is too long is refused with figures, or loses its oldest turns, in strides."""

from __future__ import annotations

import re
from collections.abc import Sequence
from itertools import chain, pairwise

import pytest
from hypothesis import given
from hypothesis import strategies as st

from llm_core.chat.fit import Fitted, first_kept, fit
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


def measure(message: Message) -> int:
    return len(message.content)


def fitted(script: str, limit: int, *, overflow: Overflow = "drop_oldest", reply: int = 0) -> Fitted:
    return fit(messages(script), Renderer(), measure, limit_tokens=limit, overflow=overflow, reply_tokens=reply)


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
    ("limit", "kept", "dropped"), [(13, "S4d5e6f7", 6), (10, "S5e6f7", 8), (5, "S7", 12), (2, "S7", 12)]
)
def test_whenever_turns_have_more_than_their_room_half_of_it_is_kept(limit: int, kept: str, dropped: int) -> None:
    assert outcome("s:S u:1 a:a u:2 a:b u:3 a:c u:4 a:d u:5 a:e u:6 a:f u:7", limit) == (kept, dropped)


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
        ("u:1 u:2 u:3 u:4 u:5 u:6", 5, "456"),
    ],
    ids=["several system messages", "an exchange with a tool", "a greeting", "questions only"],
)
def test_system_messages_stay_and_a_turn_goes_as_a_whole(script: str, limit: int, kept: str) -> None:
    assert outcome(script, limit)[0] == kept


def test_a_single_turn_has_nothing_to_leave_out() -> None:
    with pytest.raises(ContextOverflow):
        fitted("s:S u:11111", 5)


@pytest.mark.parametrize(
    ("script", "kept", "dropped"), [(LONG, "S3333", 4), ("s:SSSSS", "SSSSS", 0), ("u:55555", "55555", 0)]
)
def test_the_last_turn_may_use_the_replys_room(script: str, kept: str, dropped: int) -> None:
    assert outcome(script, 5, reply=3) == (kept, dropped)


def test_a_long_history_is_rendered_a_few_times_only() -> None:
    render = Renderer()
    fit(messages("s:S " + "u:1 a:2 " * 500 + "u:3"), render, measure, limit_tokens=300, overflow="drop_oldest")

    assert len(render.rendered) <= 4


def prompts(script: str, **options: int) -> list[Fitted]:
    """The prompts of a conversation that is asked for at every user's message."""
    whole = messages(script)
    ends = [at + 1 for at, message in enumerate(whole) if message.role == "user"]
    limit = options.pop("limit")
    return [
        fit(whole[:end], Renderer(), measure, limit_tokens=limit, overflow="drop_oldest", **options) for end in ends
    ]


def cuts(script: str, **options: int) -> list[int]:
    """How many messages each of them lacks."""
    return [prompt.dropped for prompt in prompts(script, **options)]


def test_the_cut_stays_for_many_turns() -> None:
    dropped = cuts("s:S " + "u:1111 a:22222 " * 60, limit=200)

    assert dropped[-1] > 80
    assert len(set(dropped)) == 1 + dropped[-1] // 14  # a stride is 73 tokens, or 8 turns at first and 7 from then on


@pytest.mark.parametrize("error", [0.75, 1.33])
def test_the_cut_stays_for_many_turns_where_the_measure_is_wrong(error: float) -> None:
    whole = messages("s:S " + "u:1111 a:22222 " * 60)
    fitted = [
        fit(
            whole[:end],
            Renderer(),
            lambda message: round(len(message.content) * error),
            limit_tokens=200,
            overflow="drop_oldest",
            reply_tokens=49,
        )
        for end in range(2, len(whole), 2)
    ]

    moved = [after for before, after in pairwise(fitted) if after.dropped != before.dropped]
    assert len(moved) < 20
    assert all(prompt.has_moved for prompt in moved)


@pytest.mark.parametrize("reply_tokens", [0, 20, 49])
def test_it_says_whether_more_was_left_out_than_before(reply_tokens: int) -> None:
    fitted = prompts("s:S " + "u:1111 a:22222 " * 60, limit=200, reply_tokens=reply_tokens)

    moved = [after.dropped > before.dropped for before, after in pairwise(fitted)]
    assert [prompt.has_moved for prompt in fitted[1:]] == moved
    assert 3 < sum(moved) < 10


def test_neither_the_replys_length_nor_a_few_words_of_the_system_prompt_move_the_cut() -> None:
    script = "u:1111 a:22222 " * 60
    past = slice(25, None)  # what still fits is whole, however long the reply may be

    expected = cuts(f"s:SSSS {script}", limit=200)[past]
    assert cuts(f"s:SSSSSSSS {script}", limit=200)[past] == expected
    assert cuts(f"s:SSSS {script}", limit=200, reply_tokens=49)[past] == expected


@given(sizes=st.lists(st.tuples(st.integers(1, 30), st.lists(st.integers(0, 30), max_size=3)), max_size=40))
def test_it_cuts_where_somebody_would_have_who_remembers_the_last_cut(sizes: list[tuple[int, list[int]]]) -> None:
    room, cut, kept = 60, 0, [0]
    turns: list[list[Message]] = []
    for asked, steps in sizes:
        turns.append(messages("u:" + "u" * asked))
        for step in [*steps, None]:  # the model speaks after the question, and after each result of a tool
            kept = [sum(map(measure, chain.from_iterable(turns[first:]))) for first in range(len(turns))]
            if kept[cut] > room:
                cut = next((first for first in range(cut, len(turns)) if kept[first] <= room // 2), len(turns) - 1)
            of_turns = [[measure(message) for message in turn] for turn in turns]
            assert first_kept(turns, of_turns, room)[0] == cut
            if step is not None:
                turns[-1] += [*messages("a:" + "a" * step), *messages("t:" + "t" * step)]
        turns[-1] += messages("a:" + "a" * asked)


@given(
    lengths=st.lists(st.tuples(st.integers(1, 9), st.integers(1, 9)), min_size=1, max_size=12),
    limit=st.integers(1, 120),
    error=st.floats(0.0, 3.0),
)
def test_however_wrong_the_measure_is_the_prompt_fits(lengths: list[tuple[int, int]], limit: int, error: float) -> None:
    script = "s:S " + " ".join(f"u:{'u' * asked} a:{'a' * answered}" for asked, answered in lengths) + " u:u"
    reply = limit // 4

    def measure_badly(message: Message) -> int:
        return round(len(message.content) * error)

    def prompt() -> str:
        found = fit(
            messages(script),
            Renderer(),
            measure_badly,
            limit_tokens=limit,
            overflow="drop_oldest",
            reply_tokens=reply,
        )
        return "".join(map(chr, found.prompt.tokens))

    if limit < 2:
        with pytest.raises(ContextOverflow):
            prompt()
        return
    assert prompt() == "Su" or len(prompt()) <= limit - reply
    assert re.fullmatch("S.*u", prompt())
