"""Functions called by the bundled model. It is too small to choose well, so the choice is made for it."""

from __future__ import annotations

import asyncio
import enum
from collections.abc import Iterator
from typing import Annotated, Any, Literal

import pytest
from pydantic import BaseModel, Field

from llm_core.client import LLMClient
from llm_core.events import ContentDelta, Done, ToolResult
from llm_core.settings import Settings

ONE_CALL: dict[str, Any] = {"max_steps": 1, "parallel_tool_calls": False}  # small models repeat themselves
QUESTION = [{"role": "user", "content": "Book a table for three people in Rome, outside, and tell me when it is done."}]


class Place(enum.Enum):
    INSIDE = "inside"
    OUTSIDE = "outside"


class Guest(BaseModel):
    age: Annotated[int, Field(ge=0, le=120)]
    name: Annotated[str, Field(max_length=12)]


class Bookings:
    """Keeps what it was called with."""

    def __init__(self) -> None:
        self.made: list[tuple[Any, ...]] = []

    def book(
        self,
        city: Literal["Rome", "Oslo"],
        people: Annotated[int, Field(ge=1, le=9)],
        place: Place,
        guest: Guest,
        notes: Annotated[str, Field(max_length=20)] = "",
    ) -> str:
        """Books a table.

        Args:
            city: Where.
            people: How many.
            place: Inside or outside.
            guest: Who books.
            notes: What else is wanted.
        """
        self.made.append((city, people, place, guest, notes))
        return "The table is booked."

    async def abook(self, people: Annotated[int, Field(ge=1, le=9)]) -> str:
        """Books a table."""
        self.made.append((people,))
        return "The table is booked."


@pytest.fixture(scope="module")
def client() -> Iterator[LLMClient]:
    with LLMClient(Settings(parallel=2, context_tokens=2048, database_url="sqlite://")) as client:
        yield client


def named(name: str) -> dict[str, Any]:
    return {"type": "function", "function": {"name": name}}


@pytest.mark.parametrize("seed", range(3))
def test_a_chosen_function_is_called_with_arguments_of_its_types_and_the_model_goes_on(
    client: LLMClient, seed: int
) -> None:
    bookings = Bookings()
    events = list(
        client.chat_stream(
            QUESTION, tools=[bookings.book], tool_choice=named("book"), max_tokens=220, seed=seed, **ONE_CALL
        )
    )
    assert bookings.made
    city, people, place, guest, notes = bookings.made[0]
    assert city in ("Rome", "Oslo")
    assert type(people) is int
    assert 1 <= people <= 9
    assert isinstance(place, Place)
    assert isinstance(guest, Guest)
    assert isinstance(notes, str)
    (result, *_) = [place for place, event in enumerate(events) if isinstance(event, ToolResult)]
    assert any(isinstance(event, ContentDelta) for event in events[result:]), "it goes on with the result"
    assert isinstance(events[-1], Done)


def test_required_calls_a_function_and_async_functions_too(client: LLMClient) -> None:
    bookings = Bookings()
    reply = asyncio.run(
        client.achat(QUESTION, tools=[bookings.abook], tool_choice="required", max_tokens=60, **ONE_CALL)
    )
    assert bookings.made
    assert reply.content
    assert not reply.tool_calls


def test_a_session_keeps_the_call_and_its_result(client: LLMClient) -> None:
    bookings = Bookings()
    options: dict[str, Any] = {"tools": [bookings.abook], "max_tokens": 60, "temperature": 0, **ONE_CALL}
    reply = client.chat_session("booked", QUESTION[0]["content"], tool_choice="required", **options)
    roles = [message.role for message in client.session_history("booked")]
    assert roles[:3] == ["user", "assistant", "tool"]
    assert roles[-1] == "assistant"
    assert client.session_history("booked")[-1].content == reply.content


def test_a_session_keeps_nothing_of_a_call_that_was_cut_before_its_arguments(client: LLMClient) -> None:
    tool = {"name": "get_the_weather_of_the_week", "parameters": {"type": "object"}}
    for max_tokens in range(1, 16):
        reply = client.chat_session("cut", "And now?", tools=[tool], tool_choice="required", max_tokens=max_tokens)
        assert (reply.content, reply.finish_reason) == ("", "length")

    assert "".join(message.content for message in client.session_history("cut") if message.role == "assistant") == ""
    assert client.chat_session("cut", "Say something.", max_tokens=5).content
