"""A call's arguments for dialects that send them as JSON and not as text."""

from __future__ import annotations

import json
from typing import Any

from llm_core.messages import ToolCall


def read_arguments(call: ToolCall) -> Any:
    """What they are; those of a call that was cut short cannot be read, and are empty."""
    try:
        return json.loads(call.arguments)
    except (ValueError, RecursionError):
        return {}
