"""What a model may call and what form its reply must have: tools, the choice among them, and response formats.

The shapes are OpenAI's. A JSON schema is kept as it came; whether it can be held is found out when it is compiled
(`llm_core.structured_output`).
"""

from __future__ import annotations

import json
from collections.abc import Mapping
from typing import Annotated, Any, Literal

from pydantic import AfterValidator, BaseModel, BeforeValidator, ConfigDict, Field, model_validator

from llm_core.messages import Text

MAX_TOOLS = 128
MAX_DESCRIPTION_CHARS = 20_000
TOOL_NAME_PATTERN = r"^[A-Za-z0-9_.-]{1,64}$"

ToolName = Annotated[str, Field(pattern=TOOL_NAME_PATTERN)]


def _is_json(schema: dict[str, Any]) -> dict[str, Any]:
    """Refuses what the prompt and the grammar could not write down: lone surrogates, NaN, thousands of levels."""
    try:
        json.dumps(schema, ensure_ascii=False, allow_nan=False).encode()
    except (TypeError, ValueError, RecursionError) as error:
        raise ValueError(f"cannot be written as JSON: {error}") from None
    return schema


JsonSchema = Annotated[dict[str, Any], AfterValidator(_is_json)]
_TOOL_SHAPE = '{"type": "function", "function": {"name": ..., "description": ..., "parameters": {...}}}'
NO_PARAMETERS: JsonSchema = {"type": "object", "properties": {}, "additionalProperties": False}


def not_null(given: Mapping[Any, Any]) -> dict[Any, Any]:
    """What is null is as good as left out."""
    return {name: value for name, value in given.items() if value is not None}


class ToolSpec(BaseModel):
    """A function that the model may call.

    Attributes:
        name: 1 to 64 letters, digits, dots, dashes or underscores.
        description: What it does, for the model to read.
        parameters: JSON schema of its arguments, an object's.
    """

    model_config = ConfigDict(frozen=True, extra="ignore")

    name: ToolName
    description: Annotated[Text, Field(max_length=MAX_DESCRIPTION_CHARS)] = ""
    parameters: JsonSchema = Field(default_factory=lambda: dict(NO_PARAMETERS))

    @model_validator(mode="before")
    @classmethod
    def _unwrap(cls, data: Any) -> Any:
        """Takes OpenAI's `{"type": "function", "function": {...}}`; what is null there is as good as left out."""
        if not isinstance(data, Mapping):
            return data
        if "function" in data and data.get("type", "function") == "function":
            data = data["function"]
        elif "name" not in data:
            raise ValueError(f"needs {_TOOL_SHAPE}; there are no tools of other types here")
        if not isinstance(data, Mapping):
            return data
        return not_null(data)

    def as_openai(self) -> dict[str, Any]:
        """The shape that OpenAI's API and chat templates know."""
        function = {"name": self.name, "description": self.description, "parameters": self.parameters}
        return {"type": "function", "function": function}


class NamedTool(BaseModel):
    """The choice of one tool: it must be called."""

    model_config = ConfigDict(frozen=True, extra="ignore")

    name: str


class AllowedTools(BaseModel):
    """The choice among some of the tools: the others must not be called."""

    model_config = ConfigDict(frozen=True, extra="ignore")

    mode: Literal["auto", "required"]
    names: Annotated[tuple[str, ...], Field(min_length=1)]


_CHOICES = {"auto": "auto", "none": "none", "required": "required", "any": "required"}


def _one_choice(choice: Any) -> Any:
    """Takes what OpenAI's API takes, and `any`, which is Mistral's and Anthropic's word for `required`; the rest is
    refused in one sentence."""
    if isinstance(choice, (NamedTool, AllowedTools)):
        return choice
    if isinstance(choice, Mapping):
        if choice.get("type") == "allowed_tools":
            return _allowed(choice.get("allowed_tools", choice))
        named = choice.get("function", choice)
        if isinstance(named, Mapping) and isinstance(named.get("name"), str):
            return {"name": named["name"]}
        choice = choice.get("type")
    if isinstance(choice, str) and choice in _CHOICES:
        return _CHOICES[choice]
    raise ValueError('must be "auto", "none", "required" or {"type": "function", "function": {"name": ...}}')


