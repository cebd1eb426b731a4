"""What `paced` promises to a reader who pays for every update."""

from __future__ import annotations

import asyncio
from collections.abc import AsyncGenerator
from contextlib import aclosing

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from llm_core.gradio_api.paced import paced

SOON, LATER = 0.01, 60.0


class Source:
    """Yields numbers, one whenever it is told to, and knows whether it was closed."""

    def __init__(self) -> None:
        self.closed = False
        self._numbers: asyncio.Queue[int | Exception] = asyncio.Queue()

    def give(self, *numbers: int | Exception) -> None:
        for number in numbers:
            self._numbers.put_nowait(number)

    async def numbers(self) -> AsyncGenerator[int]:
        try:
            while True:
                number = await self._numbers.get()
                if isinstance(number, Exception):
                    raise number
                yield number
        finally:
            self.closed = True


async def count_to(last: int) -> AsyncGenerator[int]:
    for number in range(last):
        yield number


async def test_the_first_item_does_not_wait_for_others() -> None:
    async with aclosing(paced(count_to(100), interval=LATER, heartbeat=LATER)) as groups:
        assert await anext(groups) == [0]


async def test_what_arrives_within_the_interval_comes_as_one_group() -> None:
    groups = [group async for group in paced(count_to(100), interval=LATER, heartbeat=LATER)]

    assert groups == [[0], list(range(1, 100))]


async def test_a_group_does_not_wait_longer_than_the_interval() -> None:
    source = Source()
    source.give(1, 2)
    async with aclosing(paced(source.numbers(), interval=SOON, heartbeat=LATER)) as groups:
        assert [await anext(groups), await anext(groups)] == [[1], [2]]


async def test_silence_is_filled_with_empty_groups() -> None:
    source = Source()
    async with aclosing(paced(source.numbers(), interval=SOON, heartbeat=SOON)) as groups:
        assert [await anext(groups), await anext(groups)] == [[], []]
        source.give(1)
        while not (group := await anext(groups)):
            pass
        assert group == [1]


async def test_closing_it_while_it_waits_closes_the_source() -> None:
    source = Source()
    groups = paced(source.numbers(), interval=SOON, heartbeat=SOON)
    await anext(groups)
    await groups.aclose()

    assert source.closed


async def test_cancelling_its_reader_closes_the_source() -> None:
    source = Source()
    source.give(1)
    reading = asyncio.Event()

    async def read() -> None:
        async with aclosing(paced(source.numbers(), interval=SOON, heartbeat=LATER)) as groups:
            async for _ in groups:
                reading.set()

    reader = asyncio.create_task(read())
    await reading.wait()
    reader.cancel()
    with pytest.raises(asyncio.CancelledError):
        await reader

    assert source.closed


async def test_a_failure_comes_after_what_came_before_it() -> None:
    source = Source()
    source.give(1, 2, ValueError("enough"))
    groups = paced(source.numbers(), interval=LATER, heartbeat=LATER)

    assert [await anext(groups), await anext(groups)] == [[1], [2]]
    with pytest.raises(ValueError, match="enough"):
        await anext(groups)
    assert source.closed


@given(st.lists(st.sampled_from([0.0, 0.001, 0.004]), max_size=12))
@settings(max_examples=30, deadline=None)
async def test_nothing_is_lost_and_nothing_changes_places(pauses: list[float]) -> None:
    async def source() -> AsyncGenerator[int]:
        for number, pause in enumerate(pauses):
            await asyncio.sleep(pause)
            yield number

    items = [item async for group in paced(source(), interval=0.003, heartbeat=0.002) for item in group]

    assert items == list(range(len(pauses)))
