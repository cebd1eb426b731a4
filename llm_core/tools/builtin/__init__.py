"""Tools that are safe to offer to anyone: they read nothing, change nothing, and cannot be kept busy."""

from __future__ import annotations

from collections.abc import Mapping

from llm_core.tools.builtin.calculator import calculate
from llm_core.tools.builtin.clock import current_time
from llm_core.tools.builtin.units import convert_units
from llm_core.tools.python_tool import PythonTool, tool

BUILTIN_TOOLS: Mapping[str, PythonTool] = {
    "Calculator": tool(calculate),
    "Date and time": tool(current_time),
    "Unit conversion": tool(convert_units),
}
"""By what people call them."""

__all__ = ["BUILTIN_TOOLS", "calculate", "convert_units", "current_time"]
