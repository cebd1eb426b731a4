"""Notices system prompts that differ early each time, as with the time of day at their head.

Nothing behind the first difference can be taken from the prefix cache, and nobody sees why the first token is late.
"""

from __future__ import annotations

import logging
import threading
from collections import OrderedDict, deque
from dataclasses import dataclass, field

from llm_core.common_prefix import common_prefix

log = logging.getLogger(__name__)

LEAST_CHARS = 1_000  # behind the difference: less is computed in no time
MOST_CHANGED_CHARS = 64  # a date, a time, an id; what differs more is another prompt
TIMES = 3  # in a row
_MOST_OWNERS = 200
_REMEMBERED = 8  # prompts that come by turns are each found again


@dataclass(slots=True)
class _Seen:
    last: str = ""
    hashes: deque[int] = field(default_factory=lambda: deque(maxlen=_REMEMBERED))
    times: int = 0
    told: bool = False


class ChangingPrompts:
    """Looks at each owner's system prompts. Safe from any thread."""

    def __init__(self) -> None:
        self._lock = threading.Lock()
        self._seen: OrderedDict[str, _Seen] = OrderedDict()

    def look(self, owner: str, system: str) -> None:
        """Says once for an owner, in the log, that a part which changes belongs at the end."""
        if len(system) < LEAST_CHARS:
            return
        with self._lock:
            seen = self._seen.setdefault(owner, _Seen())
            self._seen.move_to_end(owner)
            if len(self._seen) > _MOST_OWNERS:
                self._seen.popitem(last=False)
            if seen.told or hash(system) in seen.hashes:
                return
            same = _spoilt_at(seen.last, system)
            seen.times = 0 if same is None else seen.times + 1
            seen.last = system
            seen.hashes.append(hash(system))
            if same is None or seen.times < TIMES:
                return
            seen.told, seen.last = True, ""
        log.warning(
            "The system prompts of %s differ from character %d of %s on each time, as with the time of day at their "
            "head. What follows is computed anew for each request. Put what changes at the end.",
            owner or "callers without a name",
            same + 1,
            f"{len(system):,}",
        )


def _spoilt_at(last: str, system: str) -> int | None:
    """Where a small early difference begins, with much that is the same behind it; None where there is none."""
    start = common_prefix(last, system)
    rest, other = system[start:], last[start:]
    same = common_prefix(other[::-1], rest[::-1])
    changed = max(len(rest), len(other)) - same
    return start if same >= LEAST_CHARS and changed <= MOST_CHANGED_CHARS else None
