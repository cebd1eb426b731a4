"""How a turn was asked, which is kept while calls of its reply wait for somebody to agree: the reply goes on with that.

Whoever agrees may be another program than the one that asked, at another time, and knows nothing of it.
"""

from __future__ import annotations

from collections.abc import Container, Sequence
from typing import Any

from llm_core.request import ChatRequest
from llm_core.sessions.records import Turn

_KEPT = {"sampling", "lora", "max_tokens", "stop", "timeout", "thinking"}

Asked = dict[str, Any]


def asked_of(request: ChatRequest, chosen: Container[str]) -> Asked:
    """What of a request's sampling and limits was chosen, as JSON."""
    told = request.model_dump(mode="json", include=_KEPT)
    return {name: value for name, value in (told | told.pop("sampling")).items() if name in chosen}


def asked_before(turns: Sequence[Turn]) -> Asked:
    """The same of the last turn whose calls waited."""
    kept = (turn.figures["asked"] for turn in reversed(turns) if turn.figures and "asked" in turn.figures)
    return next(kept, {})
