"""What Anthropic's clients send, with the range of every field, and what it means here.

Fields that ask for what is not done here are refused by name; those that change nothing of the answer are ignored.
"""

from __future__ import annotations

import json
import re
from typing import Annotated, Any, Literal

from pydantic import BaseModel, BeforeValidator, ConfigDict, Field, JsonValue, ValidationError

from llm_core.complaints import invalid_request
from llm_core.errors import InvalidRequest
from llm_core.messages import MAX_CALLS, MAX_MESSAGES, CallId, Message, Text
from llm_core.numbers import Finite, Whole
from llm_core.options import Overflow
from llm_core.request import MAX_STOPS, MAX_TOKENS_LIMIT, RESPONSE_PLACE, TOOL_PLACE, ModelName, RunTools, TopK, TopP
from llm_core.tool_spec import MAX_TOOLS, JsonSchema, ToolName

# Claude Code's, whose number is another one in each request: read, it would spoil the prefix that is computed already.
_BILLING = re.compile(r"\Ax-anthropic-billing-header:[^\n]*\n*")
FIELDS = {
    "messages": "messages",  # not with a number: the system prompt and results are messages of their own here
    "response_format": "output_config.format",
    RESPONSE_PLACE: "output_config.format.schema",
    TOOL_PLACE: "tools.*.input_schema",
    "stop": "stop_sequences",
}
"""Options of ours, by the fields that say them here."""
_NOT_DONE = ("container", "context_management", "mcp_servers", "output_format")


class _Given(BaseModel):
    # Strict: true is no number. What is ignored, such as `cache_control`, there is no need for here.
    model_config = ConfigDict(frozen=True, extra="ignore", strict=True)


class TextBlock(_Given):
    type: Literal["text"]
    text: Text


def _as_block(content: Any) -> Any:
    return [{"type": "text", "text": content}] if isinstance(content, str) else content


# Not a union with a text: a block that is none of these would be refused as no text, and not by its name.
_Texts = Annotated[list[TextBlock], BeforeValidator(_as_block, json_schema_input_type=Text | list[TextBlock])]


class ThinkingBlock(_Given):
    type: Literal["thinking"]
    thinking: Text


class RedactedBlock(_Given):
    type: Literal["redacted_thinking"]


class CallBlock(_Given):
    type: Literal["tool_use"]
    id: CallId
    name: ToolName
    input: dict[str, JsonValue] = {}


class ResultBlock(_Given):
    type: Literal["tool_result"]
    tool_use_id: CallId
    content: _Texts = []
    is_error: bool | None = None


Block = Annotated[TextBlock | ThinkingBlock | RedactedBlock | CallBlock | ResultBlock, Field(discriminator="type")]
_Blocks = Annotated[list[Block], Field(max_length=2 * MAX_CALLS)]
_Content = Annotated[_Blocks, BeforeValidator(_as_block, json_schema_input_type=Text | _Blocks)]


class Said(_Given):
    """A message: a text, or blocks."""

    role: Literal["user", "assistant", "system"]
    content: _Content

    def messages(self) -> list[Message]:
        """The same in our form: results come before what the user says to them."""
        text = "".join(block.text for block in self.content if isinstance(block, TextBlock))
        if self.role == "assistant":
            thought = "".join(block.thinking for block in self.content if isinstance(block, ThinkingBlock))
            calls = [_call(block) for block in self.content if isinstance(block, CallBlock)]
            said = {"role": "assistant", "content": text, "reasoning": thought or None, "tool_calls": calls or None}
            return [Message.model_validate(said)]
        if self.role == "system":
            return [Message(role="system", content=text)]
        results = [block for block in self.content if isinstance(block, ResultBlock)]
        messages = [
            Message(role="tool", content=_text(block.content), tool_call_id=block.tool_use_id) for block in results
        ]
        return [*messages, Message(role="user", content=text)] if text or not messages else messages


class Tool(_Given):
    """A function that the model may call. Tools that Anthropic's servers run are not here."""

    type: Literal["custom"] | None = None
    name: ToolName
    description: Text = ""
    input_schema: JsonSchema


