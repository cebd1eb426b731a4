"""What the page shows of a conversation in the store: its newest turns, in the browser's form.

The store is the truth; what a browser holds is a view of it, with the version that it has seen.
"""

from __future__ import annotations

from collections.abc import Iterable, Iterator, Sequence
from itertools import takewhile, zip_longest
from typing import TypedDict

from llm_core.events import ChatEvent, ContentDelta, ReasoningDelta, ToolCallDelta, ToolResult
from llm_core.messages import Message
from llm_core.page.transcript import ShownMessage, ShownReply
from llm_core.sessions.records import Session, Turn
from llm_core.tools.calls import ERROR

# As many turns are shown at first, and are added each time that earlier ones are asked for. A page that holds hundreds
# of messages is slow to open, and slow to draw.
WINDOW_TURNS = 20
INTERRUPTED = "This reply was interrupted."


class ShownTurn(TypedDict):
    """A turn as the browser has it.

    Attributes:
        stream: Its id.
        question: What the visitor said; None where a program gave the results of calls.
        reply: What is drawn below it.
        running: Whether the reply is being made.
    """

    stream: str
    question: str | None
    reply: list[ShownMessage]
    running: bool


class Conversation(TypedDict):
    """A conversation as the browser has it.

    Attributes:
        version: 0 where there is none in the store: then it begins with the next message.
        turns: The newest, oldest of them first.
        earlier: How many there are before them.
        system_prompt: Its own, or that of the settings.
        model: The name of the model that it goes on with; None: the default one.
    """

    conversation: str
    version: int
    turns: list[ShownTurn]
    earlier: int
    system_prompt: str
    model: str | None


def new_conversation(conversation: str, system_prompt: str) -> Conversation:
    return {
        "conversation": conversation,
        "version": 0,
        "turns": [],
        "earlier": 0,
        "system_prompt": system_prompt,
        "model": None,
    }


def shown_session(session: Session, system_prompt: str, model: str | None = None) -> Conversation:
    """A conversation as it stands.

    Args:
        system_prompt: Where it has none of its own.
        model: That it goes on with.
    """
    return {
        "conversation": session.session_id,
        "version": session.version,
        "turns": shown_turns(session.turns[-WINDOW_TURNS:]),
        "earlier": max(0, len(session.turns) - WINDOW_TURNS),
        "system_prompt": system_prompt if session.system_prompt is None else session.system_prompt,
        "model": model,
    }


def shown_turns(turns: Sequence[Turn]) -> list[ShownTurn]:
    """All turns of a conversation, each with what the next one says of its calls."""
    return [_shown_turn(turn, later=_results(following)) for turn, following in zip_longest(turns, turns[1:])]


def _results(turn: Turn | None) -> list[Message]:
    """The results that a turn begins with."""
    return list(takewhile(lambda message: message.role == "tool", turn.messages if turn else ()))


def _shown_turn(turn: Turn, *, later: Iterable[Message]) -> ShownTurn:
    """A turn. Of a reply that is being made nothing is shown yet: its reader gets it from its beginning.

    Args:
        later: Results of its calls that the next turn begins with.
    """
    question = turn.messages[0].content if turn.messages[0].role == "user" else None
    reply = ShownReply(now=lambda: 0.0)
    is_running = turn.status == "running"
    if not is_running:
        answers = turn.messages[1 if question is not None else len(_results(turn)) :]
        for event in _events([*answers, *later]):
            reply.add(event)
        if turn.done is not None:
            reply.add(turn.done)
        else:
            reply.fail(turn.error or INTERRUPTED)
    return {"stream": turn.stream_id, "question": question, "reply": reply.messages(), "running": is_running}


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
