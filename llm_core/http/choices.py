"""Several choices in one answer: replies that are made side by side, and counted together.

They are requests like any others: each takes a slot or waits for one. Those of one prompt wait for the first of them to
compute it (`llm_core.engine.placement`), so it is computed once.
"""

from __future__ import annotations

import asyncio
from collections.abc import AsyncGenerator, Sequence
from contextlib import aclosing
from dataclasses import replace

from fastapi import Request

from llm_core.backends.member import Member
from llm_core.errors import InvalidRequest
from llm_core.events import ChatEvent, ChatReply, Done, Usage
from llm_core.reply_builder import ReplyBuilder

MAX_CHOICES = 16
_SEEDS = 2**32 - 1  # how many there are

Numbered = tuple[int, ChatEvent]
"""An event, and which of the replies it is of."""


def admit(request: Request, member: Member, *, n: int, prompts: int = 1) -> None:
    """Has as many choices as are asked for, each of which counts as a request of the caller's.

    Raises:
        InvalidRequest: They are too many.
        RateLimited: The caller has asked for too many in the time.
    """
    most = min(MAX_CHOICES, member.settings.parallel)
    if n > most:
        raise InvalidRequest(f"n: {member.name} makes at most {most} choices at a time.", param="n")
    if n * prompts > MAX_CHOICES:
        raise InvalidRequest(f"prompt: one request has at most {MAX_CHOICES} choices, n for each.", param="prompt")
    for _ in range(n * prompts - 1):  # the first one is counted already
        request.app.state.rate_limit.check_caller(request)


def seeds(seed: int | None, n: int) -> list[int | None]:
    """A seed for each choice: the given one, and those that follow it."""
    return [None if seed is None else (seed + number) % _SEEDS for number in range(n)]


async def side_by_side(replies: Sequence[AsyncGenerator[ChatEvent]]) -> AsyncGenerator[Numbered]:
    """The events of all replies as they come.

    Nothing comes before all have begun, so that a request of which a part is refused is refused. Who leaves stops all
    of them, and so does one that fails.
    """
    if len(replies) == 1:
        async with aclosing(replies[0]) as only:
            async for event in only:
                yield 0, event
        return
    came: asyncio.Queue[tuple[int, ChatEvent | Exception]] = asyncio.Queue()
    tasks = [asyncio.create_task(_pass_on(number, reply, came)) for number, reply in enumerate(replies)]
    held: list[Numbered] | None = []
    begun, ended = set[int](), 0
    try:
        while ended < len(replies):
            number, what = await came.get()
            if isinstance(what, Exception):
                raise what
            begun.add(number)
            ended += isinstance(what, Done)
            if held is None:
                yield number, what
                continue
            held.append((number, what))
            if len(begun) == len(replies):
                for each in held:
                    yield each
                held = None
    finally:
        for task in tasks:
            task.cancel()
        await asyncio.gather(*tasks, return_exceptions=True)


async def _pass_on(
    number: int, reply: AsyncGenerator[ChatEvent], came: asyncio.Queue[tuple[int, ChatEvent | Exception]]
) -> None:
    try:
        async with aclosing(reply):
            async for event in reply:
                came.put_nowait((number, event))
    except Exception as error:  # whoever reads them raises it
        came.put_nowait((number, error))


async def collected(events: AsyncGenerator[Numbered], count: int) -> list[ChatReply]:
    """The whole replies."""
    builders = [ReplyBuilder() for _ in range(count)]
    async with aclosing(events):
        async for number, event in events:
            builders[number].add(event)
    return [builder.reply() for builder in builders]


def total(usages: Sequence[Usage], *, n: int) -> Usage:
    """The usage of all choices, `n` for each prompt: each prompt is counted once, as the first one found it."""
    prompts = [min(usages[at : at + n], key=lambda usage: usage.cached_tokens) for at in range(0, len(usages), n)]
    once = Usage.total(prompts)
    return replace(
        Usage.total(usages),
        prompt_tokens=once.prompt_tokens,
        cached_tokens=once.cached_tokens,
        cache_miss=once.cache_miss,
    )
