"""What is asked of the systems: long enough, the same for all, and never the same twice."""

from __future__ import annotations

from collections.abc import Iterator

import pytest

from bench.workload import SYSTEM_PROMPT, conversations, long_text, short_question
from llm_core.engine.llama.model import Model
from llm_core.models.resolve import find
from llm_core.models.source import BundledModel


@pytest.fixture(scope="module")
def vocabulary() -> Iterator[Model]:
    vocabulary = Model.load(find(BundledModel()).path, vocab_only=True)
    yield vocabulary
    vocabulary.close()


def test_the_system_prompt_has_300_words() -> None:
    assert len(SYSTEM_PROMPT.split()) == 300


def test_each_user_has_a_conversation_of_their_own_with_the_turns_asked_for() -> None:
    crowd = conversations(16, 3, series="a")
    assert len({each.questions[0] for each in crowd}) == 16
    assert len({each.user for each in crowd}) == 16
    assert {len(each.questions) for each in crowd} == {3}


def test_a_series_is_the_same_for_every_system_and_another_series_is_another() -> None:
    assert conversations(4, 2, series="1-4") == conversations(4, 2, series="1-4")
    first, second = ({each.questions[0] for each in conversations(16, 1, series=series)} for series in "ab")
    assert not first & second, "else a second round would find its prompts cached"


@pytest.mark.parametrize("tokens", [300, 4000])
def test_a_long_text_has_the_length_asked_for_and_begins_with_its_series(vocabulary: Model, tokens: int) -> None:
    text = long_text(vocabulary, tokens, series="7")
    assert len(vocabulary.tokenize(text, add_special=False, parse_special=False)) == pytest.approx(tokens, rel=0.02)
    assert text.startswith("Notes 7: ")
    assert long_text(vocabulary, tokens, series="7") == text != long_text(vocabulary, tokens, series="8")


def test_short_questions_are_short_and_differ(vocabulary: Model) -> None:
    questions = {short_question(str(number)) for number in range(200)}
    assert len(questions) == 200
    assert max(len(vocabulary.tokenize(each, add_special=False, parse_special=False)) for each in questions) < 48
