"""A session as a file to keep: JSON for programs, Markdown for people."""

from __future__ import annotations

import json
import re
from collections.abc import Iterable, Mapping
from datetime import UTC, datetime
from typing import Any

from llm_core.attachments.rendering import fenced
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
        "pinned": summary.pinned,
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


def version_dict(turn: Turn) -> dict[str, Any]:
    """A turn as JSON, whether it is what was said or was set aside.

    `after` is the stream of the turn that it follows, None for one that a session begins with.
    """
    return {
        "stream_id": turn.stream_id,
        "after": turn.after,
        "chosen": not turn.is_set_aside,
        "created_at": iso_time(turn.created_at),
        "messages": _message_dicts(turn),
    }


def to_json(session: Session, set_aside: Iterable[Turn] = ()) -> str:
    """The session as a JSON document.

    Args:
        set_aside: Turns that are not what was said any more.
    """
    document = session_dict(session) | {"set_aside": [version_dict(turn) for turn in set_aside]}
    return json.dumps(document, ensure_ascii=False, indent=2)


def to_markdown(session: Session) -> str:
    """The session as a Markdown document."""
    begun = datetime.fromtimestamp(session.created_at, UTC).strftime("%Y-%m-%d %H:%M UTC")
    lines = [f"# {_plain(session.title)}", "", f"{begun}, session `{session.session_id}`", ""]
    if session.system_prompt:
        lines += ["**System**", "", _closed(session.system_prompt), ""]
    names = {call.id: call.name for message in session.messages() for call in message.tool_calls or ()}
    for turn in session.turns:
        for message in turn.messages:
            lines += _message_lines(message, names)
        if turn.done and turn.done.model:
            lines += [f"<small>{turn.done.model}</small>", ""]
        if turn.status not in ("complete", "running"):
            lines += [f"*{turn.status}: {_plain(turn.error)}*" if turn.error else f"*{turn.status}*", ""]
    return "\n".join(lines)


def _message_lines(message: Message, names: Mapping[str, str]) -> list[str]:
    """A message in Markdown.

    Args:
        names: Of the functions, by the id of a call.
    """
    if message.role == "tool":
        name = names.get(message.tool_call_id or "", "")
        return [f"**{_SPEAKERS['tool']}** `{name}`", "", fenced(message.content), ""]
    lines = [f"**{_SPEAKERS[message.role]}**", ""]
    for each in message.attachments or ():
        lines += [f"attached {_plain(each.name)}", "", fenced(each.text), ""]
    if message.content or not message.tool_calls:
        lines += [_closed(message.content), ""]
    for call in message.tool_calls or ():
        lines += [f"calls `{call.name}`", "", fenced(call.arguments, "json"), ""]
    return lines


def _plain(text: str) -> str:
    """`text` in one line that Markdown makes nothing of."""
    return re.sub(r"([\\`*_\[\]<>#|~$&])", r"\\\1", " ".join(text.split()))


def _closed(text: str) -> str:
    """`text` with an end to its block of code, where it breaks off in one: what follows would be part of it."""
    fence = ""
    for line in text.splitlines():
        mark = re.match(r" {0,3}(`{3,}|~{3,})", line)
        if mark is None:
            continue
        if not fence:
            fence = mark[1]
        elif mark[1].startswith(fence) and line.strip() == mark[1]:
            fence = ""
    return f"{text}\n{fence}" if fence else text


def _message_dicts(turn: Turn) -> list[dict[str, Any]]:
    messages = [_message_dict(message) for message in turn.messages]
    messages[-1] |= {"status": turn.status, "stream_id": turn.stream_id}
    if turn.finish_reason:
        messages[-1]["finish_reason"] = turn.finish_reason
    if turn.versions:
        messages[-1]["versions"] = [version.stream_id for version in turn.versions]
    if turn.error:
        messages[-1]["error"] = turn.error
    messages[-1] |= {name: value for name, value in (turn.figures or {}).items() if name != "asked"}
    messages[0]["created_at"] = iso_time(turn.created_at)
    return messages


def _message_dict(message: Message) -> dict[str, Any]:
    return message.model_dump(exclude_none=True)
