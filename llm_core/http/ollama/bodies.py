"""What Ollama's clients send, with the range of every field, and what it means here.

Fields that ask for what is not done here are refused by name; those that change nothing of the answer are ignored.
"""

from __future__ import annotations

import re
from collections.abc import Sequence
from typing import Annotated, Any, Literal

from pydantic import BaseModel, BeforeValidator, ConfigDict, Field, JsonValue, WithJsonSchema

from llm_core.errors import InvalidRequest
from llm_core.http.shapes import TOOL
from llm_core.messages import MAX_CALLS, MAX_MESSAGES, CallId, Text
from llm_core.numbers import Finite, Whole
from llm_core.options import LEAVE_OUT_OLDEST
from llm_core.request import (
    MAX_TOKENS_LIMIT,
    MAX_TOP_LOGPROBS,
    RESPONSE_PLACE,
    MinP,
    Penalty,
    RepeatPenalty,
    Stops,
    Temperature,
    TopK,
    TopP,
    TypicalP,
)
from llm_core.tool_spec import MAX_TOOLS, JsonSchema, ToolName

MAX_NAME_CHARS = 200  # of a model
_MAX_BACK = 4096  # tokens that penalties look back
_DURATION = r"^-?([0-9]+(\.[0-9]+)?(ns|us|µs|ms|s|m|h)?)+$"
FIELDS = {
    "response_format": "format",
    RESPONSE_PLACE: "format",
    "thinking": "think",
    LEAVE_OUT_OLDEST: "truncate: true",
}
"""Options of ours, by the fields that say them here."""
# Fields that are not read, and the values with which they ask for nothing.
_NOT_READ: dict[str, tuple[Any, ...]] = {
    "context": ([],),
    "images": ([],),
    "mirostat": (0,),
    "raw": (False,),
    "suffix": ("",),
    "template": ("",),
    "tfs_z": (1,),
}

Name = Annotated[str, Field(min_length=1, max_length=MAX_NAME_CHARS)]
KeepAlive = Annotated[float, Finite] | Annotated[str, Field(pattern=_DURATION, max_length=100)]


def _form(wanted: Any) -> Any:
    if wanted in (None, "", "json") or isinstance(wanted, dict):
        return wanted
    raise ValueError('must be "json" or a JSON schema')


def _switch(wanted: Any) -> Any:
    if wanted is None or wanted in ("low", "medium", "high", "max") or isinstance(wanted, bool):
        return wanted
    raise ValueError('must be true, false, "low", "medium" or "high"')


Form = Annotated[Literal["", "json"] | JsonSchema, BeforeValidator(_form)]
Think = Annotated[bool | Literal["low", "medium", "high", "max"], BeforeValidator(_switch)]


class _Given(BaseModel):
    # Strict: true is no number. What is ignored there is no need for here, such as options of how a model is loaded.
    model_config = ConfigDict(frozen=True, extra="ignore", strict=True)


class SamplingOptions(_Given):
    """Ollama's `options`, as far as they change the reply."""

    temperature: Temperature | None = None
    top_k: TopK | None = None
    top_p: TopP | None = None
    min_p: MinP | None = None
    typical_p: TypicalP | None = None
    repeat_penalty: RepeatPenalty | None = None
    presence_penalty: Penalty | None = None
    frequency_penalty: Penalty | None = None
    repeat_last_n: Annotated[int, Field(ge=-1, le=_MAX_BACK, description="-1: as far as it goes"), Whole] | None = None
    seed: Annotated[int, Field(ge=-(2**63), lt=2**63, description="-1: none"), Whole] | None = None
    num_predict: Annotated[int, Field(ge=-2, le=MAX_TOKENS_LIMIT, description="Below 1: any"), Whole] | None = None
    stop: Stops | None = None
    mirostat: float | None = None
    tfs_z: float | None = None

    def options(self) -> dict[str, Any]:
        """The options of `LLMClient.chat`.

        Raises:
            InvalidRequest: One is not read here.
        """
        _check_not_read(self, ("mirostat", "tfs_z"), "options.")
        own = self.model_dump(exclude={"mirostat", "tfs_z", "num_predict", "repeat_last_n", "seed"})
        if self.num_predict is not None:
            own["max_tokens"] = self.num_predict if self.num_predict > 0 else -1
        if self.repeat_last_n is not None:
            own["repeat_last_n"] = self.repeat_last_n if self.repeat_last_n >= 0 else _MAX_BACK
        if self.seed is not None and self.seed != -1:
            own["seed"] = self.seed % (2**32 - 1)
        return own


class ModelBody(_Given):
    """Which model; `name` is what older clients call it."""

    model: str = Field("", max_length=MAX_NAME_CHARS)
    name: str = Field("", max_length=MAX_NAME_CHARS)

    def named(self) -> str:
        """
        Raises:
            InvalidRequest: None is.
        """
        if not (name := self.model or self.name):
            raise InvalidRequest("model: which model is missing.", param="model")
        return name


