"""How many of a reply's tokens are thinking: exactly those up to the one that ends it."""

from __future__ import annotations

from types import SimpleNamespace
from typing import Any

import pytest

from llm_core.chat.formats import DEFAULT_REASONING, REASONING_FORMATS
from llm_core.chat.parser import ReplyParser
from llm_core.chat.reply import ReplyTranslator
from llm_core.engine.sequence import Piece
from llm_core.events import Done, FinishReason, Timings, Usage

HARMONY = REASONING_FORMATS[0]


def counted(*tokens: str, reason: FinishReason = "stop", markers: Any = DEFAULT_REASONING, **options: Any) -> int:
    """The tokens of thinking of a reply whose tokens are these, and one that ends it."""
    parser = ReplyParser(markers, options.pop("starts_in_reasoning", False), **options)
    translator = ReplyTranslator(SimpleNamespace(parser=parser, dropped=0, has_moved=False))  # type: ignore[arg-type]
    for number, token in enumerate(tokens, 1):
        if token:
            translator.translate(Piece(token, generated=number))
    *_, done = translator.translate(Done(reason, Usage(completion_tokens=len(tokens) + 1), Timings()))
    assert isinstance(done, Done)
    return done.usage.reasoning_tokens


@pytest.mark.parametrize("markers", REASONING_FORMATS, ids=lambda row: row.opener)
def test_those_up_to_the_mark_that_ends_it_however_that_is_cut_into_tokens(markers: Any) -> None:
    assert counted(markers.opener, "\n", "Hm", ".", "\n", markers.closer, "\n\n", "Par", "is", markers=markers) == 6
    assert (
        counted(*markers.opener, "Hm", *markers.closer, "Hi", markers=markers)
        == len(markers.opener + markers.closer) + 1
    )
    assert counted("Hm", markers.closer, "Hi", markers=markers, starts_in_reasoning=True) == 2


def test_one_piece_that_has_all_of_it() -> None:
    assert counted("", "", f"{DEFAULT_REASONING.opener}Hm{DEFAULT_REASONING.closer}Hi", " there") == 3


def test_none_where_the_model_does_not_think() -> None:
    assert counted("Hi", " <think>", " there", "</think>") == 0
    assert counted(HARMONY.answer_opener, "Hi", markers=HARMONY) == 0
    assert counted(" ", "\n") == 0


def test_all_where_it_never_ends() -> None:
    assert counted("<think>", "Hm", " and", reason="length") == 4
    assert counted("Hm", " and", goes_on=True, starts_in_reasoning=True, reason="length") == 3
    assert counted(starts_in_reasoning=True) == 1
