"""What a reply's last tokens were followed by earlier is tried again, and the text is the same as without."""

from __future__ import annotations

from collections.abc import Iterator
from dataclasses import replace

import numpy as np
import pytest

from llm_core.engine.draft import MOST_TOKENS, Drafter, learn, lookup
from llm_core.engine.engine import Engine
from llm_core.engine.llama.arrays import Tokens
from llm_core.engine.llama.model import Model
from llm_core.engine.sequence import GenerationRequest, Sequence
from llm_core.request import SamplingParams

from .conftest import OPTIONS, Call, ask, prompt_of

REPEATED = "The harbour lies at the mouth of the river. In the morning the boats go out for herring. " * 4


def tokens(*numbers: int) -> Tokens:
    return np.array(numbers, np.int32)


@pytest.mark.parametrize(
    ("known", "found"),
    [
        ((1, 2, 3, 4, 5, 6, 1, 2, 3), (4, 5, 6)),
        ((1, 2, 3, 1, 2, 3), (1, 2, 3)),
        ((9, 1, 2, 3, 4, 8, 1, 2, 3, 5, 7, 9, 1, 2, 3), (4, 8, 1)),  # more of it was the same before the first
        ((7, 1, 2, 3, 4, 7, 1, 2, 3, 5, 0, 7, 1, 2, 3), (5, 0, 7)),  # equal: the last
        ((1, 2, 3, 4, 5, 6), ()),
        ((5, 2, 3, 4, 1, 2, 3), ()),  # two tokens are ordinary words
        ((1, 1, 1, 1), (1,)),
        ((1, 2), ()),
        ((1,), ()),
    ],
)
def test_what_followed_the_same_tokens_is_found(known: tuple[int, ...], found: tuple[int, ...]) -> None:
    assert tuple(lookup(tokens(*known), 3)[0]) == found


def test_how_much_was_the_same_is_told() -> None:
    assert lookup(tokens(9, 1, 2, 3, 4, 8, 5, 1, 2, 3), 3)[1] == 3
    assert lookup(tokens(*range(50), *range(45)), 3)[1] == 32
    assert lookup(tokens(1, 2, 3), 3)[1] == 0


def running(prompt: tuple[int, ...], *, rate: float = 0.6, max_tokens: int = 100) -> Sequence:
    request = GenerationRequest(prompt, SamplingParams(), max_tokens=max_tokens, timeout=1)
    sequence = Sequence(request, lambda _event: None, 256)
    sequence.draft_rate = rate
    sequence.generated = 1
    sequence.slot = type("Slot", (), {"length": len(prompt) - 1})()  # type: ignore[assignment]
    return sequence


def drafter(*, most: float) -> Drafter:
    """Of a machine on which a call for one token takes 1, and one for `MOST_TOKENS` more takes `most`."""
    drafter = Drafter()
    drafter.begin(lambda tokens: 1.0 + (most - 1.0) * (tokens - 1) / MOST_TOKENS)
    return drafter


ONCE = (50, *range(1, 12), 60, 1, 2, 3)
SAID = tuple(range(1, 12)) * 2 + (1, 2, 3)


def tried(drafter: Drafter, *sequences: Sequence) -> list[int]:
    drafts = drafter.drafts(sequences)
    return [len(drafts.get(sequence, ())) for sequence in sequences]


def test_so_many_tokens_are_tried_as_pay() -> None:
    assert tried(drafter(most=1.2), running(SAID, rate=1.0)) == [11]
    assert tried(drafter(most=1.0 + MOST_TOKENS), running(SAID, rate=0.9)) == [0], "each costs as much as alone"
    assert tried(drafter(most=5.0), running(ONCE, rate=0.1)) == [0], "they do not hold"
    assert tried(drafter(most=5.0), running(SAID, rate=0.1)) != [0], "much was the same before"
    some = tried(drafter(most=5.0), running(ONCE, rate=0.6))[0]
    assert 1 <= some < 9


