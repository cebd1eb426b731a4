"""Between threads and event loops: a function that blocks for a task, and an async generator for code without a loop.

`asyncio.to_thread` will not do for functions of strangers: one that never returned would take a worker of the loop's
pool for good, and keep the process from ending. Threads here are daemons that serve one call.
"""

from __future__ import annotations

import asyncio
import contextlib
import contextvars
import threading
from collections.abc import AsyncGenerator, Callable, Generator
from concurrent.futures import Future
from contextlib import aclosing
from dataclasses import dataclass
from queue import SimpleQueue
from typing import Generic, TypeVar

T = TypeVar("T")


async def in_thread(function: Callable[[], T]) -> T:
    """What `function` returns or raises, on a thread of its own, with the caller's context variables.

    A cancelled caller waits no longer; what the thread does cannot be undone.
    """
    loop = asyncio.get_running_loop()
    future: asyncio.Future[T] = loop.create_future()
    context = contextvars.copy_context()

    def settle(result: list[T], error: BaseException | None) -> None:
        if future.done():
            return
        if error is None:
            future.set_result(result[0])
        elif isinstance(error, StopIteration):  # which a future cannot hold
            future.set_exception(RuntimeError("raised StopIteration"))
        else:
            future.set_exception(error)

    def run() -> None:
        result: list[T] = []
        error: BaseException | None = None
        try:
            result.append(context.run(function))
        except BaseException as raised:  # SystemExit too: the caller decides what it means
            error = raised
        call_soon(loop, lambda: settle(result, error))

    threading.Thread(target=run, name="tool", daemon=True).start()
    return await future


@dataclass(frozen=True, slots=True)
class _Item(Generic[T]):
    value: T


@dataclass(frozen=True, slots=True)
class _End:
    error: BaseException | None


def iterate(make: Callable[[], AsyncGenerator[T]]) -> Generator[T]:
    """Reads an async generator, on an event loop in a thread of its own: the caller may be inside a loop already.

    Closing this generator closes that one.
    """
    arrived: SimpleQueue[_Item[T] | _End] = SimpleQueue()
    stop: Future[Callable[[], None]] = Future()

    async def read() -> None:
        loop, task = asyncio.get_running_loop(), asyncio.current_task()
        assert task is not None
        stop.set_result(lambda: call_soon(loop, task.cancel))
        error: BaseException | None = None
        try:
            async with aclosing(make()) as items:
                async for item in items:
                    arrived.put(_Item(item))
        except BaseException as raised:
            error = raised
        # Told from inside: the loop's own end may have to wait for a task that does not let itself be cancelled.
        arrived.put(_End(error))

    def work() -> None:
        try:
            asyncio.run(read())
        except BaseException as error:  # there is no loop to be had
            arrived.put(_End(error))

    context = contextvars.copy_context()
    threading.Thread(target=context.run, args=(work,), name="tools", daemon=True).start()
    ended = False
    try:
        while True:
            match arrived.get():
                case _Item(value):
                    yield value
                case _End(error):
                    ended = True
                    if error is not None:
                        raise error
                    return
    finally:
        if not ended:
            stop.result()()


def call_soon(loop: asyncio.AbstractEventLoop, function: Callable[[], object]) -> None:
    """Has a loop of another thread call `function`; nothing where it has ended."""
    with contextlib.suppress(RuntimeError):  # it is closed
        loop.call_soon_threadsafe(function)
