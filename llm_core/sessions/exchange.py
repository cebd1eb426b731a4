"""From the events of a reply to messages, and from turns to a prompt: calls and their results stay together.

Nothing here knows the database or the model.
"""

from __future__ import annotations

import json
from collections.abc import Iterable, Iterator, Mapping, Sequence
from typing import Any

from pydantic import ValidationError

from llm_core.complaints import invalid_request
from llm_core.conversation import merge_neighbours, turn_starts
from llm_core.errors import InvalidRequest
from llm_core.events import CallBuilder, ChatEvent, ContentDelta, ReasoningDelta, ToolCallDelta, ToolResult
from llm_core.messages import MAX_CALLS, MAX_MESSAGES, Message, ToolCall, parse_messages
from llm_core.sessions.records import Turn

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


def opening_messages(message: str | None, tool_results: Iterable[Mapping[str, Any]] | None) -> tuple[Message, ...]:
    """What a turn begins with: the user's message, or the results of the calls of the last reply.

    Raises:
        InvalidRequest: It is both or neither, or something in it is not allowed.
    """
    if message is not None and tool_results is not None:
        raise InvalidRequest("tool_results: a turn begins with a message or with tool_results", param="tool_results")
    if tool_results is not None:
        return _results(tool_results)
    if message is None:
        raise InvalidRequest("message: what is said is missing; or give tool_results", param="message")
    return parse_messages([{"role": "user", "content": message}])


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


def open_calls(turns: Sequence[Turn]) -> tuple[ToolCall, ...]:
    """The calls of the last reply that wait for a result. Results that were never replied to may be given again."""
    for turn in reversed(turns):
        if _has_reply(turn):
            return _unanswered(turn.messages)
        if turn.messages[0].role == "user" and not _has_failed(turn):
            return ()
    return ()


def _unanswered(messages: Sequence[Message]) -> tuple[ToolCall, ...]:
    last = max(place for place, message in enumerate(messages) if message.role == "assistant")
    answered = {result.tool_call_id for result in messages[last + 1 :]}
    return tuple(call for call in messages[last].tool_calls or () if call.id not in answered)


def check_results(results: Iterable[Message], calls: Iterable[ToolCall]) -> None:
    """Each call needs its one result.

    Raises:
        InvalidRequest: Names the call that has none, or the result that belongs to none.
    """
    waiting = {call.id for call in calls}
    for place, result in enumerate(results):
        if result.tool_call_id not in waiting:
            param = f"tool_results.{place}.tool_call_id"
            raise InvalidRequest(
                f"{param}: no call {result.tool_call_id!r} of the session's last reply waits for a result", param=param
            )
        waiting.discard(result.tool_call_id)
    if waiting:
        raise InvalidRequest(f"tool_results: the result of call {min(waiting)!r} is missing", param="tool_results")


# ── the prompt ───────────────────────────────────────────────────────────────────────────────────────────────────────


def prompt_messages(earlier: Sequence[Turn], now: Sequence[Message]) -> list[Message]:
    """What the model is told of a session: what was said before, then `now`.

    Messages in a row from one speaker, left by a reply that was stopped before its first word, become one: many chat
    templates insist that the speakers take turns. What failed to be answered is left out, since it may be the reason,
    and would fail every message after it too, whether it failed alone or took the engine or the server with it. Calls
    without a result are left out as well: templates insist on results.
    """
    messages = [message for turn in earlier if not _has_failed(turn) for message in turn.messages]
    return _newest(merge_neighbours(_with_results([*messages, *now])))


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
