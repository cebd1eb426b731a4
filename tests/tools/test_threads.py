"""Between threads and event loops."""

from __future__ import annotations

import asyncio
import contextvars
import threading
from collections.abc import AsyncGenerator
from contextlib import closing

import pytest

from llm_core.tools.threads import in_thread, iterate

WHO = contextvars.ContextVar("who", default="nobody")
PATIENCE = 10.0


async def test_a_function_runs_on_another_thread_with_the_callers_context() -> None:
    WHO.set("Ada")
    assert await in_thread(lambda: (WHO.get(), threading.current_thread() is threading.main_thread())) == ("Ada", False)


@pytest.mark.parametrize(
    ("error", "arrives"), [(ValueError, ValueError), (SystemExit, SystemExit), (StopIteration, RuntimeError)]
)
async def test_what_it_raises_arrives(error: type[BaseException], arrives: type[BaseException]) -> None:
    def fail() -> None:
        raise error

    with pytest.raises(arrives):
        await in_thread(fail)


async def test_a_thread_that_never_returns_keeps_nobody_waiting_who_was_cancelled() -> None:
    never = threading.Event()
    waiting = asyncio.create_task(in_thread(never.wait))
    await asyncio.sleep(0)
    waiting.cancel()
    with pytest.raises(asyncio.CancelledError):
        await waiting
    never.set()


async def three(closed: list[str]) -> AsyncGenerator[int]:
    try:
        for number in range(3):
            await asyncio.sleep(0)
            yield number
    finally:
        closed.append(WHO.get())


def test_an_async_generator_is_read_without_a_loop_and_in_the_callers_context() -> None:
    closed: list[str] = []
    token = WHO.set("Bo")
    assert list(iterate(lambda: three(closed))) == [0, 1, 2]
    WHO.reset(token)
    assert closed == ["Bo"]


async def test_it_is_read_inside_a_running_loop_too() -> None:
    assert list(iterate(lambda: three([]))) == [0, 1, 2]


def test_leaving_early_closes_it() -> None:
    closed = threading.Event()

    async def endless() -> AsyncGenerator[int]:
        try:
            while True:
                yield 1
                await asyncio.sleep(0)
        finally:
            closed.set()

    with closing(iterate(endless)) as numbers:
        assert next(numbers) == 1
    assert closed.wait(PATIENCE)


def test_its_error_arrives_after_what_came_before() -> None:
    async def broken() -> AsyncGenerator[int]:
        yield 1
        raise KeyError("two")

    numbers = iterate(broken)
    assert next(numbers) == 1
    with pytest.raises(KeyError, match="two"):
        next(numbers)
