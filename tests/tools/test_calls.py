"""The calls of one reply: at the same time, each with a result whatever happens. Sync and async alike."""

from __future__ import annotations

import asyncio
import dataclasses
import enum
import json
import threading
from collections.abc import Callable
from datetime import date
from typing import Any

import pytest

from llm_core.cancellation import Cancellation
from llm_core.events import ToolResult
from llm_core.messages import FunctionCall, ToolCall
from llm_core.options import OnToolCall
from llm_core.tools.calls import MAX_AT_ONCE, CallsOfReply, arun_calls, run_calls
from llm_core.tools.python_tool import tool

PATIENCE = 60.0
Run = Callable[..., list[ToolResult]]


@pytest.fixture(params=["sync", "async"])
def run(request: pytest.FixtureRequest) -> Run:
    """Runs calls, given as (function, arguments)."""

    def run(
        *calls: tuple[Callable[..., Any], dict[str, Any]],
        on_tool_call: OnToolCall | None = None,
        result_chars: int = 1000,
        seconds: float = PATIENCE,
        cancellation: Cancellation | None = None,
    ) -> list[ToolResult]:
        tools = {made.name: made for made in (tool(function) for function, _ in calls)}
        named = (
            call(function.__name__, json.dumps(given), str(place)) for place, (function, given) in enumerate(calls)
        )
        reply = CallsOfReply(tuple(named), tools, on_tool_call, result_chars, seconds)
        cancellation = cancellation or Cancellation()
        if request.param == "sync":
            return list(run_calls(reply, cancellation))

        async def collected() -> list[ToolResult]:
            return [result async for result in arun_calls(reply, cancellation)]

        return asyncio.run(collected())

    return run


def call(name: str, arguments: str, call_id: str = "0") -> ToolCall:
    return ToolCall(id=call_id, function=FunctionCall(name=name, arguments=arguments))


def contents(results: list[ToolResult]) -> list[str]:
    return [result.content for result in results]


class Meeting:
    """Lets functions go on when all of them are there, which takes that they run at the same time."""

    def __init__(self, size: int) -> None:
        self._barrier = threading.Barrier(size)

    def sync(self, number: int) -> int:
        self._barrier.wait(PATIENCE)
        return number


# ── running ──────────────────────────────────────────────────────────────────────────────────────────────────────────


def test_functions_that_block_run_at_the_same_time_on_threads(run: Run) -> None:
    meeting = Meeting(3)
    assert contents(run(*[(meeting.sync, {"number": number}) for number in range(3)])) == ["0", "1", "2"]


def test_async_functions_run_at_the_same_time_on_one_loop(run: Run) -> None:
    arrived: list[int] = []
    all_there = asyncio.Event()

    async def meet(number: int) -> int:
        arrived.append(number)
        if len(arrived) == 3:
            all_there.set()
        await all_there.wait()
        return number

    assert contents(run(*[(meet, {"number": number}) for number in range(3)])) == ["0", "1", "2"]


def test_results_have_the_order_of_their_calls_whichever_is_first(run: Run) -> None:
    second_is_done = threading.Event()

    def slow() -> str:
        assert second_is_done.wait(PATIENCE)
        return "slow"

    async def quick() -> str:
        second_is_done.set()
        return "quick"

    results = run((slow, {}), (quick, {}))
    assert [(result.call_id, result.name, result.content) for result in results] == [
        ("0", "slow", "slow"),
        ("1", "quick", "quick"),
    ]


def test_only_so_many_run_at_once(run: Run) -> None:
    running, most, lock = 0, 0, threading.Lock()

    async def count(number: int) -> None:
        nonlocal running, most
        with lock:
            running += 1
            most = max(most, running)
        await asyncio.sleep(0.001)
        with lock:
            running -= 1

    assert len(run(*[(count, {"number": number}) for number in range(3 * MAX_AT_ONCE)])) == 3 * MAX_AT_ONCE
    assert most == MAX_AT_ONCE