def _allowed(given: Any) -> dict[str, Any]:
    """OpenAI's `allowed_tools`, in the shapes of both of its APIs."""
    tools = given.get("tools") if isinstance(given, Mapping) else None
    named = [tool.get("function", tool) if isinstance(tool, Mapping) else None for tool in tools or ()]
    names = [each.get("name") if isinstance(each, Mapping) else None for each in named]
    mode = given.get("mode", "auto") if isinstance(given, Mapping) else None
    if not names or not all(isinstance(name, str) for name in names) or mode not in ("auto", "required"):
        raise ValueError('allowed_tools needs {"mode": "auto" or "required", "tools": [{"type": "function", ...}]}')
    return {"mode": mode, "names": names}


ToolChoice = Annotated[Literal["auto", "none", "required"] | NamedTool | AllowedTools, BeforeValidator(_one_choice)]
"""`auto` leaves it to the model, `none` forbids calls, `required` demands one, a named tool demands that one.
Allowed tools are those that may be called; `build_request` leaves the others out."""


def is_any_text(wanted: Any) -> bool:
    """Whether a response format asks for no form."""
    return isinstance(wanted, Mapping) and not_null(wanted) == {"type": "text"}


class ResponseFormat(BaseModel):
    """The form that the reply's text must have.

    Attributes:
        json_schema: Of the reply, which is JSON. `{"type": "object"}` for any object.
    """

    model_config = ConfigDict(frozen=True, extra="forbid")

    json_schema: JsonSchema

    @model_validator(mode="before")
    @classmethod
    def _from_any_dialect(cls, data: Any) -> Any:
        """Takes OpenAI's forms, and the others in which its clients say a schema: see `_schema_of`."""
        if not isinstance(data, Mapping) or "type" not in data:
            return data
        given = not_null(data)
        if given.get("type") not in ("text", "json_object", "json", "json_schema"):
            raise ValueError(f"type must be 'text', 'json_object' or 'json_schema', not {data['type']!r}")
        if unknown := sorted(set(map(str, given)) - _READ_OF_A_FORMAT):
            raise ValueError(f"has {unknown[0][:100]!r}, which is not read here; a schema goes into json_schema.schema")
        schemas = [given[name] for name in _PLACES_OF_A_SCHEMA if name in given]
        if len(schemas) > 1:
            raise ValueError("has two schemas; send one of them, in json_schema.schema")
        if given["type"] == "text":
            raise ValueError("has a schema beside the type 'text'; a reply of that form has the type 'json_schema'")
        if schemas:
            return {"json_schema": _schema_of(schemas[0])}
        if given["type"] == "json_schema":
            raise ValueError('needs {"type": "json_schema", "json_schema": {"name": ..., "schema": {...}}}')
        return {"json_schema": {"type": "object"}}


# OpenAI's chat completions; its responses and llama.cpp; Hugging Face's text generation.
_PLACES_OF_A_SCHEMA = ("json_schema", "schema", "value")
_READ_OF_A_FORMAT = {"type", "name", "description", "strict", *_PLACES_OF_A_SCHEMA}
_BESIDE_A_SCHEMA = {"name", "description", "strict", "schema"}


def _schema_of(given: Any) -> Any:
    """The schema in `{"name": ..., "schema": {...}}`, or what stands in its place."""
    if not isinstance(given, Mapping):
        raise ValueError("has a schema that is no object")
    wrapped = not_null(given)
    is_wrapped = isinstance(wrapped.get("schema"), Mapping) and set(wrapped) <= _BESIDE_A_SCHEMA
    if not is_wrapped and wrapped and set(wrapped) <= _BESIDE_A_SCHEMA:
        raise ValueError('needs {"type": "json_schema", "json_schema": {"name": ..., "schema": {...}}}')
    return wrapped["schema"] if is_wrapped else given
