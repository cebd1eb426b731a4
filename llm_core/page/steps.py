"""A call of a tool in the page's form: what was called, with what, and what came of it, folded away in one line."""

from __future__ import annotations

import json
import re
from dataclasses import dataclass, field
from typing import Any

from llm_core.tools.builtin import BUILTIN_TOOLS

MAX_BRIEF_CHARS = 60
FAILED, NOT_RUN = "failed", "not run"

_LABELS = {tool.name: label for label, tool in BUILTIN_TOOLS.items()}
_NOT_PLAIN = re.compile(r"[^A-Za-z0-9.-]+")


@dataclass(slots=True)
class Step:
    """One call while it is made.

    Attributes:
        call_id: What its result refers to.
        arguments: JSON, in the pieces that have come.
        result: None until there is one.
        is_over: Nothing follows, whether there is a result or not.
    """

    call_id: str
    name: str
    arguments: list[str] = field(default_factory=list)
    result: str | None = None
    failed: bool = False
    is_over: bool = False

    @property
    def title(self) -> str:
        """What was called. It is drawn as Markdown, and the model may call anything: only plain letters are left."""
        return _LABELS.get(self.name) or _NOT_PLAIN.sub(" ", self.name[:64]).strip() or "Tool"

    @property
    def brief(self) -> str:
        """A few words for beside the title: how it went where it went wrong, else what it was called with."""
        if self.failed:
            return FAILED
        if self.is_over and self.result is None:
            return NOT_RUN
        arguments = _parsed("".join(self.arguments))
        values = arguments.values() if isinstance(arguments, dict) else ()
        text = ", ".join(str(value) for value in values if isinstance(value, (str, int, float)))
        text = " ".join(text.split())
        return text if len(text) <= MAX_BRIEF_CHARS else f"{text[:MAX_BRIEF_CHARS].rstrip()}…"

    @property
    def text(self) -> str:
        """All of it, as Markdown. Arguments and results are fenced: whatever is in them is shown and not drawn."""
        parts = [f"Called with\n\n{_fenced(''.join(self.arguments))}"]
        if self.result is not None:
            parts.append(f"{'Failed' if self.failed else 'Result'}\n\n{_fenced(self.result)}")
        return "\n\n".join(parts)


def _fenced(text: str) -> str:
    """A text in a block of code, set out where it is JSON with parts."""
    value = _parsed(text)
    is_json = isinstance(value, (dict, list))
    shown = json.dumps(value, ensure_ascii=False, indent=2) if is_json else text
    fence = "`" * max([3, *(len(run) + 1 for run in re.findall(r"`+", shown))])
    return f"{fence}{'json' if is_json else 'text'}\n{shown}\n{fence}"


def _parsed(text: str) -> Any:
    try:
        return json.loads(text)
    except (ValueError, RecursionError):
        return None
