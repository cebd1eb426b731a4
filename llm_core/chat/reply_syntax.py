"""How one model writes its replies: what stands around calls and thinking."""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import dataclass

from llm_core.chat.formats import ReasoningFormat
from llm_core.chat.tool_formats import ToolFormat


@dataclass(frozen=True, slots=True)
class ReplySyntax:
    """How one model writes.

    Attributes:
        calls: How it calls tools.
        reasoning: How it marks its thinking.
        thinks: Whether it does think; else no room is left for it where a form is asked for.
        control_token: The id of the control token that has a text as its name, None where there is none.
    """

    calls: ToolFormat
    reasoning: ReasoningFormat
    thinks: bool
    control_token: Callable[[str], int | None]