def test_nothing_is_tried_that_cannot_be_kept_or_while_many_stream() -> None:
    cheap = drafter(most=1.2)
    assert tried(cheap, running(SAID, rate=1.0, max_tokens=4)) == [2], "one is sampled after those that hold"
    assert tried(cheap, *(running(SAID, rate=1.0) for _ in range(5))) == [0] * 5
    assert tried(cheap, running(tuple(range(30)), rate=1.0)) == [0]
    assert tried(Drafter(), running(SAID, rate=1.0)) == [0], "it is not known yet what calls cost"


def test_a_sequence_that_was_wrong_is_tried_less_and_again_some_time() -> None:
    sequence, costs = running(ONCE), drafter(most=5.0)
    for _ in range(6):
        learn(sequence, 4, 0)
    assert (sequence.draft_tokens, sequence.accepted_tokens) == (24, 0)
    assert tried(costs, sequence) == [0]
    for _ in range(300):
        costs.drafts([sequence])
    assert tried(costs, sequence) != [0]
    for _ in range(20):
        learn(sequence, 4, 4)
    assert sequence.draft_rate > 0.99
    assert sequence.accepted_tokens == 80


@pytest.fixture
def eager(model: Model, monkeypatch: pytest.MonkeyPatch) -> Iterator[Engine]:
    """Tries whatever it finds: what pays depends on the machine."""
    monkeypatch.setattr(Drafter, "_paying", lambda _self, most, _rate, _streams: most)
    engine = Engine(model, replace(OPTIONS, drafts="auto"))
    yield engine
    engine.close()


def rewritten(engine: Engine, **fields: object) -> Call:
    prompt = prompt_of(engine.model, f"Repeat this text word for word: {REPEATED}")
    return ask(engine, prompt, max_tokens=60, **fields).finish()


def in_slots(engine: Engine) -> None:
    engine.check_integrity()
    assert all(slot.length == engine._context.length(slot.index) for slot in engine._slots)


def test_the_text_is_the_same_and_takes_fewer_steps(engine: Engine, eager: Engine) -> None:
    plain, before = rewritten(engine), eager.stats().steps
    tried = rewritten(eager)

    assert tried.text == plain.text
    assert tried.done.usage.completion_tokens == plain.done.usage.completion_tokens
    assert tried.done.finish_reason == plain.done.finish_reason
    assert 20 < tried.done.usage.accepted_tokens <= tried.done.usage.draft_tokens
    assert plain.done.usage.draft_tokens == 0
    assert eager.stats().steps - before < plain.done.usage.completion_tokens
    in_slots(eager)


def test_a_seed_draws_the_same_tokens(engine: Engine, eager: Engine) -> None:
    sampling = SamplingParams(temperature=0.5, seed=11)
    assert rewritten(eager, sampling=sampling).text == rewritten(engine, sampling=sampling).text


def test_a_stop_text_in_the_middle_of_what_holds_ends_the_reply(engine: Engine, eager: Engine) -> None:
    assert "morning" in rewritten(engine).text
    call = rewritten(eager, stop=("morning",))

    assert call.done.finish_reason == "stop"
    assert "morning" not in call.text
    in_slots(eager)


def test_the_next_turn_goes_on_from_what_held_and_nothing_else(engine: Engine, eager: Engine) -> None:
    texts = []
    for each in (engine, eager):
        first = rewritten(each)
        assert first.sequence is not None
        prompt = tuple(first.sequence.known.tolist())
        second = ask(each, prompt, max_tokens=12).finish()
        texts.append((first.text, second.text))
        assert second.done.usage.cached_tokens >= len(prompt) - 2
    assert texts[0] == texts[1]


def test_four_streams_that_repeat_do_not_mix(engine: Engine, eager: Engine) -> None:
    subjects = ("boats", "birds", "trains", "clouds")
    prompts = [prompt_of(engine.model, f"Repeat: {REPEATED.replace('boats', each)}") for each in subjects]
    plain = [ask(engine, prompt, max_tokens=40).finish().text for prompt in prompts]
    together = [ask(eager, prompt, max_tokens=40) for prompt in prompts]

    assert [call.finish().text for call in together] == plain
    in_slots(eager)
