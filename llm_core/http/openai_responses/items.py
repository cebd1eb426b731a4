"""What a conversation consists of in OpenAI's responses, and in messages of ours, both ways."""

from __future__ import annotations

import re
from collections.abc import Iterable, Iterator
from typing import Annotated, Any, Literal

from pydantic import BaseModel, BeforeValidator, ConfigDict, Discriminator, Field, Tag, TypeAdapter, ValidationError

from llm_core.complaints import invalid_request
from llm_core.errors import InvalidRequest
from llm_core.events import TokenLogprob
from llm_core.http.logprobs import logprobs_of
from llm_core.messages import MAX_CALLS, MAX_MESSAGES, MAX_NAME_CHARS, CallId, Message, Text

JSON = dict[str, Any]
_PREFIXES = {"message": "msg", "function_call": "fc", "function_call_output": "fco", "reasoning": "rs"}
_ITEM_ID = re.compile(r"(?:msg|fc|fco|rs)_([0-9a-f]{32})([0-9a-f]{2,4})")

# ── in ───────────────────────────────────────────────────────────────────────────────────────────────────────────────


class _Given(BaseModel):
    # Strict: true is no number. What is ignored, such as `id` and `status`, there is no need for here.
    model_config = ConfigDict(frozen=True, extra="ignore", strict=True)


class TextPart(_Given):
    type: Literal["input_text", "output_text", "text", "reasoning_text", "summary_text"]
    text: Text


class RefusalPart(_Given):
    type: Literal["refusal"]
    refusal: Text


def _as_part(content: Any) -> Any:
    return [{"type": "text", "text": content}] if isinstance(content, str) else content


_Part = Annotated[TextPart | RefusalPart, Field(discriminator="type")]
Content = Annotated[
    list[_Part],
    Field(max_length=2 * MAX_CALLS),
    BeforeValidator(_as_part, json_schema_input_type=Text | Annotated[list[_Part], Field(max_length=2 * MAX_CALLS)]),
]


class MessageItem(_Given):
    type: Literal["message"] = "message"
    role: Literal["user", "assistant", "system", "developer"]
    content: Content


class CallItem(_Given):
    type: Literal["function_call"]
    call_id: CallId
    name: Annotated[Text, Field(min_length=1, max_length=MAX_NAME_CHARS)]
    arguments: Text


class ResultItem(_Given):
    type: Literal["function_call_output"]
    call_id: CallId
    output: Content


class ReasoningItem(_Given):
    """The model's thinking. What OpenAI has encrypted of it nobody can read here."""

    type: Literal["reasoning"]
    summary: list[TextPart] = []
    content: list[TextPart] | None = None


class ReferenceItem(_Given):
    """An item of a response or a conversation that is kept here."""

    type: Literal["item_reference"] = "item_reference"
    id: Annotated[Text, Field(max_length=128)]


_KINDS = ("message", "function_call", "function_call_output", "reasoning", "item_reference")


def _kind(item: Any) -> Any:
    given = item if isinstance(item, dict) else vars(item) if isinstance(item, BaseModel) else {}
    return given.get("type") or ("item_reference" if given.keys() == {"id"} else "message")


Item = Annotated[
    Annotated[MessageItem, Tag("message")]
    | Annotated[CallItem, Tag("function_call")]
    | Annotated[ResultItem, Tag("function_call_output")]
    | Annotated[ReasoningItem, Tag("reasoning")]
    | Annotated[ReferenceItem, Tag("item_reference")],
    Discriminator(
        _kind,
        custom_error_type="item_type",
        custom_error_message=f"is none of the items that are read here, which are {', '.join(_KINDS)}",
    ),
]
ITEM: TypeAdapter[Item] = TypeAdapter(Item)


def _as_item(given: Any) -> Any:
    return [{"role": "user", "content": given}] if isinstance(given, str) else given


_Items = Annotated[list[Item], Field(min_length=1, max_length=MAX_MESSAGES)]
Input = Annotated[_Items, BeforeValidator(_as_item, json_schema_input_type=Text | _Items)]


def messages_of(items: Iterable[Item]) -> tuple[Message, ...]:
    """Messages in our form: thinking, text and calls of a reply, which are items each, become one.

    Raises:
        InvalidRequest: They are longer, or have more calls, than a message may.
    """
    try:
        return tuple(_messages_of(items))
    except ValidationError as error:
        raise invalid_request(error, "input") from None


