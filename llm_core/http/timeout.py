"""A reply whose time was over before it began: the dialects of others have no finish reason for that."""

from __future__ import annotations

from llm_core.errors import TimedOut
from llm_core.events import ChatReply, Done


def check_time(end: ChatReply | Done, *, has_begun: bool) -> None:
    """
    Raises:
        TimedOut: There is nothing of the reply.
    """
    if end.finish_reason == "timeout" and not has_begun and not end.usage.completion_tokens:
        raise TimedOut("The request's time was over before the first token. Ask again, or allow a longer timeout.")
