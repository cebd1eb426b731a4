"""Readers of one reply: each gets every event once, whenever it comes and however often it goes."""

from __future__ import annotations

import asyncio
import threading

import pytest

from llm_core.errors import EngineClosed
from llm_core.events import ContentDelta
from llm_core.sessions.records import StoredReply
from llm_core.sessions.reply_log import ReplyLog

TEXTS = [str(number) for number in range(500)]


def write(log: ReplyLog) -> None:
    for text in TEXTS:
        log.append(ContentDelta(text))
    log.end()


def texts(numbered: list[tuple[int, object]]) -> list[str]:
    return [event.text for _, event in numbered if isinstance(event, ContentDelta)]


def test_a_reader_on_another_thread_gets_every_event_in_order() -> None:
    log = ReplyLog()
    writer = threading.Thread(target=write, args=(log,))
    writer.start()

    read = list(log.read())

    writer.join()
    assert texts(read) == TEXTS
    assert [number for number, _ in read] == list(range(1, 501))


async def test_readers_in_event_loops_get_every_event_in_order() -> None:
    log = ReplyLog()
    readers = [asyncio.create_task(read_all(log, after)) for after in (0, 0, 250)]
    await asyncio.to_thread(write, log)

    assert [texts(read) for read in await asyncio.gather(*readers)] == [TEXTS, TEXTS, TEXTS[250:]]


async def read_all(log: ReplyLog, after: int) -> list[tuple[int, object]]:
    return [numbered async for numbered in log.aread(after)]


def test_one_who_comes_late_or_back_reads_on_where_it_was() -> None:
    log = ReplyLog()
    write(log)

    assert texts(list(log.read(after=498))) == TEXTS[498:]
    assert list(log.read(after=500)) == []
    assert list(log.read(after=9_999)) == []


async def test_an_error_comes_after_the_events_before_it() -> None:
    log = ReplyLog()
    log.append(ContentDelta("a"))
    log.end(EngineClosed("closed"))

    for reader in (log.read(), log.read()):
        assert next(reader)[0] == 1
        with pytest.raises(EngineClosed):
            next(reader)
    areader = log.aread()
    assert (await anext(areader))[0] == 1
    with pytest.raises(EngineClosed):
        await anext(areader)


def test_a_reader_whose_event_loop_is_gone_hinders_nobody() -> None:
    log = ReplyLog()

    async def leave() -> None:
        reader = log.aread()
        log.append(ContentDelta("a"))
        await anext(reader)
        waiting.append(reader)

    waiting: list[object] = []
    loop = asyncio.new_event_loop()
    loop.run_until_complete(leave())
    loop.close()

    write(log)
    assert len(list(log.read())) == 501
    waiting.clear()


@pytest.mark.parametrize("error", [None, EngineClosed("closed")], ids=["ended", "failed"])
def test_a_reply_is_over_once_it_has_ended_and_its_last_event_has_been_read(error: EngineClosed | None) -> None:
    log = ReplyLog()
    log.append(ContentDelta("a"))
    assert not log.is_over(1), "more may come"

    log.end(error)

    last = 1 if error is None else 2  # the error is told as an event
    saved = tuple(log.since(0))
    for reply in (log, StoredReply("0" * 32, "s", "complete", saved, error)):
        assert [reply.is_over(last - 1), reply.is_over(last), reply.is_over()] == [False, True, True]
