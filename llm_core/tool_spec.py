"""What a model may call and what form its reply must have: tools, the choice among them, and response formats.

The shapes are OpenAI's. A JSON schema is kept as it came; whether it can be held is found out when it is compiled
(`llm_core.chat.grammar`).
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
        return {name: value for name, value in data.items() if value is not None}

    def as_openai(self) -> dict[str, Any]:
        """The shape that OpenAI's API and chat templates know."""
        function = {"name": self.name, "description": self.description, "parameters": self.parameters}
        return {"type": "function", "function": function}


class NamedTool(BaseModel):
    """The choice of one tool: it must be called."""

    model_config = ConfigDict(frozen=True, extra="ignore")

    name: str


def _one_choice(choice: Any) -> Any:
    """Takes OpenAI's `{"type": "function", "function": {"name": ...}}`; the rest is refused in one sentence."""
    if isinstance(choice, NamedTool) or choice in ("auto", "none", "required"):
        return choice
    if isinstance(choice, Mapping):
        named = choice.get("function", choice)
        if isinstance(named, Mapping) and isinstance(named.get("name"), str):
            return {"name": named["name"]}
    raise ValueError('must be "auto", "none", "required" or {"type": "function", "function": {"name": ...}}')


ToolChoice = Annotated[Literal["auto", "none", "required"] | NamedTool, BeforeValidator(_one_choice)]
"""`auto` leaves it to the model, `none` forbids calls, `required` demands one, a named tool demands that one."""


class ResponseFormat(BaseModel):
    """The form that the reply's text must have.

    Attributes:
        json_schema: Of the reply, which is JSON. `{"type": "object"}` for any object.
    """

    model_config = ConfigDict(frozen=True, extra="forbid")

    json_schema: JsonSchema

    @model_validator(mode="before")
    @classmethod
    def _from_openai(cls, data: Any) -> Any:
        """Takes `{"type": "json_object"}` and `{"type": "json_schema", "json_schema": {"schema": {...}}}`."""
        if not isinstance(data, Mapping) or "type" not in data:
            return data
        match data["type"]:
            case "json_object":
                return {"json_schema": {"type": "object"}}
            case "json_schema":
                wrapped = data.get("json_schema")
                if not isinstance(wrapped, Mapping) or not isinstance(wrapped.get("schema"), Mapping):
                    raise ValueError('needs {"type": "json_schema", "json_schema": {"name": ..., "schema": {...}}}')
                return {"json_schema": wrapped["schema"]}
        raise ValueError(f"type must be 'text', 'json_object' or 'json_schema', not {data['type']!r}")
