"""From the events of a reply to messages, and from turns to a prompt: calls and their results stay together.

Nothing here knows the database or the model.
"""

from __future__ import annotations

import json
from collections.abc import Iterable, Iterator, Mapping, Sequence
from itertools import takewhile
from typing import Annotated, Any

from pydantic import BaseModel, ConfigDict, Field, ValidationError

from llm_core.attachments.rendering import told
from llm_core.complaints import invalid_request
from llm_core.conversation import merge_neighbours, turn_starts
from llm_core.errors import InvalidRequest
from llm_core.events import ERROR, ChatEvent, ContentDelta, ReasoningDelta, ToolCallDelta, ToolResult
from llm_core.messages import MAX_CALLS, MAX_MESSAGES, Attachment, CallId, Message, Text, ToolCall, parse_messages
from llm_core.reply_builder import CallBuilder
from llm_core.sessions.records import Turn

APPROVED = "The call was approved."
DECLINED = f"{ERROR}the call was declined."
MAX_REASON_CHARS = 1_000
MAX_PROMPT_MESSAGES = MAX_MESSAGES - 2  # with a system prompt before them they are still allowed

# ── a reply ──────────────────────────────────────────────────────────────────────────────────────────────────────────


def reply_messages(events: Iterable[ChatEvent]) -> tuple[Message, ...]:
    """What the model said and called, as far as the events go, and what the tools that run here gave back.

    Where such tools ran, a reply is several messages: what the model said, the results, what it said then, and so on.
    Nothing where no text came.
    """
    steps = [_Step()]
    for event in events:
        if steps[-1].results and not isinstance(event, ToolResult):
            steps.append(_Step())
        steps[-1].add(event)
    return tuple(message for step in steps for message in step.messages())


class _Step:
    """What the model says until its calls are answered, and the results."""

    def __init__(self) -> None:
        self.results: list[ToolResult] = []
        self._content: list[str] = []
        self._reasoning: list[str] = []
        self._calls = CallBuilder()

    def add(self, event: ChatEvent) -> None:
        match event:
            case ContentDelta(text=text):
                self._content.append(text)
            case ReasoningDelta(text=text):
                self._reasoning.append(text)
            case ToolCallDelta():
                self._calls.add(event)
            case ToolResult():
                self.results.append(event)

    def messages(self) -> Iterator[Message]:
        content, reasoning = "".join(self._content), "".join(self._reasoning) or None
        calls = self._complete_calls()
        if content or reasoning or calls:
            yield Message(role="assistant", content=content, reasoning=reasoning, tool_calls=calls or None)
        for result in self.results:
            yield Message(role="tool", content=result.content, tool_call_id=result.call_id)

    def _complete_calls(self) -> tuple[ToolCall, ...]:
        """Without one that was cut short: nobody can answer it."""
        try:
            calls = self._calls.calls()
        except ValidationError:  # an engine elsewhere may send what no message can have, such as a call without a name
            return ()
        answered = {result.call_id for result in self.results}
        complete = [call for call in calls if call.id in answered or _is_json(call.arguments)]
        return tuple(complete[:MAX_CALLS])


def _is_json(text: str) -> bool:
    try:
        json.loads(text, strict=False)
    except (ValueError, RecursionError):
        return False
    return True


# ── what a turn begins with ──────────────────────────────────────────────────────────────────────────────────────────


def opening_messages(
    message: str | None,
    tool_results: Iterable[Mapping[str, Any]] | None,
    approvals: Iterable[Mapping[str, Any] | Approval] | None = None,
    attachments: Iterable[Mapping[str, Any] | Attachment] | None = None,
) -> tuple[Message, ...]:
    """What a turn begins with: the user's message and its files, or what becomes of the calls of the last reply.

    Raises:
        InvalidRequest: It is both or neither, or something in it is not allowed.
    """
    for name, given in (("tool_results", tool_results), ("approvals", approvals)):
        if message is not None and given is not None:
            raise InvalidRequest(f"{name}: a turn begins with a message or with {name}", param=name)
    if attachments and message is None:
        raise InvalidRequest("attachments: they belong to a message, which is missing", param="attachments")
    if tool_results is not None or approvals is not None:
        results = () if tool_results is None else _results(tool_results)
        return (*results, *(() if approvals is None else map(_decided, checked_approvals(approvals))))
    if message is None:
        raise InvalidRequest("message: what is said is missing; or give tool_results", param="message")
    return parse_messages([{"role": "user", "content": message, "attachments": attachments}])


