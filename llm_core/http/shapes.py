"""JSON schemas for the documentation, of what is checked further in or has no model here: tools, messages, events."""

from __future__ import annotations

from typing import Any, get_args

from pydantic import JsonValue

from llm_core.events import CacheMiss
from llm_core.lora import MAX_ADAPTERS, MAX_SCALE
from llm_core.lora import NAME_PATTERN as ADAPTER_NAME_PATTERN
from llm_core.messages import (
    MAX_ATTACHMENT_CHARS,
    MAX_ATTACHMENTS,
    MAX_CALLS,
    MAX_FILE_NAME_CHARS,
    MAX_NAME_CHARS,
    MAX_TEXT_CHARS,
    MEDIA_TYPE_PATTERN,
    UNREAD_FIELDS,
)
from llm_core.request import MAX_LOGIT_BIASES
from llm_core.sessions.exchange import MAX_REASON_CHARS
from llm_core.tool_spec import MAX_DESCRIPTION_CHARS, TOOL_NAME_PATTERN

Schema = dict[str, Any]

# ── tools and formats ────────────────────────────────────────────────────────────────────────────────────────────────

WEATHER: Schema = {
    "type": "function",
    "function": {
        "name": "get_weather",
        "description": "The weather in a city, now",
        "parameters": {"type": "object", "properties": {"city": {"type": "string"}}, "required": ["city"]},
    },
}
_NAMED: Schema = {
    "type": "object",
    "title": "This one",
    "properties": {
        "type": {"const": "function"},
        "function": {"type": "object", "properties": {"name": {"type": "string"}}, "required": ["name"]},
    },
    "required": ["type", "function"],
}
TOOL: Schema = {
    "type": "object",
    "title": "Tool",
    "properties": {
        "type": {"const": "function"},
        "function": {
            "type": "object",
            "properties": {
                "name": {"type": "string", "pattern": TOOL_NAME_PATTERN},
                "description": {"type": "string", "maxLength": MAX_DESCRIPTION_CHARS},
                "parameters": {"type": "object", "description": "JSON schema of the arguments"},
            },
            "required": ["name"],
        },
    },
    "required": ["type", "function"],
}
RESPONSE_FORMAT: Schema = {
    "oneOf": [
        {
            "type": "object",
            "title": "Text or JSON",
            "properties": {
                "type": {"enum": ["text", "json_object"]},
                "schema": {"type": "object", "description": "Of the object"},
            },
            "required": ["type"],
        },
        {
            "type": "object",
            "title": "JSON of a schema",
            "properties": {
                "type": {"const": "json_schema"},
                "json_schema": {
                    "type": "object",
                    "properties": {"name": {"type": "string"}, "schema": {"type": "object"}},
                    "required": ["schema"],
                },
            },
            "required": ["type", "json_schema"],
        },
    ]
}
_ALLOWED: Schema = {
    "type": "object",
    "title": "Some of them",
    "properties": {
        "type": {"const": "allowed_tools"},
        "allowed_tools": {
            "type": "object",
            "properties": {"mode": {"enum": ["auto", "required"]}, "tools": {"type": "array", "items": _NAMED}},
            "required": ["mode", "tools"],
        },
    },
    "required": ["type", "allowed_tools"],
}
CHOICE = {"anyOf": [{"enum": ["auto", "none", "required", "any"]}, _NAMED, _ALLOWED]}
LOGIT_BIAS: Schema = {
    "type": "object",
    "propertyNames": {"pattern": "^[0-9]{1,9}$"},
    "additionalProperties": {"type": "number", "minimum": -100, "maximum": 100},
    "maxProperties": MAX_LOGIT_BIASES,
}


def _adapter(field: str, value: Schema) -> Schema:
    scale = {"type": "number", "minimum": -MAX_SCALE, "maximum": MAX_SCALE, "default": 1}
    fields = {field: value, "scale": scale}
    return {"type": "object", "properties": fields, "required": [field], "additionalProperties": False}


