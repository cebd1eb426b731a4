"""A growing text of Markdown in parts: nothing is lost, and no part is cut out of what belongs together."""

from __future__ import annotations

from collections.abc import Iterable
from itertools import pairwise

import pytest
from hypothesis import given
from hypothesis import strategies as st

from llm_core.page.blocks import LEAST_CHARS, Blocks

LONG = "word " * (LEAST_CHARS // 5 + 1)


def blocks_of(pieces: Iterable[str]) -> Blocks:
    blocks = Blocks()
    for piece in pieces:
        blocks.append(piece)
    return blocks


@given(st.lists(st.sampled_from(["a", "\n", "\n\n", "```", "$$", "- x", "    y", LONG, "|a|", "<b>", "1. z"])))
def test_nothing_is_lost_and_what_is_finished_stays(pieces: list[str]) -> None:
    blocks = Blocks()
    for piece in pieces:
        finished = [*blocks.finished]
        blocks.append(piece)
        assert blocks.finished[: len(finished)] == finished
    assert blocks.text() == "".join(pieces)
    assert "" not in blocks.parts()


@given(st.data())
def test_the_parts_do_not_depend_on_the_pieces_that_the_text_came_in(data: st.DataObject) -> None:
    text = f"{LONG}\n\n{LONG}\n\n```\n{LONG}\n\nx\n```\n\n{LONG}\n\nend\n"
    cuts = sorted(data.draw(st.lists(st.integers(0, len(text)), max_size=8)))
    edges = [0, *cuts, len(text)]
    pieces = [text[start:end] for start, end in pairwise(edges)]

    assert blocks_of(pieces).parts() == blocks_of([text]).parts()


def test_paragraphs_become_parts_when_there_is_enough_of_them() -> None:
    text = f"{LONG}\n\nshort\n\n{LONG}\n\n{LONG}\n\nend\n"

    assert len(blocks_of([text]).parts()) == 4
    assert len(blocks_of(["one\n\ntwo\n\nthree\n"]).parts()) == 1


@pytest.mark.parametrize(
    "whole",
    [
        f"```python\n{LONG}\n\nx = 1\n\ny = 2\n```\n",
        f"````\n{LONG}\n```\n\ninside\n\ninside\n````\n",
        f"$$\n{LONG}\n\na = b\n$$\n",
        f"\\[\n{LONG}\n\na = b\n\\]\n",
        f"1. {LONG}\n\n2. two\n\n3. three\n",
        f"- {LONG}\n\n- two\n\n  more of two\n",
        f"<details>\n{LONG}\n\ninside\n\n</details>\n",
        f"| a | b |\n|---|---|\n| {LONG} | 2 |\n",
        f"> {LONG}\n\n> more\n",
        f"Read [this][1]. {LONG}\n\nmore\n\n[1]: http://one.example\n",
        f"As is known [1]. {LONG}\n\nmore\n\n[1]: http://one.example\n",
    ],
    ids=[
        "code",
        "code in code",
        "formula",
        "formula in brackets",
        "numbers",
        "items",
        "html",
        "table",
        "quotation",
        "link",
        "number",
    ],
)
def test_what_belongs_together_stays_together(whole: str) -> None:
    assert blocks_of([whole]).parts() == [whole]