def _results(given: Iterable[Mapping[str, Any]]) -> tuple[Message, ...]:
    is_list = isinstance(given, Iterable) and not isinstance(given, (str, bytes, Mapping))
    results = tuple(_result(place, result) for place, result in enumerate(given)) if is_list else ()
    if not results:
        raise InvalidRequest(
            'tool_results: must be a list such as [{"tool_call_id": "call_1", "content": "12 °C"}]',
            param="tool_results",
        )
    return results


def _result(place: int, given: Mapping[str, Any]) -> Message:
    param = f"tool_results.{place}"
    if not isinstance(given, Mapping):
        raise InvalidRequest(f'{param}: must be {{"tool_call_id": ..., "content": ...}}', param=param)
    try:
        result = Message.model_validate({"role": "tool", **given})
    except ValidationError as error:
        raise invalid_request(error, param) from None
    if result.role != "tool":
        raise InvalidRequest(f"{param}.role: must be 'tool', or left out", param=f"{param}.role")
    return result


class Approval(BaseModel):
    """Whether a call that waits for somebody to agree is made.

    Attributes:
        reason: What the model is told of a call that is not.
    """

    model_config = ConfigDict(frozen=True, extra="forbid", strict=True)

    tool_call_id: CallId
    approve: bool
    reason: Annotated[Text, Field(max_length=MAX_REASON_CHARS)] = ""


def checked_approvals(given: Iterable[Mapping[str, Any] | Approval]) -> tuple[Approval, ...]:
    """The decisions about calls.

    Raises:
        InvalidRequest: One is not allowed; the message names it.
    """
    is_list = isinstance(given, Iterable) and not isinstance(given, (str, bytes, Mapping))
    approvals = []
    for place, each in enumerate(given if is_list else ()):
        try:
            approvals.append(Approval.model_validate(each))
        except ValidationError as error:
            raise invalid_request(error, f"approvals.{place}") from None
    if not approvals:
        raise InvalidRequest(
            'approvals: must be a list such as [{"tool_call_id": "call_1", "approve": true}]', param="approvals"
        )
    return tuple(approvals)


def _decided(approval: Approval) -> Message:
    """A decision as what was said. The result of a call that is made takes its place."""
    content = APPROVED if approval.approve else f"{DECLINED} {approval.reason}".rstrip()
    return Message(role="tool", content=content, tool_call_id=approval.tool_call_id)


def approved_calls(turns: Sequence[Turn], approvals: Iterable[Approval]) -> tuple[ToolCall, ...]:
    """The calls of the last reply that are made now.

    Raises:
        InvalidRequest: One of those that are decided about waits for nobody.
    """
    approvals = tuple(approvals)
    last = _last_reply(turns)
    awaiting = last.done.awaiting_approval if last is not None and last.done is not None else ()
    for place, approval in enumerate(approvals):
        if approval.tool_call_id not in awaiting:
            param = f"approvals.{place}.tool_call_id"
            said = f"{param}: no call {approval.tool_call_id!r} of the session's last reply waits to be approved"
            raise InvalidRequest(said, param=param)
    approved = {approval.tool_call_id for approval in approvals if approval.approve}
    made = _results_made(turns)
    return tuple(call for call in open_calls(turns) if call.id in approved and call.id not in made)


def results_made(turns: Sequence[Turn], approvals: Iterable[Approval]) -> tuple[ToolResult, ...]:
    """What came of the calls that are decided about again: they were made, and the reply with their results failed
    before its first word. No call is made twice, and none that was made is taken for one that was not."""
    decided, made = {approval.tool_call_id for approval in approvals}, _results_made(turns)
    found = [(call, made[call.id]) for call in open_calls(turns) if call.id in decided and call.id in made]
    return tuple(ToolResult.of_message(call.id, call.name, result) for call, result in found)


def _results_made(turns: Sequence[Turn]) -> dict[str | None, str]:
    """A decision stands in its turn first; where the call was made, its result follows."""
    made: dict[str | None, str] = {}
    for turn in takewhile(lambda turn: not _has_reply(turn), reversed(turns)):
        decided = set[str | None]()
        for message in results_of(turn.messages):
            if message.tool_call_id in decided:
                made.setdefault(message.tool_call_id, message.content)
            decided.add(message.tool_call_id)
    return made


def results_of(opening: Sequence[Message]) -> tuple[Message, ...]:
    """The results of calls that a turn begins with."""
    return tuple(takewhile(lambda message: message.role == "tool", opening))


