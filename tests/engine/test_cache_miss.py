"""Why a prompt is computed again is told, and nothing about other owners by that."""

from __future__ import annotations

from collections.abc import Iterator
from dataclasses import replace

import pytest

from llm_core.engine.engine import Engine
from llm_core.engine.llama.model import Model

from .conftest import OPTIONS, ask, prompt_of, said, user_turn

TALK = "Tell me about the clocks of the museum, one after the other. " * 4


@pytest.fixture
def crowded(model: Model) -> Iterator[Engine]:
    """One slot, and host memory that holds nothing: each conversation has to make room for the next."""
    engine = Engine(model, replace(OPTIONS, slots=1, context_tokens=1024, host_bytes=0))
    yield engine
    engine.close()


def why(engine: Engine, prompt: tuple[int, ...], *, owner: str = "ann", new_tokens: int = 0) -> str | None:
    return ask(engine, prompt, owner=owner, new_tokens=new_tokens, max_tokens=1).finish().done.usage.cache_miss


def test_what_was_never_seen_is_new(crowded: Engine) -> None:
    assert why(crowded, prompt_of(crowded.model, TALK)) == "new"


def test_nothing_is_told_where_only_what_is_said_now_is_computed(crowded: Engine) -> None:
    first = ask(crowded, prompt_of(crowded.model, TALK), owner="ann", max_tokens=4).finish()
    now = user_turn(crowded.model, "Which one is the oldest of them? " * 10)

    assert why(crowded, now, owner="ben", new_tokens=len(now)) is None
    assert why(crowded, said(first) + now, new_tokens=len(now)) == "evicted"
    assert why(crowded, said(first) + now, new_tokens=len(now)) is None


def test_what_had_to_make_room_is_evicted_for_its_owner_and_new_for_anyone_else(crowded: Engine) -> None:
    mine = prompt_of(crowded.model, TALK)
    assert why(crowded, mine) == "new"
    assert why(crowded, prompt_of(crowded.model, "Of the weather, if you please. " * 8), owner="ben") == "new"

    assert why(crowded, mine, owner="cleo") == "new"
    assert why(crowded, mine) == "evicted"


def test_what_another_owner_has_in_the_cache_right_now_is_new(engine: Engine) -> None:
    prompt = prompt_of(engine.model, TALK)
    ask(engine, prompt, owner="ann").finish()

    assert why(engine, prompt, owner="ben") == "new"


def test_old_entries_leave_host_memory_and_their_owners_are_told(model: Model) -> None:
    engine = Engine(model, replace(OPTIONS, slots=1, context_tokens=1024, host_bytes=6 << 20))
    try:
        prompts = [prompt_of(model, f"{number}. {TALK}" * 2) for number in range(5)]
        for number, prompt in enumerate(prompts):
            assert why(engine, prompt, owner=str(number)) == "new"

        assert why(engine, prompts[0], owner="0") == "evicted"
        assert why(engine, prompts[4], owner="4") is None
    finally:
        engine.close()


def test_a_cache_that_was_cleared_remembers_nothing(crowded: Engine) -> None:
    mine = prompt_of(crowded.model, TALK)
    why(crowded, mine)
    why(crowded, prompt_of(crowded.model, "Of the weather, if you please. " * 8), owner="ben")
    crowded.clear_cache()

    assert why(crowded, mine) == "new"
