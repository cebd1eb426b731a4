"""The quiet line under a reply, word for word."""

from __future__ import annotations

import pytest

from llm_core.events import CacheMiss, Done, FinishReason, Timings, Usage
from llm_core.figures import done_line, waiting_line
from llm_core.texts.told import seconds


@pytest.mark.parametrize(
    ("position", "line"),
    [
        (0, "Reading your message"),
        (1, "Waiting: 1 request ahead of yours"),
        (2, "Waiting: 2 requests ahead of yours"),
        (1200, "Waiting: 1,200 requests ahead of yours"),
    ],
)
def test_a_visitor_who_waits_is_told_how_many_are_ahead(position: int, line: str) -> None:
    assert waiting_line(position) == line


def test_a_reply_is_told_with_rate_first_token_and_cache() -> None:
    done = Done("stop", Usage(1300, 1200, 54), Timings(10, 420, 52.3))

    assert done_line(done) == "52 tokens/s · first token after 0.4 s · 1,200 of 1,300 prompt tokens from the cache"


@pytest.mark.parametrize(
    ("why", "words"),
    [
        ("trimmed", "read 1,204 of 2,310 tokens: older turns were left out"),
        ("evicted", "read 1,204 of 2,310 tokens: other conversations needed the room"),
        ("model_changed", "read 1,204 of 2,310 tokens: the model is another one"),
        ("new", "1,106 of 2,310 prompt tokens from the cache"),
        (None, "1,106 of 2,310 prompt tokens from the cache"),
    ],
)
def test_why_a_prompt_was_read_again_is_told(why: CacheMiss | None, words: str) -> None:
    assert done_line(Done("stop", Usage(2310, 1106, 1, why), Timings())) == words


def test_what_did_not_happen_is_not_mentioned() -> None:
    assert done_line(Done("stop", Usage(13, 0, 1), Timings())) == ""


@pytest.mark.parametrize(
    ("reason", "words"),
    [("length", "stopped at the length limit"), ("timeout", "timed out"), ("cancelled", "stopped")],
)
def test_an_unusual_end_is_told(reason: FinishReason, words: str) -> None:
    assert done_line(Done(reason, Usage(), Timings())) == words


def test_a_reply_that_its_session_has_not_got_says_so() -> None:
    assert done_line(Done("stop", Usage(), Timings(), not_kept="The disk is full.")) == "not kept"


@pytest.mark.parametrize(("dropped", "words"), [(1, "1 earlier message left out"), (4, "4 earlier messages left out")])
def test_messages_that_were_left_out_are_counted(dropped: int, words: str) -> None:
    assert done_line(Done("stop", Usage(), Timings(), dropped_messages=dropped)) == words


@pytest.mark.parametrize(
    ("duration", "words"),
    [
        (0.004, "0.00 s"),
        (0.04, "0.04 s"),
        (0.094, "0.09 s"),
        (0.096, "0.1 s"),
        (9.94, "9.9 s"),
        (9.96, "10 s"),
        (59, "59 s"),
        (100, "2 min"),
        (3000, "50 min"),
        (9000, "2 h"),
    ],
)
def test_a_duration_has_no_more_digits_than_matter(duration: float, words: str) -> None:
    assert seconds(duration) == words