def test_what_a_function_returns_is_awaited_where_it_can_be(run: Run) -> None:
    async def inner() -> str:
        return "inner"

    def outer() -> Any:
        return inner()

    assert contents(run((outer, {}))) == ["inner"]


# ── results ──────────────────────────────────────────────────────────────────────────────────────────────────────────


class Colour(enum.Enum):
    RED = "red"


@dataclasses.dataclass
class Point:
    x: int
    on: date


class Plain:
    def __str__(self) -> str:
        return "plain"


@pytest.mark.parametrize(
    ("value", "told"),
    [
        ("text, as it is", "text, as it is"),
        (None, "null"),
        (3, "3"),
        ([1, "ü"], '[1,"ü"]'),
        (Colour.RED, '"red"'),
        (Point(1, date(2026, 1, 31)), '{"x":1,"on":"2026-01-31"}'),
        (Plain(), '"plain"'),
        ("half a character: \ud800", "half a character: ?"),
    ],
)
def test_a_result_is_text_or_becomes_json(run: Run, value: Any, told: str) -> None:
    def give() -> Any:
        return value

    (result,) = run((give, {}))
    assert (result.content, result.failed) == (told, False)


def test_a_result_that_is_too_long_is_cut_and_says_so(run: Run) -> None:
    def talk() -> str:
        return "a" * 5000

    assert contents(run((talk, {}), result_chars=5000)) == ["a" * 5000]
    assert "cut off here" in contents(run((talk, {}), result_chars=4999))[0]
    (result,) = run((talk, {}), result_chars=10)
    assert result.content == "aaaaaaaaaa\n[cut off here; it has 5,000 characters]"


# ── what goes wrong ──────────────────────────────────────────────────────────────────────────────────────────────────


@pytest.mark.parametrize("error", [ValueError("no such city"), SystemExit("no such city"), OSError("no such city")])
def test_an_exception_is_a_result_without_traceback_and_is_logged(
    run: Run, error: BaseException, caplog: pytest.LogCaptureFixture
) -> None:
    def fail() -> None:
        raise error

    async def afail() -> None:
        raise error

    told = f"Error: {type(error).__name__}: no such city"
    assert [(result.content, result.failed) for result in run((fail, {}), (afail, {}))] == [(told, True)] * 2
    assert caplog.text.count("Traceback") == 2


def test_a_tool_that_cancels_itself_has_failed_and_nothing_else_has(run: Run) -> None:
    async def leave() -> None:
        raise asyncio.CancelledError

    def stay() -> str:
        return "here"

    left, stayed = run((leave, {}), (stay, {}))
    assert left.failed
    assert stayed.content == "here"


def test_arguments_that_do_not_fit_are_told_and_the_function_is_not_called(run: Run) -> None:
    def never(city: str) -> None:
        raise AssertionError("was called")

    (result,) = run((never, {"town": "Rome"}))
    assert result.failed
    assert result.content == (
        "Error: the arguments do not fit. city: Field required; town: Extra inputs are not permitted"
    )


def test_a_tool_that_is_not_there_is_told_and_so_is_what_is() -> None:
    def here() -> None: ...

    reply = CallsOfReply((call("there", "{}"),), {"here": tool(here)}, None, 100, PATIENCE)
    (result,) = run_calls(reply, Cancellation())
    assert (result.content, result.failed) == ("Error: there is no tool 'there'. There is: here.", True)


# ── approval ─────────────────────────────────────────────────────────────────────────────────────────────────────────


@pytest.mark.parametrize(
    ("decision", "told"),
    [
        (True, "done"),
        (None, "done"),
        (False, "Error: the call was declined."),
        ("Ask again tomorrow.", "Ask again tomorrow."),
    ],
)
@pytest.mark.parametrize("is_async", [False, True])
def test_whoever_is_asked_lets_a_call_run_declines_it_or_answers_it(
    run: Run, decision: Any, told: str, is_async: bool
) -> None:
    ran = []

    def act(number: int) -> str:
        ran.append(number)
        return "done"

    def approve(call: ToolCall) -> Any:
        assert (call.name, call.arguments) == ("act", '{"number": 1}')
        return decision

    async def aapprove(call: ToolCall) -> Any:
        return approve(call)

    assert contents(run((act, {"number": 1}), on_tool_call=aapprove if is_async else approve)) == [told]
    assert ran == ([1] if told == "done" else [])