class PullBody(ModelBody):
    stream: bool | None = True


class AskingBody(_Given):
    """What chat and generate have in common."""

    model: Name
    stream: bool | None = True
    format: Form | None = None
    options: SamplingOptions | None = None
    think: Think | None = None
    keep_alive: KeepAlive | None = None
    truncate: bool | None = Field(None, description="Whether what is older than fits is left out; it is")
    logprobs: bool | None = None
    top_logprobs: Annotated[int, Field(ge=0, le=MAX_TOP_LOGPROBS), Whole] | None = None

    @property
    def unloads(self) -> bool:
        """Whether the model need not stay in memory."""
        return self.keep_alive is not None and not re.search("[1-9]", str(self.keep_alive))

    def chat_options(self) -> dict[str, Any]:
        """The options of `LLMClient.chat`, without the model.

        Raises:
            InvalidRequest: A field asks for what is not done here.
        """
        options: dict[str, Any] = self.options.options() if self.options is not None else {}
        options["overflow"] = "error" if self.truncate is False else "drop_oldest"
        if self.think is not None:
            options["thinking"] = self.think is not False
        if self.logprobs:
            options["logprobs"] = self.top_logprobs or 0
        if isinstance(self.format, dict):
            form = {"name": "reply", "schema": self.format}
            options["response_format"] = {"type": "json_schema", "json_schema": form}
        elif self.format:
            options["response_format"] = {"type": "json_object"}
        return options


class GenerateBody(AskingBody):
    """A prompt."""

    prompt: Text = ""
    system: Text = ""
    context: list[int] | None = None
    images: list[Any] | None = None
    raw: bool | None = None
    suffix: Text = ""
    template: Text = ""

    def conversation(self) -> list[dict[str, Any]]:
        """The prompt as a conversation of its own; empty where there is none.

        Raises:
            InvalidRequest: A field asks for what is not done here.
        """
        _check_not_read(self, ("context", "images", "raw", "suffix", "template"))
        if not self.prompt:
            return []
        before = [{"role": "system", "content": self.system}] if self.system else []
        return [*before, {"role": "user", "content": self.prompt}]


class Function(_Given):
    name: ToolName
    arguments: dict[str, JsonValue] = {}


class Call(_Given):
    function: Function
    id: CallId | None = None


class Said(_Given):
    """A message."""

    role: Literal["system", "user", "assistant", "tool"]
    content: Text | None = None
    thinking: Text | None = None
    images: list[Any] | None = None
    tool_calls: Annotated[list[Call], Field(max_length=MAX_CALLS)] | None = None
    tool_name: str | None = None
    tool_call_id: CallId | None = None


class OllamaChatBody(AskingBody):
    """A conversation; its last message is answered."""

    messages: Annotated[list[Said], Field(max_length=MAX_MESSAGES)] = []
    tools: Annotated[list[Annotated[dict[str, Any], WithJsonSchema(TOOL)]], Field(max_length=MAX_TOOLS)] | None = None

    def conversation(self) -> list[dict[str, Any]]:
        """The messages in our form; results find their calls by id, by the tool's name, or by their order.

        Raises:
            InvalidRequest: A message asks for what is not done here.
        """
        messages: list[dict[str, Any]] = []
        unanswered: list[tuple[str, str]] = []  # calls of the assistant's message before, as (id, name)
        for place, each in enumerate(self.messages):
            _check_not_read(each, ("images",), f"messages.{place}.")
            calls = [(call.id or f"call_{place}_{number}", call) for number, call in enumerate(each.tool_calls or ())]
            message: dict[str, Any] = {"role": each.role, "content": each.content or ""}
            message["tool_calls"] = [{"id": name, "function": call.function.model_dump()} for name, call in calls]
            if each.role == "tool":
                message["tool_call_id"] = _id(place, each, unanswered)
            else:
                unanswered = [(name, call.function.name) for name, call in calls]
                message["reasoning"] = each.thinking or None if each.role == "assistant" else None
            messages.append(message)
        return messages

    def chat_options(self) -> dict[str, Any]:
        return super().chat_options() | {"tools": self.tools}


def _id(place: int, result: Said, unanswered: list[tuple[str, str]]) -> str:
    """The id of the call that a result belongs to, which has its answer then."""
    for call in unanswered:
        if result.tool_call_id in (None, call[0]) and (result.tool_call_id or result.tool_name in (None, call[1])):
            unanswered.remove(call)
            return call[0]
    param = f"messages.{place}"
    raise InvalidRequest(f"{param}: is no result of a call in the assistant's message before it.", param=param)


def _check_not_read(given: BaseModel, fields: Sequence[str], prefix: str = "") -> None:
    for field in fields:
        value = getattr(given, field)
        if value is not None and value not in _NOT_READ[field]:
            param = f"{prefix}{field}"
            raise InvalidRequest(f"{param}: is not read here; leave it out.", param=param)
