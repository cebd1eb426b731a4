"""What a request for a response may have, and what it means here.

What would change the answer and is not done here is refused by name; what changes nothing is ignored.
"""

from __future__ import annotations

from typing import Annotated, Any, Literal

from pydantic import BaseModel, BeforeValidator, ConfigDict, Field, WithJsonSchema, field_validator, model_validator

from llm_core.complaints import Misplaced
from llm_core.errors import InvalidRequest
from llm_core.http.bodies import Sampling
from llm_core.http.dialect import read_dialect, thinking_of_effort
from llm_core.http.openai_responses.items import JSON, Input
from llm_core.messages import Text
from llm_core.numbers import Whole
from llm_core.options import LEAVE_OUT_OLDEST
from llm_core.request import MAX_TOP_LOGPROBS, RESPONSE_PLACE, TOOL_PLACE, MaxTokens
from llm_core.tool_spec import MAX_DESCRIPTION_CHARS, MAX_TOOLS, JsonSchema, ToolName, not_null

MAX_METADATA = 16
LOGPROBS = "message.output_text.logprobs"
FIELDS = {
    "messages": "input",
    "tool_results": "input",
    "max_tokens": "max_output_tokens",
    "response_format": "text.format",
    RESPONSE_PLACE: "text.format.schema",
    TOOL_PLACE: "tools.*.parameters",
    "thinking": "reasoning.effort",
    "overflow": "truncation",
    LEAVE_OUT_OLDEST: 'truncation: "auto"',
    "logprobs": "top_logprobs",
}
"""Options of ours, by the fields that say them here."""

_NOT_DONE = {
    "context_management": "is not done here; truncation is",
    "moderation": "is not done here; leave it out",
    "prompt": "names a prompt that is kept at OpenAI; send instructions and input",
    "messages": "is called input in this format",
    "max_tokens": "is called max_output_tokens in this format",
    "response_format": "is called text.format in this format",
    "functions": "is OpenAI's form of 2023, which is not read here; send tools",
    "function_call": "is OpenAI's form of 2023, which is not read here; send tool_choice",
}
_NAMED: JSON = {
    "type": "object",
    "properties": {"type": {"const": "function"}, "name": {"type": "string"}},
    "required": ["type", "name"],
}
_ALLOWED: JSON = {
    "type": "object",
    "properties": {
        "type": {"const": "allowed_tools"},
        "mode": {"enum": ["auto", "required"]},
        "tools": {"type": "array", "items": _NAMED},
    },
    "required": ["type", "mode", "tools"],
}
_CHOICE = {"anyOf": [{"enum": ["auto", "none", "required"]}, _NAMED, _ALLOWED]}

ShortText = Annotated[Text, Field(max_length=512)]
Id = Annotated[Text, Field(min_length=1, max_length=128)]
Metadata = Annotated[dict[Annotated[Text, Field(max_length=64)], ShortText], Field(max_length=MAX_METADATA)]


class _Part(BaseModel):
    model_config = ConfigDict(frozen=True, extra="ignore", strict=True)


class FunctionTool(_Part):
    """A function that the model may call; you run it. Its calls always have the form of `parameters`."""

    type: Literal["function"]
    name: ToolName
    description: Annotated[Text, Field(max_length=MAX_DESCRIPTION_CHARS)] | None = None
    parameters: JsonSchema | None = None
    strict: bool | None = None


class Reasoning(_Part):
    effort: ShortText | None = Field(None, description="`none` switches thinking off; others are hints")
    summary: ShortText | None = None


class TextForm(_Part):
    format: JsonSchema | None = Field(None, description="`text`, `json_object` or `json_schema`")
    verbosity: ShortText | None = None


def _conversation_id(given: Any) -> Any:
    return given.get("id") if isinstance(given, dict) else given


class _Conversation(BaseModel):
    id: Id


