"""What is computed once is not computed again, and never told to another owner."""

from __future__ import annotations

from collections.abc import Iterator
from dataclasses import replace

import pytest

from llm_core.engine.engine import Engine
from llm_core.engine.llama.model import Model

from ..conftest import OPTIONS, ask, prompt_of, said, user_turn

SYSTEM = "You are the guide of a small museum of clocks. " + "Every answer is short, kind and true. " * 12


def shared_size(model: Model) -> int:
    head = f"<|im_start|>system\n{SYSTEM}<|im_end|>\n"
    return len(model.tokenize(head, add_special=False, parse_special=True))


@pytest.fixture
def two_slots(model: Model) -> Iterator[Engine]:
    engine = Engine(model, replace(OPTIONS, slots=2, context_tokens=1024))
    yield engine
    engine.close()


def test_a_second_turn_prefills_only_what_is_new(engine: Engine) -> None:
    first = ask(engine, prompt_of(engine.model, "Hello", system=SYSTEM), max_tokens=12).finish()
    before = engine.stats().prefilled_tokens
    new = user_turn(engine.model, "And then?")
    second = ask(engine, said(first) + new).finish()
    assert second.done.usage.cached_tokens >= len(said(first)) - 1, "only the last token was never computed"
    assert engine.stats().prefilled_tokens - before <= len(new) + 1


def test_users_who_arrive_together_prefill_their_system_prompt_once(engine: Engine) -> None:
    shared = shared_size(engine.model)
    prompts = [prompt_of(engine.model, f"Question number {n}: what time is it?", system=SYSTEM) for n in range(8)]
    before = engine.stats().prefilled_tokens
    calls = [
        ask(engine, prompt, owner=f"user {n}", shared_tokens=shared, max_tokens=4) for n, prompt in enumerate(prompts)
    ]
    cached = sorted(call.finish().done.usage.cached_tokens for call in calls)
    assert cached == [0] + [shared] * 7
    assert engine.stats().prefilled_tokens - before == shared + sum(len(prompt) - shared for prompt in prompts)


def test_beyond_the_operators_prompt_nothing_is_shared_between_owners(engine: Engine) -> None:
    shared = shared_size(engine.model)
    secret = prompt_of(engine.model, "My secret is the number 4711. " * 5, system=SYSTEM)
    ask(engine, secret, owner="alice", shared_tokens=shared).finish()
    spy = ask(engine, secret, owner="bob", shared_tokens=shared).finish()
    assert spy.done.usage.cached_tokens == shared
    again = ask(engine, secret, owner="alice", shared_tokens=shared).finish()
    assert again.done.usage.cached_tokens == len(secret) - 1


def test_without_a_shared_prompt_owners_share_nothing(engine: Engine) -> None:
    prompt = prompt_of(engine.model, "Hello", system=SYSTEM)
    ask(engine, prompt, owner="alice").finish()
    assert ask(engine, prompt, owner="bob").finish().done.usage.cached_tokens == 0


@pytest.mark.parametrize(("alices", "bobs"), [(0, None), (None, 0), (5, None), (None, 5)])
def test_owners_share_no_more_than_either_had_from_the_operator(
    engine: Engine, alices: int | None, bobs: int | None
) -> None:
    """Who wrote the operator's words themselves has not said that others may see how far theirs go."""
    shared = shared_size(engine.model)
    prompt = prompt_of(engine.model, "Hello", system=SYSTEM)
    ask(engine, prompt, owner="alice", shared_tokens=shared if alices is None else alices).finish()
    theirs = ask(engine, prompt, owner="bob", shared_tokens=shared if bobs is None else bobs).finish()
    assert theirs.done.usage.cached_tokens == (bobs if alices is None else alices)


def test_idle_conversations_move_to_host_memory_and_come_back(two_slots: Engine) -> None:
    engine = two_slots
    firsts = [
        ask(engine, prompt_of(engine.model, f"Tell me about city number {n}. " * 8), owner=str(n)).finish()
        for n in range(5)
    ]
    assert engine.stats().host_entries >= 3
    for number, first in enumerate(firsts):
        new = user_turn(engine.model, "And then?")
        second = ask(engine, said(first) + new, owner=str(number), max_tokens=8).finish()
        assert second.done.usage.cached_tokens >= len(said(first)) - 1


def test_a_restored_prefix_gives_the_same_text_as_one_that_stayed(two_slots: Engine) -> None:
    engine = two_slots
    prompt = prompt_of(engine.model, "Tell me a story about a lighthouse and a storm. " * 5)
    ask(engine, prompt, owner="a", max_tokens=1).finish()
    stayed = ask(engine, prompt, owner="a").finish()
    for other in ("b", "c"):
        ask(engine, prompt_of(engine.model, f"{other} speaks of something else. " * 8), owner=other).finish()
    restored = ask(engine, prompt, owner="a").finish()
    assert restored.done.usage.cached_tokens == stayed.done.usage.cached_tokens == len(prompt) - 1
    assert restored.text == stayed.text


def test_host_memory_is_bounded_and_the_oldest_leave_first(model: Model) -> None:
    limit = 6 << 20  # about 270 tokens of this model
    engine = Engine(model, replace(OPTIONS, slots=1, context_tokens=512, host_bytes=limit))
    try:
        prompts = [prompt_of(model, f"This is story number {n}. " * 10) for n in range(5)]
        for number, prompt in enumerate(prompts):
            ask(engine, prompt, owner=str(number), max_tokens=1).finish()
            assert engine.stats().host_bytes <= limit
        assert ask(engine, prompts[0], owner="0", max_tokens=1).finish().done.usage.cached_tokens == 0
        assert ask(engine, prompts[4], owner="4", max_tokens=1).finish().done.usage.cached_tokens > 0
    finally:
        engine.close()


def test_taking_over_a_slot_does_not_throw_away_the_conversation_in_it(two_slots: Engine) -> None:
    """A new chat with the same system prompt copies the prefix, so that the older chat can go on too."""
    engine = two_slots
    older = ask(engine, prompt_of(engine.model, "Tell me of the old clock. " * 10, system=SYSTEM)).finish()
    newer = ask(engine, prompt_of(engine.model, "Who made you?", system=SYSTEM)).finish()
    assert newer.done.usage.cached_tokens >= shared_size(engine.model)
    back = ask(engine, said(older) + user_turn(engine.model, "And then?")).finish()
    assert back.done.usage.cached_tokens >= len(said(older)) - 1
