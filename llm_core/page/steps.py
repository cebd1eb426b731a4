"""A call of a tool in the page's form: what was called, with what, and what came of it, folded away in one line."""

from __future__ import annotations

import json
import re
from dataclasses import dataclass, field
from typing import Any, TypedDict

from llm_core.texts.told import Text, told
from llm_core.tools.builtin import BUILTIN_TOOLS

MAX_BRIEF_CHARS = 60

_BUILTIN = {tool.name for tool in BUILTIN_TOOLS.values()}
_NOT_PLAIN = re.compile(r"[^A-Za-z0-9.-]+")


class Called(TypedDict):
    """What was called with what, as Markdown. It is fenced: whatever is in it is shown and not drawn.

    Attributes:
        result: None until there is one.
    """

    arguments: str
    result: str | None
    failed: bool


@dataclass(slots=True)
class Step:
    """One call while it is made.

    Attributes:
        call_id: What its result refers to.
        arguments: JSON, in the pieces that have come.
        result: None until there is one.
        is_over: Nothing follows, whether there is a result or not.
        waits: It is made once somebody agrees.
    """

    call_id: str
    name: str
    arguments: list[str] = field(default_factory=list)
    result: str | None = None
    failed: bool = False
    is_over: bool = False
    waits: bool = False

    @property
    def title(self) -> Text:
        """What was called. It is drawn as Markdown, and the model may call anything: only plain letters are left."""
        if self.name in _BUILTIN:
            return told(f"widgets.tool_{self.name}")
        return _NOT_PLAIN.sub(" ", self.name[:64]).strip() or told("steps.tool")

    @property
    def brief(self) -> Text:
        """A few words for beside the title: how it went where it went wrong, else what it was called with."""
        if self.failed:
            return told("steps.brief_failed")
        if self.is_over and self.result is None:
            return told("steps.brief_waits" if self.waits else "steps.brief_not_run")
        arguments = _parsed("".join(self.arguments))
        values = arguments.values() if isinstance(arguments, dict) else ()
        text = ", ".join(str(value) for value in values if isinstance(value, (str, int, float)))
        text = " ".join(text.split())
        return text if len(text) <= MAX_BRIEF_CHARS else f"{text[:MAX_BRIEF_CHARS].rstrip()}…"

    @property
    def called(self) -> Called:
        result = None if self.result is None else _fenced(self.result)
        return {"arguments": _fenced("".join(self.arguments)), "result": result, "failed": self.failed}


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