LORA: Schema = {
    "type": "array",
    "items": {
        "anyOf": [
            _adapter("name", {"type": "string", "pattern": ADAPTER_NAME_PATTERN}),
            _adapter("id", {"type": "integer", "minimum": 0, "maximum": MAX_ADAPTERS - 1}),
        ]
    },
    "maxItems": MAX_ADAPTERS,
}

# ── messages ─────────────────────────────────────────────────────────────────────────────────────────────────────────

_TEXT: Schema = {"type": "string", "maxLength": MAX_TEXT_CHARS}
_CALL_ID: Schema = {"type": "string", "minLength": 1, "maxLength": 128}
_NULL: Schema = {"type": "null"}


def _part(kind: str) -> Schema:
    return {"type": "object", "properties": {"type": {"const": kind}, kind: _TEXT}, "required": ["type", kind]}


_CONTENT: Schema = {"anyOf": [_TEXT, {"type": "array", "items": {"anyOf": [_part("text"), _part("refusal")]}}]}
_CALL: Schema = {
    "type": "object",
    "properties": {
        "id": _CALL_ID,
        "type": {"const": "function"},
        "function": {
            "type": "object",
            "properties": {
                "name": {"type": "string", "minLength": 1, "maxLength": MAX_NAME_CHARS},
                "arguments": {
                    "anyOf": [_TEXT, {"type": "object"}, _NULL],
                    "description": "JSON, as text or as it is",
                },
            },
            "required": ["name"],
        },
    },
    "required": ["id", "function"],
}


def _or_null(schema: Schema) -> Schema:
    return {"anyOf": [schema, _NULL]}


def _said(title: str, roles: list[str], fields: Schema, required: list[str]) -> Schema:
    properties = {
        "role": {"enum": roles},
        "content": _CONTENT,
        "reasoning": _or_null(_TEXT),
        "reasoning_content": _or_null(_TEXT),
        "tool_calls": _or_null({"type": "array", "maxItems": 0}),
        "tool_call_id": _NULL,
        "attachments": _or_null({"type": "array", "maxItems": 0}),
        **{name: {"description": "Not read"} for name in sorted(UNREAD_FIELDS)},
        "function_call": _NULL,
    }
    return {
        "type": "object",
        "title": title,
        "properties": properties | fields,
        "required": ["role", *required],
        "additionalProperties": False,
    }


ATTACHMENT: Schema = {
    "type": "object",
    "title": "A file, as text",
    "properties": {
        "name": {"type": "string", "minLength": 1, "maxLength": MAX_FILE_NAME_CHARS},
        "media_type": {"type": "string", "pattern": MEDIA_TYPE_PATTERN, "default": "text/plain"},
        "text": {"type": "string", "minLength": 1, "maxLength": MAX_ATTACHMENT_CHARS},
    },
    "required": ["name", "text"],
    "additionalProperties": False,
}
ATTACHMENTS: Schema = {"type": "array", "items": ATTACHMENT, "maxItems": MAX_ATTACHMENTS}
_REPLY: Schema = {
    "content": _or_null(_CONTENT),
    "refusal": _or_null(_TEXT) | {"description": "Is the content where that is null"},
}
_RESULT_MESSAGE = _said("The result of a call", ["tool"], _REPLY | {"tool_call_id": _CALL_ID}, ["tool_call_id"])
MESSAGE: Schema = {
    "oneOf": [
        _said("What is asked", ["system", "developer"], {}, ["content"]),
        _said("What the user says", ["user"], {"attachments": _or_null(ATTACHMENTS)}, ["content"]),
        _said(
            "A reply",
            ["assistant"],
            _REPLY | {"tool_calls": _or_null({"type": "array", "items": _CALL, "maxItems": MAX_CALLS})},
            [],
        ),
        _RESULT_MESSAGE,
    ]
}
APPROVAL: Schema = {
    "type": "object",
    "title": "A decision about a call",
    "properties": {
        "tool_call_id": _CALL_ID,
        "approve": {"type": "boolean", "description": "Whether it is made"},
        "reason": {"type": "string", "maxLength": MAX_REASON_CHARS, "description": "Why not, for the model"},
    },
    "required": ["tool_call_id", "approve"],
    "additionalProperties": False,
}
RESULT: Schema = _RESULT_MESSAGE | {"required": ["tool_call_id"]}
OPENAI_MESSAGE: Schema = {
    "oneOf": [
        {name: value for name, value in kind.items() if name != "additionalProperties"} for kind in MESSAGE["oneOf"]
    ]
}


