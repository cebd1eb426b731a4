"""Who is next, and who gets how much of a step."""

from __future__ import annotations

from llm_core.engine.kv.slot import Slot
from llm_core.engine.scheduler import Scheduler, share_budget
from llm_core.engine.sequence import GenerationRequest, Sequence
from llm_core.request import SamplingParams


def sequence(owner: str = "", prompt: int = 10) -> Sequence:
    request = GenerationRequest((1,) * prompt, SamplingParams(), max_tokens=1, timeout=1, owner=owner)
    return Sequence(request, lambda _event: None, 4096)


def test_one_owner_is_served_first_come_first_served() -> None:
    scheduler = Scheduler()
    sequences = [sequence() for _ in range(5)]
    for each in sequences:
        scheduler.add(each)
    assert list(scheduler.order()) == sequences


def test_the_owner_with_the_fewest_slots_is_next_and_arrival_breaks_ties() -> None:
    scheduler = Scheduler()
    a1, a2, a3, b1, c1, b2 = (sequence(owner) for owner in "aaabcb")
    for each in (a1, a2, a3, b1, c1, b2):
        scheduler.add(each)
    assert list(scheduler.order()) == [a1, b1, c1, a2, b2, a3]
    scheduler.start(a1)
    assert list(scheduler.order()) == [b1, c1, a2, b2, a3]


def test_a_lone_prompt_gets_the_whole_budget_and_no_more_than_it_needs() -> None:
    long, short = sequence(prompt=100), sequence(prompt=5)
    assert share_budget([long], 30) == {long: 30}
    assert share_budget([short], 30) == {short: 5}
    assert share_budget([], 30) == {}


def test_the_oldest_prompt_gets_half_and_the_shortest_of_the_others_goes_first() -> None:
    book, question, letter = sequence(prompt=3000), sequence(prompt=10), sequence(prompt=50)
    assert share_budget([book, letter, question], 32) == {book: 16, question: 10, letter: 6}


def test_every_step_makes_progress_with_the_oldest_prompt() -> None:
    book, question = sequence(prompt=3000), sequence(prompt=10)
    assert share_budget([book, question], 1) == {book: 1}


def test_short_prompts_are_read_at_once_in_the_order_of_their_arrival() -> None:
    first, second, third = (sequence(prompt=40) for _ in range(3))
    assert share_budget([first, second, third], 16, burst=100) == {first: 40, second: 40, third: 20}


def test_a_book_gets_what_a_step_has_for_it_and_no_burst() -> None:
    book, letter = sequence(prompt=3000), sequence(prompt=90)
    assert share_budget([book], 16, burst=100) == {book: 16}
    assert share_budget([book, letter], 16, burst=100) == {letter: 90, book: 8}


def test_the_end_of_a_book_is_no_short_prompt() -> None:
    book = sequence(prompt=3000)
    book.slot = Slot(0, 4096)
    book.slot.length = 2950
    assert share_budget([book], 16, burst=100) == {book: 16}


def test_what_is_computed_already_does_not_make_a_prompt_long() -> None:
    turn = sequence(prompt=3000)
    turn.slot = Slot(0, 4096)
    turn.slot.length = turn.cached_tokens = 2950
    assert share_budget([turn], 16, burst=100) == {turn: 50}


def test_no_more_is_given_than_a_batch_holds() -> None:
    prompts = [sequence(prompt=size) for size in (400, 300, 2000, 3000)]
    for budget in (1, 100, 512, 10_000):
        for burst in (0, 350, 512, 10_000):
            shares = share_budget(prompts, budget, burst=burst, capacity=512)
            assert 0 < sum(shares.values()) <= 512
