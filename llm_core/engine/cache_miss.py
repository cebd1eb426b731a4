"""Why more of a prompt has to be computed than what is said just now."""

from __future__ import annotations

import numpy as np

from llm_core.engine.kv.prefix_cache import PrefixCache
from llm_core.engine.llama.arrays import common_prefix
from llm_core.engine.sequence import Sequence
from llm_core.events import CacheMiss

MIN_MISSED_TOKENS = 32
"""Fewer need no reason: the ends of a reply and what the template writes around the next turn are counted roughly."""


def cache_miss(sequence: Sequence, cache: PrefixCache, outdated: set[tuple[str, str]]) -> CacheMiss | None:
    """The reason for a sequence that has its slot; None where what was found reaches up to what is said just now.

    Nothing of other owners has a part in it, not even that they had asked the same.

    Args:
        outdated: Owner and session of what another model had computed. Told once: it leaves the set.
    """
    request, found = sequence.request, sequence.cached_tokens
    session = (sequence.owner, request.session)
    is_outdated = session in outdated
    outdated.discard(session)
    if len(request.prompt) - request.new_tokens - found < MIN_MISSED_TOKENS:
        return None
    prompt = np.asarray(request.prompt, np.int32)
    mine = (sequence.owner, sequence.adapters)
    lost = max((common_prefix(known, prompt) for known, *whose in cache.evicted if tuple(whose) == mine), default=0)
    if lost - found >= MIN_MISSED_TOKENS:
        return "evicted"
    return "model_changed" if is_outdated else "new"