def either(one: str, *others: str) -> list[dict[str, JsonValue]]:
    """Of fields the one, or some of the others, are there and not null."""
    there: dict[str, JsonValue] = {"not": _NULL}
    choices: list[dict[str, JsonValue]] = []
    for place, field in enumerate((one, *others)):
        gone = others if field == one else (one, *others[: place - 1])
        properties: dict[str, JsonValue] = {**dict.fromkeys(gone, _NULL), field: there}
        choices.append({"required": [field], "properties": properties})
    return choices


def there(field: str) -> dict[str, JsonValue]:
    """A field is there, and not null."""
    return {"required": [field], "properties": {field: {"not": _NULL}}}


# ── events ───────────────────────────────────────────────────────────────────────────────────────────────────────────

_COUNT: Schema = {"type": "integer", "minimum": 0}
_TIME: Schema = {"type": "number", "minimum": 0}


def _event(**fields: Schema) -> Schema:
    return {"type": "object", "title": next(iter(fields)), "properties": fields, "required": [*fields]}


def _pieces() -> Schema:
    function = {"type": "object", "properties": {"name": {"type": "string"}, "arguments": {"type": "string"}}}
    fields = {"index": _COUNT, "id": {"type": "string"}, "type": {"const": "function"}, "function": function}
    return {"type": "array", "items": {"type": "object", "properties": fields, "required": ["index", "function"]}}


def _figures(names: str, figure: Schema) -> Schema:
    return {"type": "object", "properties": dict.fromkeys(names.split(), figure), "required": names.split()}


_STRING: Schema = {"type": "string"}


def _strings(*names: str) -> Schema:
    return {"type": "object", "properties": dict.fromkeys(names, _STRING), "required": [*names]}


_USAGE = _figures("prompt_tokens cached_tokens completion_tokens draft_tokens accepted_tokens reasoning_tokens", _COUNT)
_USAGE["properties"] |= {"cache_miss": {"enum": [*get_args(CacheMiss), None]}}
EVENT: Schema = {
    "anyOf": [
        _event(queue_position=_COUNT, stream_id=_STRING),
        _event(content=_STRING),
        _event(reasoning=_STRING),
        _event(tool_calls=_pieces()),
        _event(tool_started=_strings("tool_call_id", "name", "server")),
        _event(tool_approval=_strings("tool_call_id", "name", "arguments", "server")),
        _event(tool_result=_strings("tool_call_id", "name", "content")),
        _event(
            done={"const": True},
            finish_reason={"enum": ["stop", "length", "tool_calls", "cancelled", "timeout"]},
            usage=_USAGE,
            timings=_figures("queue_ms ttft_ms tokens_per_second", _TIME),
        ),
        _event(error=_STRING, code=_STRING),
    ]
}
CHUNK: Schema = {
    "anyOf": [
        _event(
            id=_STRING,
            object={"const": "chat.completion.chunk"},
            created=_COUNT,
            model=_STRING,
            choices={"type": "array", "items": {"type": "object"}},
        ),
        _event(error={"type": "object"}),
    ]
}


OBJECT: Schema = {"application/json": {"schema": {"type": "object"}}}


def event_stream(data: Schema, example: str, *, numbered: bool) -> Schema:
    """A media type of server-sent events; `itemSchema` is OpenAPI's 3.2, and passed over by readers of 3.1.

    Args:
        data: What the JSON of each event is.
        numbered: Whether each has an id.
    """
    fields: Schema = {"data": {"type": "string", "contentMediaType": "application/json", "contentSchema": data}}
    if numbered:
        fields = {"id": {"type": "string", "pattern": "^[0-9]+$"}} | fields
    else:  # OpenAI's last one is no JSON
        fields = {"data": {"anyOf": [{"const": "[DONE]"}, fields["data"]]}}
    item = {"type": "object", "properties": fields, "required": [*fields]}
    return {"text/event-stream": {"itemSchema": item, "example": example}}