def open_calls(turns: Sequence[Turn]) -> tuple[ToolCall, ...]:
    """The calls of the last reply that wait for a result. Results that were never replied to may be given again."""
    last = _last_reply(turns)
    return () if last is None else _unanswered(last.messages)


def _last_reply(turns: Sequence[Turn]) -> Turn | None:
    """The turn of the last reply; None where something was said since that may still be answered."""
    for turn in reversed(turns):
        if _has_reply(turn):
            return turn
        if turn.messages[0].role == "user" and not _has_failed(turn):
            return None
    return None


def _unanswered(messages: Sequence[Message]) -> tuple[ToolCall, ...]:
    last = max(place for place, message in enumerate(messages) if message.role == "assistant")
    answered = {result.tool_call_id for result in messages[last + 1 :]}
    return tuple(call for call in messages[last].tool_calls or () if call.id not in answered)


def check_results(results: Sequence[Message], calls: Iterable[ToolCall], *, decisions: int = 0) -> None:
    """Each call needs its one result.

    Args:
        decisions: How many of them, the last ones, say whether a call is made.

    Raises:
        InvalidRequest: Names the call that has none, or the result that belongs to none.
    """
    waiting, given = {call.id for call in calls}, len(results) - decisions
    for place, result in enumerate(results):
        if result.tool_call_id not in waiting:
            field = f"tool_results.{place}" if place < given else f"approvals.{place - given}"
            param, what = f"{field}.tool_call_id", "for a result" if place < given else "to be approved"
            said = f"{param}: no call {result.tool_call_id!r} of the session's last reply waits {what}"
            raise InvalidRequest(said, param=param)
        waiting.discard(result.tool_call_id)
    if waiting:
        param, what = ("approvals", "decision about") if decisions and not given else ("tool_results", "result of")
        raise InvalidRequest(f"{param}: the {what} call {min(waiting)!r} is missing", param=param)


# ── the prompt ───────────────────────────────────────────────────────────────────────────────────────────────────────


def prompt_messages(earlier: Sequence[Turn], now: Sequence[Message]) -> list[Message]:
    """What the model is told of a session: what was said before, then `now`.

    Messages in a row from one speaker, left by a reply that was stopped before its first word, become one: many chat
    templates insist that the speakers take turns. What failed to be answered is left out, since it may be the reason,
    and would fail every message after it too, whether it failed alone or took the engine or the server with it. Calls
    without a result are left out as well: templates insist on results.
    """
    messages = [message for turn in earlier if not _has_failed(turn) for message in turn.messages]
    return _newest(merge_neighbours(_with_results(told([*messages, *now]))))


def _has_failed(turn: Turn) -> bool:
    return turn.status in ("failed", "interrupted") and not _has_reply(turn)


def _has_reply(turn: Turn) -> bool:
    return any(message.role == "assistant" for message in turn.messages)


def _with_results(messages: Iterable[Message]) -> list[Message]:
    """The messages without calls that have no result; of results given twice, the later ones."""
    kept: list[Message] = []
    for message, results in _exchanges(messages):
        calls = tuple(call for call in message.tool_calls or () if call.id in results)
        if calls or message.content or message.reasoning or not message.tool_calls:
            kept.append(message.model_copy(update={"tool_calls": calls or None}))
        kept += [results[call.id] for call in calls]
    return kept


def _exchanges(messages: Iterable[Message]) -> list[tuple[Message, dict[str | None, Message]]]:
    """Each message that is no result, with the results that follow it, by the id of their call."""
    exchanges: list[tuple[Message, dict[str | None, Message]]] = []
    for message in messages:
        if message.role != "tool":
            exchanges.append((message, {}))
        elif exchanges:
            exchanges[-1][1][message.tool_call_id] = message
    return exchanges


def _newest(messages: list[Message]) -> list[Message]:
    """The newest messages, no more than a prompt may have.

    What is left out grows by half of that at a time, so that a prompt begins the same for many turns. They begin with a
    user's message, or, where that alone has more after it, with one of the model's: calls and results stay together.
    """
    more = len(messages) - MAX_PROMPT_MESSAGES
    if more <= 0:
        return messages
    stride = MAX_PROMPT_MESSAGES // 2
    first = -(-more // stride) * stride
    replies = (place for place in range(first, len(messages)) if messages[place].role == "assistant")
    return messages[next(iter(turn_starts(messages, first)), None) or next(replies) :]
