"""What is said: the messages of a conversation, checked once, at the door."""

from __future__ import annotations

from collections.abc import Iterable, Mapping
from typing import Annotated, Any, Literal

from pydantic import BaseModel, BeforeValidator, ConfigDict, Field, TypeAdapter, ValidationError, field_validator

from llm_core.errors import InvalidRequest

MAX_MESSAGES = 2_000
MAX_TEXT_CHARS = 2_000_000

Role = Literal["system", "user", "assistant", "tool"]


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


class Message(BaseModel):
    """One message of a conversation, in the shape that chat templates and OpenAI's API share.

    Attributes:
        role: Who speaks.
        content: The text. OpenAI's list of `{"type": "text", "text": ...}` parts is accepted and joined.
        reasoning: The model's thinking in an earlier reply, for templates that want it back.
    """

    model_config = ConfigDict(frozen=True, extra="forbid")

    role: Role
    content: Text
    reasoning: Text | None = None

    @field_validator("content", mode="before")
    @classmethod
    def _join_parts(cls, content: Any) -> Any:
        if not isinstance(content, list):
            return content
        parts = []
        for part in content:
            if not isinstance(part, Mapping) or part.get("type") != "text" or not isinstance(part.get("text"), str):
                raise ValueError("has a part that is not text; this server reads text only")
            parts.append(part["text"])
        return "".join(parts)


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
        return _MESSAGES.validate_python(tuple(messages))
    except ValidationError as error:
        raise invalid_request(error, "messages") from None


def invalid_request(error: ValidationError, prefix: str = "") -> InvalidRequest:
    """The first complaint of pydantic as one sentence that names the field."""
    first = error.errors(include_url=False)[0]
    param = ".".join(str(part) for part in (prefix, *first["loc"]) if part != "")
    said = first["msg"].removeprefix("Value error, ")
    return InvalidRequest(f"{param}: {said[:1].lower()}{said[1:]}", param=param)
