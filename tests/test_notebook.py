"""What `llm_core.notebook` shows of a reply, in a cell and in a terminal."""

from __future__ import annotations

from collections.abc import AsyncGenerator, Generator, Iterable
from typing import Any

import pytest

from llm_core import notebook
from llm_core.events import ChatEvent, ContentDelta, Done, Queued, Timings, ToolCallDelta, ToolResult, Usage
from llm_core.notebook import ashow, show

DONE = Done("stop", Usage(60, 39, 5), Timings(0.0, 300.0, 48.0))
LINE = "48 tokens/s · first token after 0.3 s · 39 of 60 prompt tokens from the cache"


class Handle:
    """What IPython's `display` hands out: remembers what it was told to show."""

    def __init__(self) -> None:
        self.shown: list[dict[str, str]] = []

    def update(self, data: dict[str, str], *, raw: bool) -> None:
        assert raw
        self.shown.append(data)


@pytest.fixture
def handle(monkeypatch: pytest.MonkeyPatch) -> Handle:
    """The output of a cell."""
    handle = Handle()

    def display(_data: Any, *, raw: bool, display_id: bool) -> Handle:
        assert raw
        assert display_id
        return handle

    monkeypatch.setattr(notebook, "_output", lambda: notebook._Cell(display))
    monkeypatch.setattr(notebook, "UPDATE_SECONDS", 0.0)
    return handle


def stream(events: Iterable[ChatEvent]) -> Generator[ChatEvent]:
    yield from events


def test_a_cell_shows_the_place_in_the_queue_then_the_text_as_it_grows_then_the_figures(handle: Handle) -> None:
    reply = show(stream([Queued(2), Queued(0), ContentDelta("Hel"), ContentDelta("lo"), DONE]))

    texts = [data["text/plain"] for data in handle.shown]
    assert texts[:4] == ["[Waiting: 2 requests ahead of yours]", "[Reading your message]", "Hel", "Hello"]
    assert texts[-1] == f"Hello\n[{LINE}]"
    assert reply.content == "Hello"


def test_what_a_model_writes_is_text_in_a_cell_and_never_markup(handle: Handle) -> None:
    show(stream([ContentDelta("<script>alert(1)</script>"), DONE]))

    assert "<script>" not in handle.shown[-1]["text/html"]
    assert "&lt;script&gt;" in handle.shown[-1]["text/html"]


def test_calls_and_their_results_are_shown_where_they_came(handle: Handle) -> None:
    events = [
        ToolCallDelta(0, "1", "get_weather"),
        ToolCallDelta(0, arguments='{"city": "Paris"}'),
        ToolResult("1", "get_weather", "12 °C"),
        ContentDelta("It is mild."),
        DONE,
    ]
    reply = show(stream(events))

    assert handle.shown[-1]["text/plain"].splitlines()[:3] == [
        '→ get_weather {"city": "Paris"}',
        "← 12 °C",
        "It is mild.",
    ]
    assert reply.content == "It is mild."


def test_an_interrupted_cell_closes_the_stream_and_keeps_what_came(handle: Handle) -> None:
    closed = []

    def interrupted() -> Generator[ChatEvent]:
        try:
            yield ContentDelta("Once upon")
            raise KeyboardInterrupt
        finally:
            closed.append(True)

    with pytest.raises(KeyboardInterrupt):
        show(interrupted())

    assert closed
    assert handle.shown[-1]["text/plain"] == "Once upon\n[stopped]"


def test_a_cell_is_not_told_of_each_piece(handle: Handle, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(notebook, "UPDATE_SECONDS", 60.0)

    show(stream([*(ContentDelta("word ") for _ in range(1000)), DONE]))

    assert len(handle.shown) == 2  # the first and the last


async def test_the_async_twin_shows_the_same(handle: Handle) -> None:
    async def astream() -> AsyncGenerator[ChatEvent]:
        for event in (Queued(0), ContentDelta("Hello"), DONE):
            yield event

    reply = await ashow(astream())

    assert handle.shown[-1]["text/plain"] == f"Hello\n[{LINE}]"
    assert reply.finish_reason == "stop"


def test_outside_a_notebook_the_text_is_printed_as_it_comes(capsys: pytest.CaptureFixture[str]) -> None:
    show(stream([Queued(0), ContentDelta("Hel"), ContentDelta("lo"), DONE]))

    assert capsys.readouterr().out == f"Hello\n[{LINE}]\n"
