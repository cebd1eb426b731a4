"""The next turn of a long session: in the process that has read it, and in one that was started after that.

The data folder stays, as it does when an operator restarts the app or the system kills it.
"""

from __future__ import annotations

import asyncio
import os
import shutil
import signal
import time
from collections.abc import AsyncIterator, Mapping
from contextlib import asynccontextmanager

from bench.lab import Findings, Lab, app_name, ways
from bench.measure import Reply, median, timed
from bench.servers import Server
from bench.systems import AppSessions, OpenAIServer
from bench.workload import long_text, short_question

_IDLE_SECONDS = 3.0  # before the process ends: what an idle app writes to its disk is written
_REPLY_TOKENS = 8
_FOLLOW_UP = "Go on with thought number {number}, in several long sentences."


async def run(lab: Lab) -> Findings:
    """First tokens, and prompt tokens that had to be read, with what is kept on disk and without."""
    figures: dict[str, float] = {}
    raw = {}
    for settings in ways("kv_disk_mb", 0):
        name = app_name(settings)
        turns: dict[str, list[Reply]] = {}
        for number in range(lab.sizes.restart_rounds):
            lab.say(f"restart: {name}, {number + 1} of {lab.sizes.restart_rounds}")
            for when, reply in (await _one_session(lab, settings)).items():
                turns.setdefault(when, []).append(reply)
        for when, replies in turns.items():
            figures[f"{name}.{when}"] = median([reply.first_token for reply in replies])
            figures[f"{name}.{when}_read"] = median([reply.tokens_read for reply in replies])
        for when in turns.keys() - {"cold"}:
            figures[f"{name}.{when}_to_cold"] = figures[f"{name}.{when}"] / figures[f"{name}.cold"]
        raw[name] = {when: [reply.first_token for reply in replies] for when, replies in turns.items()}
    return Findings(figures=figures, raw=raw)


async def _one_session(lab: Lab, settings: Mapping[str, object]) -> dict[str, Reply]:
    """`cold` reads the whole session, `warm` is the turn after it."""
    session = f"long-{time.time_ns()}"
    data = lab.logs / "restart-data"
    shutil.rmtree(data, ignore_errors=True)
    book = long_text(lab.vocabulary, lab.sizes.session_tokens, series=session)
    turns = {}
    async with _app(lab, settings, data_dir=data) as (sessions, _):
        turns["cold"] = await timed(sessions.stream(session, f"{book}\n\n{_FOLLOW_UP.format(number=1)}", _REPLY_TOKENS))
        turns["warm"] = await timed(sessions.stream(session, _FOLLOW_UP.format(number=2), _REPLY_TOKENS))
        await asyncio.sleep(_IDLE_SECONDS)
    async with _app(lab, settings, data_dir=data) as (sessions, server):
        turns["after_restart"] = await timed(sessions.stream(session, _FOLLOW_UP.format(number=3), _REPLY_TOKENS))
        await asyncio.sleep(_IDLE_SECONDS)
        os.kill(server.pid, signal.SIGKILL)
    async with _app(lab, settings, data_dir=data) as (sessions, _):
        turns["after_kill"] = await timed(sessions.stream(session, _FOLLOW_UP.format(number=4), _REPLY_TOKENS))
    return turns


@asynccontextmanager
async def _app(lab: Lab, settings: Mapping[str, object], **more: object) -> AsyncIterator[tuple[AppSessions, Server]]:
    """An app that has answered somebody: a process's first reply is slow whatever it is about."""
    async with lab.app_process("app-restart", **settings, **more) as server:
        system, sessions = OpenAIServer("app", server.url), AppSessions(server.url)
        await timed(system.stream([{"role": "user", "content": short_question("warm-up")}], _REPLY_TOKENS))
        yield sessions, server
        await sessions.close()
        await system.close()
