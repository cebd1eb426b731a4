"""A session as a file to keep: JSON for programs, Markdown for people."""

from __future__ import annotations

import json
import re
from collections.abc import Mapping
from datetime import UTC, datetime
from typing import Any

from llm_core.messages import Message
from llm_core.sessions.records import Session, SessionSummary, Turn

_SPEAKERS = {"user": "You", "assistant": "Assistant", "tool": "Tool", "system": "System"}


def iso_time(seconds: float) -> str:
    """Seconds since 1970 as ISO 8601 in UTC."""
    return datetime.fromtimestamp(seconds, UTC).isoformat(timespec="milliseconds").replace("+00:00", "Z")


def summary_dict(summary: SessionSummary) -> dict[str, Any]:
    """A row of the list of sessions, as JSON."""
    return {
        "session_id": summary.session_id,
        "title": summary.title,
        "turns": summary.turns,
        "busy": summary.busy,
        "created_at": iso_time(summary.created_at),
        "updated_at": iso_time(summary.updated_at),
    }


def session_dict(session: Session) -> dict[str, Any]:
    """A session as JSON: its messages in order. The last message of a turn has the turn's status and figures."""
    return {
        "session_id": session.session_id,
        "title": session.title,
        "system_prompt": session.system_prompt,
        "model": session.model,
        "created_at": iso_time(session.created_at),
        "updated_at": iso_time(session.updated_at),
        "messages": [message for turn in session.turns for message in _message_dicts(turn)],
    }


def to_json(session: Session) -> str:
    """The session as a JSON document."""
    return json.dumps(session_dict(session), ensure_ascii=False, indent=2)


def to_markdown(session: Session) -> str:
    """The session as a Markdown document."""
    lines = [f"# {session.title}", "", f"{iso_time(session.created_at)}, session `{session.session_id}`", ""]
    if session.system_prompt:
        lines += ["**System**", "", session.system_prompt, ""]
    names = {call.id: call.name for message in session.messages() for call in message.tool_calls or ()}
    for turn in session.turns:
        for message in turn.messages:
            lines += _message_lines(message, names)
        if turn.done and turn.done.model:
            lines += [f"<small>{turn.done.model}</small>", ""]
        if turn.status not in ("complete", "running"):
            lines += [f"*{turn.status}*", ""]
    return "\n".join(lines)


def _message_lines(message: Message, names: Mapping[str, str]) -> list[str]:
    """A message in Markdown.

    Args:
        names: Of the functions, by the id of a call.
    """
    if message.role == "tool":
        name = names.get(message.tool_call_id or "", "")
        return [f"**{_SPEAKERS['tool']}** `{name}`", "", *_fenced(message.content), ""]
    lines = [f"**{_SPEAKERS[message.role]}**", ""]
    if message.content or not message.tool_calls:
        lines += [message.content, ""]
    for call in message.tool_calls or ():
        lines += [f"calls `{call.name}`", "", *_fenced(call.arguments, "json"), ""]
    return lines


def _fenced(text: str, kind: str = "") -> list[str]:
    """`text` as a code block that nothing in it can end."""
    longest = max((len(run) for run in re.findall("`+", text)), default=0)
    fence = "`" * max(3, longest + 1)
    return [f"{fence}{kind}", text, fence]


def _message_dicts(turn: Turn) -> list[dict[str, Any]]:
    messages = [_message_dict(message) for message in turn.messages]
    messages[-1] |= {"status": turn.status, "stream_id": turn.stream_id}
    if turn.finish_reason:
        messages[-1]["finish_reason"] = turn.finish_reason
    if turn.error:
        messages[-1]["error"] = turn.error
    messages[-1] |= turn.figures or {}
    messages[0]["created_at"] = iso_time(turn.created_at)
    return messages


def _message_dict(message: Message) -> dict[str, Any]:
    return message.model_dump(exclude_none=True)
