"""How timings become figures."""

from __future__ import annotations

import asyncio
import math
from collections.abc import AsyncGenerator

import pytest

from bench.measure import NoReply, Reply, first_token, median, percentile, timed, to_llama_server
from bench.scenarios.background import RunningStream
from bench.systems import Piece
from llm_core.events import Usage


async def reply_of(*pieces: Piece) -> AsyncGenerator[Piece]:
    for piece in pieces:
        await asyncio.sleep(0)
        yield piece


def test_a_percentile_is_a_value_that_was_measured() -> None:
    values = [5.0, 1.0, 4.0, 2.0, 3.0]
    assert percentile(values, 50) == 3.0
    assert percentile(values, 95) == 5.0
    assert percentile(range(1, 101), 95) == 95
    assert percentile([7.0], 5) == 7.0


def test_the_median_of_an_even_number_lies_between_the_middle_two() -> None:
    assert median([4.0, 1.0, 2.0, 3.0]) == 2.5
    assert median([3.0, 1.0, 2.0]) == 2.0


def test_nothing_measured_is_not_a_number() -> None:
    assert math.isnan(percentile([], 95))
    assert math.isnan(median([]))


async def test_a_reply_is_timed_piece_by_piece_and_its_usage_is_kept() -> None:
    reply = await timed(reply_of("Hel", "lo", Usage(10, 4, 3)))
    assert reply.text == "Hello"
    assert len(reply.arrivals) == 2
    assert 0 < reply.first_token <= reply.arrivals[1] - reply.asked_at
    assert len(reply.gaps) == 1
    assert reply.tokens == 3, "the system's own count, where it keeps one"
    assert (await timed(reply_of("Hel", "lo"))).tokens == 2


async def test_an_empty_reply_is_an_error_and_no_figure() -> None:
    with pytest.raises(NoReply):
        await timed(reply_of(Usage(1, 0, 0)))
    with pytest.raises(NoReply):
        await first_token(reply_of())


async def test_who_waits_for_the_first_token_leaves_after_it() -> None:
    closed = []

    async def endless() -> AsyncGenerator[Piece]:
        try:
            while True:
                yield "text"
        finally:
            closed.append(True)

    assert await first_token(endless()) >= 0
    assert closed == [True]


def test_the_rate_leaves_the_first_token_out() -> None:
    reply = Reply(asked_at=0.0, arrivals=(5.0, 5.1, 5.2, 5.3, 5.4, 5.5), text="", usage=None)
    assert reply.decode_rate == pytest.approx(10.0)


def test_tokens_are_counted_where_a_piece_has_several_of_them() -> None:
    reply = Reply(asked_at=0.0, arrivals=(5.0, 5.5), text="", usage=Usage(10, 4, completion_tokens=11))
    assert reply.token_rate == pytest.approx(20.0)
    assert reply.tokens_read == 6
    assert math.isnan(Reply(0.0, (5.0,), "", None).token_rate)
    with pytest.raises(NoReply):
        _ = Reply(0.0, (5.0,), "", None).tokens_read


def test_a_figure_is_compared_with_llama_servers_where_both_were_measured() -> None:
    figures = {"app.gap": 1.0, "llama-server.gap": 4.0, "app.rate": 2.0}
    assert to_llama_server(figures, "gap", "rate", "other") == {"gap_to_llama_server": 0.25}


def test_gaps_are_counted_within_a_reply_and_in_the_time_that_is_looked_at() -> None:
    stream = RunningStream([[0.0, 1.0, 2.0], [5.0, 5.5, 6.0]])
    assert stream.gaps(0.5, 5.8) == [1.0, 1.0, 0.5, 0.5], "from 2 to 5 nobody was reading"
    assert stream.gaps(5.6, 9.0) == [0.5, 3.0], "a stream that stands still at the end counts too"