class ResponsesBody(Sampling):
    """What `/v1/responses` reads: OpenAI's fields, and this server's for sampling."""

    model_config = ConfigDict(frozen=True, extra="allow")  # what else is there, `read_dialect` looks at

    input: Input
    instructions: Text | None = Field(None, description="The system prompt, of this response alone")
    previous_response_id: Id | None = Field(None, description="The response that this one goes on from")
    conversation: Annotated[Id, BeforeValidator(_conversation_id, json_schema_input_type=Id | _Conversation)] | None = (
        Field(None, description="The conversation that this response belongs to; a session is one too")
    )
    max_output_tokens: MaxTokens | None = None
    tools: Annotated[list[FunctionTool], Field(max_length=MAX_TOOLS)] | None = None
    tool_choice: Annotated[Text | JsonSchema, WithJsonSchema(_CHOICE)] | None = None
    parallel_tool_calls: bool | None = None
    text: TextForm | None = None
    reasoning: Reasoning | None = None
    truncation: Literal["auto", "disabled"] | None = None
    top_logprobs: Annotated[int, Field(ge=0, le=MAX_TOP_LOGPROBS), Whole] | None = None
    include: Annotated[list[ShortText], Field(max_length=32)] | None = None
    stream: bool | None = None
    store: bool | None = Field(None, description="Whether it is kept, to be read and gone on from; it is by itself")
    background: bool | None = Field(None, description="Answers at once; the response is made without a reader")
    metadata: Metadata | None = None
    prompt_cache_key: ShortText | None = None
    safety_identifier: ShortText | None = None
    service_tier: ShortText | None = None
    user: ShortText | None = None

    @field_validator("tools", mode="before")
    @classmethod
    def _only_functions(cls, tools: Any) -> Any:
        for place, tool in enumerate(tools if isinstance(tools, list) else ()):
            kind = tool.get("type") if isinstance(tool, dict) else "function"
            if isinstance(kind, str) and kind != "function":
                raise Misplaced((place, "type"), f"{kind[:100]!r} is no tool that is here; 'function' is")
        return tools

    @model_validator(mode="after")
    def _can_be_kept(self) -> ResponsesBody:
        if self.conversation is not None and self.previous_response_id is not None:
            raise Misplaced(("previous_response_id",), "cannot be sent together with conversation")
        if self.store is False and self.background:
            raise Misplaced(("background",), "needs a response that is kept; leave out store")
        if self.store is False and self.conversation is not None:
            raise Misplaced(("store",), "must not be false in a conversation, which keeps what is said")
        return self

    def options(self) -> dict[str, Any]:
        """The options of `LLMClient.chat`. None is the default there too.

        Raises:
            InvalidRequest: A field would change the answer, and is not read here.
        """
        given = self.model_extra or {}
        for field, why in _NOT_DONE.items():
            if given.get(field) not in (None, [], {}):
                raise InvalidRequest(f"{field}: {why}.", param=field)
        sampling = {name: getattr(self, name) for name in Sampling.model_fields}
        wants_logprobs = self.top_logprobs is not None or LOGPROBS in (self.include or ())
        own = sampling | {
            "max_tokens": self.max_output_tokens,
            "tools": [not_null(tool.model_dump(exclude={"strict"})) for tool in self.tools or ()] or None,
            "tool_choice": self.tool_choice,
            "parallel_tool_calls": self.parallel_tool_calls,
            "response_format": self.text.format if self.text else None,
            "thinking": thinking_of_effort(self.reasoning.effort) if self.reasoning else None,
            "overflow": "drop_oldest" if self.truncation == "auto" else "error",
            "logprobs": (self.top_logprobs or 0) if wants_logprobs else None,
        }
        return own | read_dialect(given, own)

    def said(self) -> JSON:
        """What a response repeats of its request."""
        return {
            "instructions": self.instructions,
            "previous_response_id": self.previous_response_id,
            "conversation": None if self.conversation is None else {"id": self.conversation},
            "max_output_tokens": self.max_output_tokens,
            "tools": [tool.model_dump() for tool in self.tools or ()],
            "tool_choice": self.tool_choice or "auto",
            "parallel_tool_calls": self.parallel_tool_calls is not False,
            "text": {"format": (self.text and self.text.format) or {"type": "text"}},
            "reasoning": self.reasoning.model_dump() if self.reasoning else {"effort": None, "summary": None},
            "truncation": self.truncation or "disabled",
            "top_logprobs": self.top_logprobs or 0,
            "temperature": self.temperature,
            "top_p": self.top_p,
            "store": self.store is not False,
            "background": bool(self.background),
            "metadata": self.metadata or {},
            "prompt_cache_key": self.prompt_cache_key,
            "safety_identifier": self.safety_identifier,
            "service_tier": "default",
            "user": self.user,
        }


class InputTokensBody(ResponsesBody):
    """What `/v1/responses/input_tokens` reads: a response that is not made."""

    input: Input = Field(default_factory=list)
