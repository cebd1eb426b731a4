"""What the page remembers: a visitor's conversations in the session store, in the page's form.

The store is the truth; what the page holds is a view of it. Whoever has no key (`visitor_of` is "") has nothing
remembered, and the page says so.
"""

from __future__ import annotations

import re
import uuid
from collections.abc import Iterable, Iterator, Mapping
from itertools import takewhile, zip_longest
from typing import Any

from llm_core.errors import SessionBusy, SessionNotFound
from llm_core.events import ChatEvent, ContentDelta, ReasoningDelta, ToolCallDelta, ToolResult
from llm_core.messages import Message
from llm_core.sessions.live import LiveReply
from llm_core.sessions.records import Session, SessionSummary, Turn
from llm_core.sessions.sessions import SESSION_ID_PATTERN, Sessions
from llm_core.tools.calls import ERROR
from llm_core.web.transcript import ShownMessage, ShownReply, shown

STOP_SECONDS = 10.0  # a stopped reply takes one step of the engine to end, and a moment to be saved
LISTED = 200


def new_id() -> str:
    """The id of a conversation that has not begun."""
    return uuid.uuid4().hex


class Conversations:
    """The conversations of all visitors. Methods wait for the database: call them on a thread.

    Each may raise `StorageError`.
    """

    def __init__(self, sessions: Sessions) -> None:
        self._sessions = sessions

    def find(self, visitor: str, conversation: str) -> Session | None:
        """A conversation of this visitor, or None."""
        if not visitor or not re.fullmatch(SESSION_ID_PATTERN, conversation):
            return None
        try:
            return self._sessions.get(conversation, owner=visitor)
        except SessionNotFound:
            return None

    def list(self, visitor: str, search: str) -> tuple[SessionSummary, ...]:
        """This visitor's conversations, the one used last first."""
        return self._sessions.list(owner=visitor, search=search.strip(), limit=LISTED) if visitor else ()

    def begin(self, visitor: str, conversation: str, message: str, **options: Any) -> LiveReply:
        """Says `message`. A reply that was stopped a moment ago may still end.

        Raises:
            LLMError: As `Sessions.begin`.
        """
        running = self.running(visitor, conversation)
        if running is not None and running.cancellation.cancelled:
            running.wait(STOP_SECONDS)
        return self._sessions.begin(conversation, message, owner=visitor, **options)

    def running(self, visitor: str, conversation: str) -> LiveReply | None:
        """The reply that is being made in a conversation, if one is."""
        return self._sessions.running(conversation, owner=visitor) if visitor else None

    def stop(self, visitor: str, conversation: str) -> None:
        """Stops the reply that is being made, if one is, and waits until it is saved."""
        running = self.running(visitor, conversation)
        if running is not None:
            running.cancel()
            running.wait(STOP_SECONDS)

    def forget_after(
        self, visitor: str, conversation: str, before: Iterable[Mapping[str, Any]], kept: Iterable[Mapping[str, Any]]
    ) -> None:
        """Forgets what the visitor takes back.

        Args:
            before: What was shown.
            kept: The beginning of it that stays.

        Raises:
            SessionBusy: What was shown is not all: another tab went on.
        """
        self.stop(visitor, conversation)
        session = self.find(visitor, conversation)
        if session is None:
            return
        if len(session.turns) != stored_turns(before):
            raise SessionBusy("This conversation went on in another tab. Reload the page to see it.")
        self._sessions.truncate(conversation, stored_turns(kept), owner=visitor)

    def rename(self, visitor: str, conversation: str, title: str) -> None:
        """Gives a conversation another title.

        Raises:
            InvalidRequest: The title is empty or too long.
        """
        if self.find(visitor, conversation) is not None:
            self._sessions.rename(conversation, title, owner=visitor)

    def delete(self, visitor: str, conversation: str) -> None:
        """Stops and forgets a conversation."""
        self.stop(visitor, conversation)
        if self.find(visitor, conversation) is not None:
            self._sessions.delete(conversation, owner=visitor)


def stored_turns(history: Iterable[Mapping[str, Any]]) -> int:
    """How many turns of what is shown are in the store: those that were refused are not.

    A message of the visitor's begins a turn. A program may begin one with the results of calls: then there is one more
    reply, and each reply has one message that says how it is getting on.
    """
    turns = replies = 0
    for message in history:
        state = (message.get("metadata") or {}).get("id")
        if message["role"] == "user":
            turns, replies = turns + 1, 0
        elif state == "refused":
            turns -= 1
        elif state:
            turns += replies > 0
            replies += 1
    return turns


def shown_session(session: Session) -> list[ShownMessage]:
    """A conversation as it stood when it was left. Of a reply that is being made, only the message that it answers."""
    turns = session.turns
    return [
        message
        for turn, following in zip_longest(turns, turns[1:])
        for message in _shown_turn(turn, later=_results(following))
    ]


def _results(turn: Turn | None) -> list[Message]:
    """The results that a turn begins with."""
    return list(takewhile(lambda message: message.role == "tool", turn.messages if turn else ()))


def _shown_turn(turn: Turn, *, later: Iterable[Message]) -> list[ShownMessage]:
    """A turn.

    Args:
        later: Results of its calls that the next turn begins with.
    """
    question = [shown("user", message.content) for message in turn.messages[:1] if message.role == "user"]
    if turn.status == "running":
        return question
    reply = ShownReply(now=lambda: 0.0)
    answers = turn.messages[len(question) or len(_results(turn)) :]
    for event in _events([*answers, *later]):
        reply.add(event)
    if turn.done is not None:
        reply.add(turn.done)
    else:
        reply.fail(turn.error or "This reply was interrupted.")
    return [*question, *reply.messages()]


def _events(messages: Iterable[Message]) -> Iterator[ChatEvent]:
    """What the messages of a reply were made of."""
    names: dict[str | None, str] = {}
    for message in messages:
        if message.role == "tool":
            failed = message.content.startswith(ERROR)
            call_id = message.tool_call_id or ""
            yield ToolResult(call_id, names.get(call_id, ""), message.content, failed=failed)
            continue
        if message.reasoning:
            yield ReasoningDelta(message.reasoning)
        yield ContentDelta(message.content)
        for index, call in enumerate(message.tool_calls or ()):
            names[call.id] = call.name
            yield ToolCallDelta(index, call.id, call.name, call.arguments)
