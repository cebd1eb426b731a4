"""Users who chat at once: three turns each behind one system prompt, at 1, 4, 8 and 16 users, systems in turns."""

from __future__ import annotations

import asyncio
import time
from dataclasses import dataclass, field
from typing import Any

from bench.lab import Findings, Lab, Opening
from bench.measure import Reply, percentile, timed
from bench.systems import APP, LLAMA_SERVER, System
from bench.workload import SYSTEM_PROMPT, Conversation, conversations

THEIRS = "llama_cpp.server"
COMPARED_USERS = 8
"""The number of users at which the figures to reach are stated against llama_cpp.server."""
_COMPARED = ("tokens_per_second", "first_turn_p95", "later_turn_p95", "gap_p95")


@dataclass
class Tally:
    """All rounds of one system with one number of users."""

    seconds: float = 0.0
    first_turns: list[Reply] = field(default_factory=list)
    later_turns: list[Reply] = field(default_factory=list)

    @property
    def replies(self) -> list[Reply]:
        return self.first_turns + self.later_turns

    def row(self, system: str, users: int, reply_tokens: int) -> dict[str, Any]:
        first = [reply.first_token for reply in self.first_turns]
        later = [reply.first_token for reply in self.later_turns]
        gaps = [gap for reply in self.replies for gap in reply.gaps]
        return {
            "users": users,
            "system": system,
            "tokens_per_second": sum(reply.tokens for reply in self.replies) / self.seconds,
            "first_turn_p50": percentile(first, 50),
            "first_turn_p95": percentile(first, 95),
            "later_turn_p50": percentile(later, 50),
            "later_turn_p95": percentile(later, 95),
            "gap_p50": percentile(gaps, 50),
            "gap_p95": percentile(gaps, 95),
            "whole_replies": sum(reply.tokens >= reply_tokens for reply in self.replies) / len(self.replies),
        }


async def run(lab: Lab) -> Findings:
    """One row for each system and number of users."""
    sizes = lab.sizes
    systems: list[Opening] = [lab.engine, lab.llama, lab.llama_cpp_server, *lab.apps("prepare", "off"), *lab.others]
    tallies: dict[tuple[int, str], Tally] = {}
    for number in range(sizes.rounds):
        for users in sizes.users:
            for opening in systems if number % 2 == 0 else reversed(systems):
                async with opening() as system:
                    lab.say(f"throughput: round {number + 1} of {sizes.rounds}, {users} users, {system.name}")
                    tally = tallies.setdefault((users, system.name), Tally())
                    await _measure(tally, system, users, lab, series=f"{number}-{users}")
    rows = [tally.row(system, users, sizes.reply_tokens) for (users, system), tally in tallies.items()]
    return Findings(figures=_compare(rows), rows=rows)


async def _measure(tally: Tally, system: System, users: int, lab: Lab, *, series: str) -> None:
    await _converse(system, conversations(1, 1, series="warm-up")[0], 4)  # the operator's prompt is in use for long
    crowd = conversations(users, lab.sizes.turns, series=series)
    started = time.perf_counter()
    answered = await asyncio.gather(*(_converse(system, each, lab.sizes.reply_tokens) for each in crowd))
    tally.seconds += time.perf_counter() - started
    for first, *later in answered:
        tally.first_turns.append(first)
        tally.later_turns.extend(later)


async def _converse(system: System, conversation: Conversation, reply_tokens: int) -> list[Reply]:
    """All turns of one user, each with the replies before it."""
    messages = [{"role": "system", "content": SYSTEM_PROMPT}]
    replies = []
    for question in conversation.questions:
        messages.append({"role": "user", "content": question})
        reply = await timed(system.stream(messages, reply_tokens, conversation.user))
        messages.append({"role": "assistant", "content": reply.text})
        replies.append(reply)
    return replies


def _compare(rows: list[dict[str, Any]]) -> dict[str, float]:
    """The app against llama_cpp.server and llama-server, as ratios."""
    found = {(row["users"], row["system"]): row for row in rows}
    figures = {}
    for users in sorted({row["users"] for row in rows}):
        ours, theirs, llama_server = (found.get((users, name)) for name in (APP, THEIRS, LLAMA_SERVER))
        if ours and theirs and users == COMPARED_USERS:
            figures["tokens_per_second_ratio"] = ours["tokens_per_second"] / theirs["tokens_per_second"]
            figures["later_turn_p95_ratio"] = ours["later_turn_p95"] / theirs["later_turn_p95"]
        if ours and llama_server:
            figures |= {f"{users}_users.{column}": ours[column] / llama_server[column] for column in _COMPARED}
    return figures
