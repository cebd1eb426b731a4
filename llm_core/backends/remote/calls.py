"""Calls of engines that know no tools, or not all that is said of them.

llama-server drops tools where the model's template knows none: then they stand in the system prompt, and calls in the
text. A call that is demanded where `tool_choice` does nothing is asked for as JSON, by a schema, and the reply is read
as one that begins a call without a mark. So it is with a template that knows tools too, if the model writes no call:
llama-server lets any text stand before it.
"""

from __future__ import annotations

from typing import Any

from llm_core.chat.tool_prompt import in_words
from llm_core.request import ChatRequest
from llm_core.tool_spec import NamedTool, ResponseFormat, ToolSpec


def demanded(request: ChatRequest) -> tuple[ToolSpec, ...]:
    """The tools of which one must be called; none where the model may answer with text."""
    choice = request.tool_choice
    if isinstance(choice, NamedTool):
        return tuple(tool for tool in request.tools if tool.name == choice.name)
    return request.tools if choice == "required" else ()


def as_text(request: ChatRequest) -> ChatRequest:
    """The request with its tools, and the calls of earlier turns, in its texts."""
    messages = tuple(in_words(request.messages, request.callable_tools))
    return request.model_copy(update={"messages": messages, "tools": (), "tool_choice": "auto"})


def as_json(request: ChatRequest) -> ChatRequest:
    """The request for a call that is demanded, in other words: for a JSON object with its name and its arguments."""
    tools = demanded(request)
    calls = [_call_of(tool, f"arguments_{number}") for number, tool in enumerate(tools)]
    schema: dict[str, Any] = dict(calls[0]) if len(calls) == 1 else {"anyOf": calls}
    defs = {
        f"arguments_{number}": _moved(tool.parameters, f"#/$defs/arguments_{number}")
        for number, tool in enumerate(tools)
    }
    changed: dict[str, Any] = {
        "messages": tuple(in_words(request.messages, tools)),
        "tools": (),
        "tool_choice": "auto",
        "response_format": ResponseFormat(json_schema=schema | {"$defs": defs}),
    }
    return request.model_copy(update=changed)


def _call_of(tool: ToolSpec, definition: str) -> dict[str, Any]:
    return {
        "type": "object",
        "properties": {"name": {"const": tool.name}, "arguments": {"$ref": f"#/$defs/{definition}"}},
        "required": ["name", "arguments"],
        "additionalProperties": False,
    }


def _moved(schema: Any, to: str) -> Any:
    """A schema whose refs lead into itself at its new place."""
    if isinstance(schema, list):
        return [_moved(each, to) for each in schema]
    if not isinstance(schema, dict):
        return schema
    return {
        key: f"{to}{value[1:]}"
        if key == "$ref" and isinstance(value, str) and value.startswith("#")
        else _moved(value, to)
        for key, value in schema.items()
    }