def _messages_of(items: Iterable[Item]) -> list[Message]:
    messages: list[Message] = []
    reply: dict[str, Any] = {}

    def end_reply() -> None:
        if reply:
            messages.append(Message.model_validate({"role": "assistant", "content": ""} | reply))
            reply.clear()

    for item in items:
        match item:
            case ReasoningItem():
                if "content" in reply or "tool_calls" in reply:
                    end_reply()
                thought = _text(item.content or item.summary)
                if thought:
                    reply["reasoning"] = reply.get("reasoning", "") + thought
            case MessageItem(role="assistant"):
                if "content" in reply or "tool_calls" in reply:
                    end_reply()
                reply["content"] = _text(item.content)
            case CallItem():
                function = {"name": item.name, "arguments": item.arguments}
                reply.setdefault("tool_calls", []).append({"id": item.call_id, "function": function})
            case ResultItem():
                end_reply()
                messages.append(Message(role="tool", content=_text(item.output), tool_call_id=item.call_id))
            case MessageItem():
                end_reply()
                role: Literal["user", "system"] = "user" if item.role == "user" else "system"
                messages.append(Message(role=role, content=_text(item.content)))
    end_reply()
    return messages


def _text(parts: Iterable[TextPart | RefusalPart]) -> str:
    return "".join(part.text if isinstance(part, TextPart) else part.refusal for part in parts)


# ── out ──────────────────────────────────────────────────────────────────────────────────────────────────────────────


def with_id(item: JSON, stream_id: str, number: int) -> JSON:
    """An item with the id by which it is found again: its turn, and its number there."""
    return {"id": f"{_PREFIXES[item['type']]}_{stream_id}{number:02x}"} | item


def place_of(given: str) -> tuple[str, int] | None:
    """The turn of an item and its number there; None where no item has this id."""
    found = _ITEM_ID.fullmatch(given)
    return (found[1], int(found[2], 16)) if found else None


def text_part(text: str, logprobs: Iterable[TokenLogprob] = ()) -> JSON:
    return {"type": "output_text", "text": text, "annotations": [], "logprobs": logprobs_of(logprobs)}


def reply_item(content: list[JSON], status: str = "completed") -> JSON:
    return {"type": "message", "role": "assistant", "status": status, "content": content}


def reasoning_item(content: list[JSON], status: str = "completed") -> JSON:
    return {"type": "reasoning", "status": status, "summary": [], "content": content}


def reasoning_part(text: str) -> JSON:
    return {"type": "reasoning_text", "text": text}


def call_item(call_id: str, name: str, arguments: str, status: str = "completed") -> JSON:
    return {"type": "function_call", "status": status, "call_id": call_id, "name": name, "arguments": arguments}


def items_of(messages: Iterable[Message], stream_id: str, first: int = 0) -> list[JSON]:
    """The items that messages of a turn are.

    Args:
        first: The number of the first one.
    """
    made = (item for message in messages for item in _items_of(message))
    return [with_id(item, stream_id, number) for number, item in enumerate(made, first)]


def _items_of(message: Message) -> Iterator[JSON]:
    if message.role == "tool":
        result = {"call_id": message.tool_call_id, "output": message.content}
        yield {"type": "function_call_output", "status": "completed"} | result
    elif message.role != "assistant":
        content = [{"type": "input_text", "text": message.content}]
        yield {"type": "message", "role": message.role, "status": "completed", "content": content}
    else:
        if message.reasoning:
            yield reasoning_item([reasoning_part(message.reasoning)])
        if message.content or not (message.reasoning or message.tool_calls):
            yield reply_item([text_part(message.content)])
        for call in message.tool_calls or ():
            yield call_item(call.id, call.name, call.arguments)


class ListPart(BaseModel):
    """Which part of a list of items is wanted."""

    after: Annotated[str, Field(max_length=128, description="The id of the one before the first")] | None = None
    limit: Annotated[int, Field(ge=1, le=100)] = 20
    order: Literal["asc", "desc"] = "desc"


def listed(items: list[JSON], part: ListPart) -> JSON:
    """A part of a list of items, of which the oldest comes first.

    Raises:
        InvalidRequest: There is no such item to begin after.
    """
    ordered = items if part.order == "asc" else items[::-1]
    if part.after is not None:
        ids = [item["id"] for item in ordered]
        if part.after not in ids:
            raise InvalidRequest(f"after: there is no item {part.after!r} in this list", param="after")
        ordered = ordered[ids.index(part.after) + 1 :]
    return whole_list(ordered[: part.limit]) | {"has_more": len(ordered) > part.limit}


def whole_list(items: list[JSON]) -> JSON:
    first, last = (items[0]["id"], items[-1]["id"]) if items else (None, None)
    return {"object": "list", "data": items, "first_id": first, "last_id": last, "has_more": False}