class Choice(_Given):
    type: Literal["auto", "any", "tool", "none"]
    name: ToolName | None = None
    disable_parallel_tool_use: bool = False


class Thinking(_Given):
    type: Literal["enabled", "disabled", "adaptive"]


class JSONFormat(_Given):
    type: Literal["json_schema"]
    schema_: JsonSchema = Field(alias="schema")


class Output(_Given):
    """The form of the reply. How much effort it takes is the model's own business here."""

    format: JSONFormat | None = None


class CountBody(_Given):
    """A conversation whose tokens are counted."""

    model_config = ConfigDict(frozen=True, extra="allow")

    model: ModelName
    messages: Annotated[list[Said], Field(min_length=1, max_length=MAX_MESSAGES)]
    system: _Texts = []
    tools: Annotated[list[Tool], Field(max_length=MAX_TOOLS)] = []
    tool_choice: Choice | None = None
    thinking: Thinking | None = None
    output_config: Output | None = None
    run_tools: RunTools | None = Field(None, description="What of the server's own tools it may call, as elsewhere")

    def conversation(self) -> list[Message]:
        """The messages, the system prompt first.

        Raises:
            InvalidRequest: Blocks are together longer, or are more calls, than a message may have.
        """
        try:
            return self._conversation()
        except ValidationError as error:
            raise invalid_request(error, "messages") from None

    def _conversation(self) -> list[Message]:
        system = "\n\n".join(filter(None, (_BILLING.sub("", block.text) for block in self.system)))
        before = [Message(role="system", content=system)] if system else []
        return [*before, *(message for said in self.messages for message in said.messages())]

    def options(self) -> dict[str, Any]:
        """The options of `LLMClient.chat`.

        Raises:
            InvalidRequest: A field asks for what is not done here.
        """
        for field in _NOT_DONE:
            if (self.model_extra or {}).get(field):
                raise InvalidRequest(f"{field}: is not read here; leave it out.", param=field)
        options: dict[str, Any] = {"model": self.model, "run_tools": self.run_tools}
        if self.tools:
            options["tools"] = [
                {"name": tool.name, "description": tool.description, "parameters": tool.input_schema}
                for tool in self.tools
            ]
        if self.tool_choice is not None:
            options |= _choice(self.tool_choice)
        if self.thinking is not None and self.thinking.type != "adaptive":
            options["thinking"] = self.thinking.type == "enabled"
        if self.output_config is not None and self.output_config.format is not None:
            form = {"name": "reply", "schema": self.output_config.format.schema_}
            options["response_format"] = {"type": "json_schema", "json_schema": form}
        return options


class MessagesBody(CountBody):
    """A conversation; the last message is answered."""

    max_tokens: Annotated[int, Field(ge=1, le=MAX_TOKENS_LIMIT), Whole]
    stream: bool = False
    stop_sequences: Annotated[list[Annotated[str, Field(max_length=500)]], Field(max_length=MAX_STOPS)] = []
    temperature: Annotated[float, Field(ge=0, le=1), Finite] | None = None
    top_p: TopP | None = None
    top_k: TopK | None = None
    overflow: Overflow | None = Field(None, description="What to do with a conversation longer than the context")

    def options(self) -> dict[str, Any]:
        own = {
            "max_tokens": self.max_tokens,
            "stop": self.stop_sequences,
            "temperature": self.temperature,
            "top_p": self.top_p,
            "top_k": self.top_k,
            "overflow": self.overflow,
        }
        return super().options() | own


def _call(block: CallBlock) -> dict[str, Any]:
    arguments = json.dumps(block.input, ensure_ascii=False)
    return {"id": block.id, "type": "function", "function": {"name": block.name, "arguments": arguments}}


def _text(content: list[TextBlock]) -> str:
    return "".join(block.text for block in content)


def _choice(choice: Choice) -> dict[str, Any]:
    if choice.type == "tool" and choice.name is None:
        raise InvalidRequest("tool_choice.name: which tool is missing", param="tool_choice.name")
    wanted = {"name": choice.name} if choice.type == "tool" else choice.type
    return {"tool_choice": wanted, "parallel_tool_calls": not choice.disable_parallel_tool_use}
