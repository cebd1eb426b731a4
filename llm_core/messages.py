"""What is said: the messages of a conversation, checked once, at the door."""

from __future__ import annotations

import json
from collections.abc import Iterable, Mapping
from typing import Annotated, Any, Literal

from pydantic import (
    BaseModel,
    BeforeValidator,
    ConfigDict,
    Field,
    TypeAdapter,
    ValidationError,
    field_validator,
    model_validator,
)

from llm_core.complaints import Misplaced, invalid_request
from llm_core.errors import InvalidRequest

MAX_MESSAGES = 2_000
MAX_TEXT_CHARS = 2_000_000
MAX_CALLS = 128
MAX_NAME_CHARS = 200
MAX_ATTACHMENTS = 10
MAX_ATTACHMENT_CHARS = 200_000
MAX_ATTACHED_CHARS = 400_000  # of all that is attached to one message
MAX_FILE_NAME_CHARS = 200
MEDIA_TYPE_PATTERN = r"^[A-Za-z0-9_.+-]{1,60}/[A-Za-z0-9_.+-]{1,80}$"

Role = Literal["system", "user", "assistant", "tool"]

# What OpenAI's clients send with a message, or send back of a reply, beside what is read here. None of it is for the
# model: a name is told apart by no chat template, and a refusal is text.
UNREAD_FIELDS = frozenset({"name", "refusal", "annotations", "audio", "function_call"})
_PARTS = {"text": "text", "refusal": "refusal"}  # the types of parts that are text, and the field that has it


def _encodable(text: Any) -> Any:
    """Refuses lone surrogates: they have no UTF-8 form, so neither the tokenizer nor JSON could carry them."""
    if not isinstance(text, str):
        return text
    try:
        text.encode("utf-8")
    except UnicodeEncodeError as error:
        raise ValueError(f"has a lone surrogate at character {error.start}, which is not text") from None
    return text


Text = Annotated[str, Field(max_length=MAX_TEXT_CHARS), BeforeValidator(_encodable)]


CallId = Annotated[str, Field(min_length=1, max_length=128), BeforeValidator(_encodable)]


class FunctionCall(BaseModel):
    """Which function, and its arguments: JSON, as the model wrote it."""

    model_config = ConfigDict(frozen=True, extra="ignore")

    name: Annotated[Text, Field(min_length=1, max_length=MAX_NAME_CHARS)]
    arguments: Text = "{}"

    @field_validator("arguments", mode="before")
    @classmethod
    def _written(cls, arguments: Any) -> Any:
        """Takes an object where its JSON is meant, and nothing for no arguments."""
        if arguments is None:
            return "{}"
        if not isinstance(arguments, Mapping):
            return arguments
        try:
            return json.dumps(arguments, ensure_ascii=False, allow_nan=False)
        except (TypeError, ValueError, RecursionError) as error:
            raise ValueError(f"cannot be written as JSON: {error}") from None


class ToolCall(BaseModel):
    """A call that the model made, in OpenAI's shape.

    Attributes:
        id: What its result refers to.
    """

    model_config = ConfigDict(frozen=True, extra="ignore")

    id: CallId
    type: Literal["function"] = "function"
    function: FunctionCall

    @property
    def name(self) -> str:
        return self.function.name

    @property
    def arguments(self) -> str:
        """JSON, as the model wrote it: it may be cut short where the reply was."""
        return self.function.arguments


class Attachment(BaseModel):
    """A file that the user has attached to a message, as text.

    Attributes:
        name: Of the file, in one line.
        media_type: Of the file that the text was taken from.
        text: What is in it.
    """

    model_config = ConfigDict(frozen=True, extra="forbid")

    name: Annotated[Text, Field(min_length=1, max_length=MAX_FILE_NAME_CHARS)]
    media_type: Annotated[str, Field(pattern=MEDIA_TYPE_PATTERN)] = "text/plain"
    text: Annotated[Text, Field(min_length=1, max_length=MAX_ATTACHMENT_CHARS)]

    @field_validator("name")
    @classmethod
    def _in_one_line(cls, name: str) -> str:
        """It stands in a line of its own in the prompt, which nothing in it can end."""
        return " ".join("".join(each if each.isprintable() else " " for each in name).split()) or "file"