def test_one_call_is_asked_about_at_a_time_in_order(run: Run) -> None:
    asked: list[str] = []
    asking = threading.Lock()

    def approve(call: ToolCall) -> bool:
        assert asking.acquire(blocking=False), "two are asked about at once"
        asked.append(call.id)
        asking.release()
        return True

    def act(number: int) -> None: ...

    run(*[(act, {"number": number}) for number in range(5)], on_tool_call=approve)
    assert asked == ["0", "1", "2", "3", "4"]


def test_nobody_is_asked_about_a_call_that_could_not_run(run: Run) -> None:
    def never(call: ToolCall) -> bool:
        raise AssertionError("was asked")

    def act(number: int) -> None: ...

    assert run((act, {"number": "x"}), on_tool_call=never)[0].failed


def test_what_whoever_is_asked_raises_reaches_the_caller_and_nothing_runs(run: Run) -> None:
    ran = []

    def act() -> None:
        ran.append(1)

    def refuse(call: ToolCall) -> bool:
        raise PermissionError("not today")

    with pytest.raises(PermissionError, match="not today"):
        run((act, {}), on_tool_call=refuse)
    assert not ran


# ── stopping ─────────────────────────────────────────────────────────────────────────────────────────────────────────


@pytest.fixture
def never() -> Any:
    """An event that is set when the test is over, so that no thread outlives it."""
    event = threading.Event()
    yield event
    event.set()


def test_a_stop_in_the_middle_ends_the_waiting_and_each_call_has_a_result(run: Run, never: threading.Event) -> None:
    cancellation = Cancellation()
    cleaned_up = threading.Event()

    def quick() -> str:
        return "quick"

    def blocks() -> None:
        never.wait()

    async def waits() -> None:
        cancellation.cancel()
        try:
            await asyncio.Event().wait()
        finally:
            cleaned_up.set()

    results = run((quick, {}), (blocks, {}), (waits, {}), cancellation=cancellation)
    stopped = "Error: the call was stopped before it ended."
    assert contents(results)[1:] == [stopped, stopped]
    assert cleaned_up.wait(PATIENCE), "an async function is cancelled"


def test_a_stop_before_the_first_call_stops_them_all(run: Run, never: threading.Event) -> None:
    cancellation = Cancellation()
    cancellation.cancel()

    def blocks() -> None:
        never.wait()

    assert [result.failed for result in run((blocks, {}), (blocks, {}), cancellation=cancellation)] == [True, True]


def test_time_that_is_over_ends_the_waiting(run: Run, never: threading.Event) -> None:
    def blocks() -> None:
        never.wait()

    async def stubborn() -> str:
        try:
            await asyncio.sleep(PATIENCE)
        except asyncio.CancelledError:
            await asyncio.sleep(0.05)
        return "too late"

    results = run((blocks, {}), (stubborn, {}), seconds=0.05)
    assert contents(results) == ["Error: the call took too long and was given up."] * 2


def test_somebody_who_thinks_about_a_call_does_not_keep_a_stop_waiting(run: Run, never: threading.Event) -> None:
    cancellation = Cancellation()

    def think(call: ToolCall) -> bool:
        cancellation.cancel()
        never.wait()
        return True

    def act() -> None: ...

    assert run((act, {}), on_tool_call=think, cancellation=cancellation)[0].failed


def test_a_stop_after_the_end_does_nothing(run: Run) -> None:
    cancellation = Cancellation()

    def act() -> str:
        return "done"

    assert contents(run((act, {}), cancellation=cancellation)) == ["done"]
    cancellation.cancel()
