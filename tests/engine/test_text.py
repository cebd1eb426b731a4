"""Bytes in, whole characters out, and never the beginning of a stop string."""

from __future__ import annotations

from itertools import pairwise

from hypothesis import given
from hypothesis import strategies as st

from llm_core.engine.text import TextStream


def cut(data: bytes, places: list[int]) -> list[bytes]:
    edges = [0, *sorted(place % (len(data) + 1) for place in places), len(data)]
    return [data[start:end] for start, end in pairwise(edges)]


@given(text=st.text(max_size=60), places=st.lists(st.integers(0, 300), max_size=20))
def test_text_joins_to_the_whole_however_its_bytes_are_cut(text: str, places: list[int]) -> None:
    stream = TextStream()
    pieces = [stream.feed(part) for part in cut(text.encode(), places)]
    assert "".join(pieces) + stream.finish() == text
    assert all("\ufffd" not in piece for piece in pieces) or "\ufffd" in text


@given(
    text=st.text("abAB🎉", max_size=40),
    stops=st.lists(st.text("abAB🎉", min_size=1, max_size=4), min_size=1, max_size=3),
    places=st.lists(st.integers(0, 200), max_size=30),
)
def test_text_ends_before_the_first_stop_string_however_it_is_cut(
    text: str, stops: list[str], places: list[int]
) -> None:
    stream = TextStream(tuple(stops))
    shown = "".join(stream.feed(part) for part in cut(text.encode(), places)) + stream.finish()
    assert stream.stopped == any(stop in text for stop in stops)
    assert not any(stop in shown for stop in stops)
    assert text.startswith(shown)
    if not stream.stopped:
        assert shown == text
    else:  # which of several overlapping stops is seen first depends on the cut, but nothing before all of them is lost
        assert len(shown) >= min(text.find(stop) for stop in stops if stop in text)


def test_a_character_that_never_gets_whole_is_dropped_at_the_end() -> None:
    stream = TextStream()
    assert stream.feed("né🎉".encode()[:-2]) == "né"
    assert stream.finish() == ""


def test_bytes_that_are_no_character_are_replaced() -> None:
    assert TextStream().feed(b"a\xffb") == "a\ufffdb"


def test_of_two_stop_strings_in_one_piece_the_first_ends_the_text() -> None:
    assert TextStream(("b", "d")).feed(b"a b c d") == "a "
    assert TextStream(("d", "b")).feed(b"a b c d") == "a "