class Message(BaseModel):
    """One message of a conversation, in the shape that chat templates and OpenAI's API share.

    Attributes:
        role: Who speaks.
        content: The text. OpenAI's list of `{"type": "text", "text": ...}` parts is accepted and joined.
        reasoning: The model's thinking in an earlier reply, for templates that want it back.
        tool_calls: What the assistant called.
        tool_call_id: Of a tool's message: the call that it is the result of.
        attachments: Of a user's message: files, which the model is told before the text (attachments/rendering.py).
    """

    model_config = ConfigDict(frozen=True, extra="forbid")

    role: Role
    content: Text
    reasoning: Text | None = None
    tool_calls: Annotated[tuple[ToolCall, ...], Field(max_length=MAX_CALLS)] | None = None
    tool_call_id: CallId | None = None
    attachments: Annotated[tuple[Attachment, ...], Field(max_length=MAX_ATTACHMENTS)] | None = None

    @model_validator(mode="before")
    @classmethod
    def _from_openai(cls, data: Any) -> Any:
        """Takes a message as OpenAI's clients write it, also when it is an answer of ours sent back."""
        if not isinstance(data, Mapping):
            return data
        if data.get("function_call") is not None:
            raise Misplaced(("function_call",), "is OpenAI's form of 2023, which is not read here; send tool_calls")
        given = {name: value for name, value in data.items() if value is not None and name not in UNREAD_FIELDS}
        if given.get("role") == "developer":
            given["role"] = "system"
        if given.get("role") in ("assistant", "tool"):
            given.setdefault("content", data.get("refusal") or "")
        if (reasoning := given.pop("reasoning_content", None)) is not None:
            given.setdefault("reasoning", reasoning)
        if given.get("tool_calls") == []:
            del given["tool_calls"]
        if given.get("attachments") in ([], ()):
            del given["attachments"]
        return given

    @model_validator(mode="after")
    def _fits_its_role(self) -> Message:
        if self.tool_calls and self.role != "assistant":
            raise ValueError("only an assistant's message can have tool_calls")
        if (self.tool_call_id is not None) != (self.role == "tool"):
            raise ValueError("a tool's message, and no other, needs the tool_call_id of the call that it answers")
        if self.attachments and self.role != "user":
            raise ValueError("only a user's message can have attachments")
        if sum(len(each.text) for each in self.attachments or ()) > MAX_ATTACHED_CHARS:
            said = f"its attachments have more than {MAX_ATTACHED_CHARS:,} characters together; attach less of them"
            raise ValueError(said)
        return self

    @field_validator("content", mode="before")
    @classmethod
    def _join_parts(cls, content: Any) -> Any:
        if not isinstance(content, list):
            return content
        return "".join(_text_of(place, part) for place, part in enumerate(content))


def _text_of(place: int, part: Any) -> str:
    kind = part.get("type") if isinstance(part, Mapping) else None
    text = part.get(_PARTS[kind]) if isinstance(kind, str) and kind in _PARTS else None
    if not isinstance(text, str):
        raise Misplaced((place,), 'is a part that is not text; what is read is {"type": "text", "text": ...}')
    return text


MessageLike = Message | Mapping[str, Any]

_MESSAGES: TypeAdapter[tuple[Message, ...]] = TypeAdapter(
    Annotated[tuple[Message, ...], Field(min_length=1, max_length=MAX_MESSAGES)]
)


def parse_messages(messages: Iterable[MessageLike]) -> tuple[Message, ...]:
    """Checks a conversation given as dicts or `Message`s.

    Raises:
        InvalidRequest: A role, a text or the number of messages is not allowed; the message says which and where.
    """
    if isinstance(messages, (str, bytes, Mapping)):
        raise InvalidRequest('messages must be a list such as [{"role": "user", "content": "Hello"}]', param="messages")
    try:
        parsed = _MESSAGES.validate_python(tuple(messages))
    except ValidationError as error:
        raise invalid_request(error, "messages") from None
    _check_results(parsed)
    return parsed


def _check_results(messages: Iterable[Message]) -> None:
    """Each result must answer a call of the assistant's message before it, as chat templates take for granted."""
    calls: set[str] = set()
    for place, message in enumerate(messages):
        if message.role != "tool":
            calls = {call.id for call in message.tool_calls or ()}
        elif message.tool_call_id not in calls:
            param = f"messages.{place}.tool_call_id"
            raise InvalidRequest(
                f"{param}: the assistant's message before it has no call {message.tool_call_id!r}", param=param
            )
