"""What the page shows of a conversation in the store: its newest turns, in the browser's form.

The store is the truth; what a browser holds is a view of it, with the version that it has seen.
"""

from __future__ import annotations

from bisect import bisect_left
from collections.abc import Iterable, Iterator, Mapping, Sequence
from typing import Any, TypedDict

from llm_core.events import ChatEvent, ContentDelta, ReasoningDelta, ToolCallDelta, ToolResult
from llm_core.messages import Message
from llm_core.page.attachments import ShownAttachment, shown_attachments
from llm_core.page.transcript import ShownMessage, ShownReply
from llm_core.sessions.exchange import prompt_messages, results_of
from llm_core.sessions.records import Session, Turn
from llm_core.texts.told import told

NEWEST_TURNS = 10  # are shown at first, and above a reply that grows: each step of it draws all that is shown
EARLIER_TURNS = 20  # are added each time that earlier ones are asked for


class Versions(TypedDict):
    """What can stand at a place, where there is more than one thing.

    Attributes:
        at, of: Which one stands there, from 1, of how many.
        before, after: The streams of the turns with the one before and the one after it.
    """

    at: int
    of: int
    before: str | None
    after: str | None


class ShownTurn(TypedDict):
    """A turn as the browser has it.

    Attributes:
        stream: Its id.
        question: What the visitor said; None where a program gave the results of calls.
        attachments: The files of that message.
        reply: What is drawn below it.
        running: Whether the reply is being made.
        questions: The wordings of the question; None where there is one.
        replies: Those to this wording; None where there is one.
    """

    stream: str
    question: str | None
    attachments: list[ShownAttachment]
    reply: list[ShownMessage]
    running: bool
    questions: Versions | None
    replies: Versions | None


class Conversation(TypedDict):
    """A conversation as the browser has it.

    Attributes:
        version: 0 where there is none in the store: then it begins with the next message.
        turns: The newest, oldest of them first.
        earlier: How many there are before them.
        left_out: The stream of the last turn that the model does not read any more, since older ones are left out of a
            prompt that would be too long; None where it reads all.
        system_prompt: Its own, or that of the settings.
        model: The name of the model that it goes on with; None: the default one.
        settings: What was set for its replies; None: nothing yet.
    """

    conversation: str
    version: int
    turns: list[ShownTurn]
    earlier: int
    left_out: str | None
    system_prompt: str
    model: str | None
    settings: Mapping[str, Any] | None


def new_conversation(conversation: str, system_prompt: str) -> Conversation:
    return {
        "conversation": conversation,
        "version": 0,
        "turns": [],
        "earlier": 0,
        "left_out": None,
        "system_prompt": system_prompt,
        "model": None,
        "settings": None,
    }


def shown_session(
    session: Session, system_prompt: str, model: str | None = None, *, including: Sequence[str] = ()
) -> Conversation:
    """A conversation as it stands.

    Args:
        system_prompt: Where it has none of its own.
        model: That it goes on with.
        including: The streams of turns that are shown, however long ago they were.
    """
    newest = max(0, len(session.turns) - NEWEST_TURNS)
    place = next((place for place, turn in enumerate(session.turns) if turn.stream_id in including), newest)
    first = min(newest, place)
    return {
        "conversation": session.session_id,
        "version": session.version,
        "turns": shown_turns(session.turns[first:]),
        "earlier": first,
        "left_out": left_out(session.turns),
        "system_prompt": system_prompt if session.system_prompt is None else session.system_prompt,
        "model": model,
        "settings": session.settings,
    }


def left_out(turns: Sequence[Turn]) -> str | None:
    """The stream of the last turn that was not read for the newest reply; None where all were."""
    answered = next((place for place in range(len(turns) - 1, -1, -1) if turns[place].done is not None), None)
    if answered is None:
        return None
    done = turns[answered].done
    dropped = done.dropped_messages if done is not None else 0
    if not dropped:
        return None
    told = [*range(answered + 1)]
    place = bisect_left(told, dropped, key=lambda count: len(prompt_messages(turns[:count], ())))
    return turns[place - 1].stream_id


def versions_of(turn: Turn) -> tuple[Versions | None, Versions | None]:
    """The wordings of a turn's question, and the replies to its own. Of another wording its newest reply is shown."""
    by_question: dict[tuple[str | None, str | None], list[str]] = {}
    for version in turn.versions:
        by_question.setdefault((version.question, version.attached), []).append(version.stream_id)
    replies = next((streams for streams in by_question.values() if turn.stream_id in streams), [])
    questions = [turn.stream_id if streams is replies else streams[-1] for streams in by_question.values()]
    return _versions(questions, turn.stream_id), _versions(replies, turn.stream_id)


def _versions(streams: Sequence[str], stream: str) -> Versions | None:
    if len(streams) < 2:
        return None
    place = streams.index(stream)
    before = streams[place - 1] if place else None
    after = streams[place + 1] if place + 1 < len(streams) else None
    return {"at": place + 1, "of": len(streams), "before": before, "after": after}


def shown_turns(turns: Sequence[Turn]) -> list[ShownTurn]:
    """All turns of a conversation, each with what the next one says of its calls."""
    openings = [*(results_of(turn.messages) for turn in turns[1:]), ()]
    return [_shown_turn(turn, later=later) for turn, later in zip(turns, openings, strict=False)]


def _shown_turn(turn: Turn, *, later: Iterable[Message]) -> ShownTurn:
    """A turn. Of a reply that is being made nothing is shown yet: its reader gets it from its beginning.

    Args:
        later: Results of its calls that the next turn begins with.
    """
    question = turn.messages[0].content if turn.messages[0].role == "user" else None
    reply = ShownReply(now=lambda: 0.0)
    is_running = turn.status == "running"
    if not is_running:
        answers = turn.messages[1 if question is not None else len(results_of(turn.messages)) :]
        for event in _events([*answers, *later]):
            reply.add(event)
        if turn.done is not None:
            reply.add(turn.done)
        else:
            reply.fail(turn.error or told("reply.interrupted"))
    questions, replies = versions_of(turn)
    return {
        "stream": turn.stream_id,
        "question": question,
        "attachments": shown_attachments(turn.messages[0]),
        "reply": reply.messages(),
        "running": is_running,
        "questions": questions,
        "replies": replies,
    }


def _events(messages: Iterable[Message]) -> Iterator[ChatEvent]:
    """What the messages of a reply were made of."""
    names: dict[str | None, str] = {}
    for message in messages:
        if message.role == "tool":
            call_id = message.tool_call_id or ""
            yield ToolResult.of_message(call_id, names.get(call_id, ""), message.content)
            continue
        if message.reasoning:
            yield ReasoningDelta(message.reasoning)
        yield ContentDelta(message.content)
        for index, call in enumerate(message.tool_calls or ()):
            names[call.id] = call.name
            yield ToolCallDelta(index, call.id, call.name, call.arguments)
