"""A reply that calls functions of this program: each rule in the four modes, on generations that a test writes."""

from __future__ import annotations

import asyncio
import threading
from collections.abc import AsyncGenerator, Callable
from contextlib import aclosing, closing
from dataclasses import replace
from typing import Any

import pytest

from llm_core.cancellation import Cancellation
from llm_core.errors import ContextOverflow, InvalidRequest
from llm_core.events import (
    ChatEvent,
    ContentDelta,
    Done,
    Queued,
    ReasoningDelta,
    Timings,
    ToolCallDelta,
    ToolResult,
    Usage,
)
from llm_core.messages import MAX_CALLS, Message
from llm_core.request import build_request
from llm_core.tools.calls import DEFAULT_RESULT_CHARS
from llm_core.tools.loop import ToolLoop
from llm_core.tools.python_tool import tool
from tests.scripted_backend import INFO

from .scripted import MODES, QUESTION, Mode, ScriptedClient, ask, ask_whole, calling, done, end, results, saying

PATIENCE = 10.0


def add(a: int, b: int) -> int:
    """Adds two numbers."""
    return a + b


async def greet(name: str) -> str:
    """Greets."""
    return f"Hello, {name}!"


ADD = ("add", '{"a": 2, "b": 3}')
GREET = ("greet", '{"name": "Ada"}')


@pytest.fixture(params=MODES)
def mode(request: pytest.FixtureRequest) -> Mode:
    chosen: Mode = request.param
    return chosen


def told(client: ScriptedClient, step: int) -> list[Message]:
    """What a generation was told, without the system prompt."""
    return [message for message in client.asked[step].messages if message.role != "system"]


# ── the way of a reply ───────────────────────────────────────────────────────────────────────────────────────────────


def test_calls_results_and_text_come_in_order(mode: Mode) -> None:
    client = ScriptedClient(calling(ADD, GREET, text="Let me see."), saying("Five."))
    assert ask(client, mode, tools=[add, greet]) == [
        Queued(0),
        ContentDelta("Let me see."),
        ToolCallDelta(0, "call-0", "add"),
        ToolCallDelta(0, arguments='{"a"'),
        ToolCallDelta(0, arguments=': 2, "b": 3}'),
        ToolCallDelta(1, "call-1", "greet"),
        ToolCallDelta(1, arguments='{"na'),
        ToolCallDelta(1, arguments='me": "Ada"}'),
        ToolResult("call-0", "add", "5"),
        ToolResult("call-1", "greet", "Hello, Ada!"),
        Queued(0),
        ContentDelta("Five."),
        Done("stop", Usage(40, 20, 10), Timings(1.0, 30.0, 50.0), model=INFO.name),
    ]


def test_the_whole_reply_is_what_the_model_said_last(mode: Mode) -> None:
    client = ScriptedClient(calling(ADD, text="Let me see."), saying("Five."))
    reply = ask_whole(client, mode, tools=[add])
    assert (reply.content, reply.tool_calls, reply.finish_reason) == ("Five.", (), "stop")
    assert reply.usage == Usage(40, 20, 10)


def test_the_model_is_told_its_calls_and_their_results(mode: Mode) -> None:
    thought: list[ChatEvent] = [ReasoningDelta("Hm."), *calling(ADD, GREET, text="Let me see.")]
    client = ScriptedClient(thought, saying("Five."))
    ask(client, mode, tools=[add, greet])
    _, called, first, second = told(client, 1)
    assert (called.role, called.content, called.reasoning) == ("assistant", "Let me see.", "Hm.")
    assert called.tool_calls is not None
    assert [(call.id, call.name, call.arguments) for call in called.tool_calls] == [
        ("call-0", *ADD),
        ("call-1", *GREET),
    ]
    assert (first.role, first.tool_call_id, first.content) == ("tool", "call-0", "5")
    assert (second.role, second.tool_call_id, second.content) == ("tool", "call-1", "Hello, Ada!")


def test_a_reply_that_was_begun_is_one_message_with_what_it_went_on_with() -> None:
    client = ScriptedClient(calling(ADD, text=" add."), calling(ADD, text="Again."), saying("5"))
    client.chat([*QUESTION, {"role": "assistant", "content": "Let me"}], tools=[add])

    assert [each.content for each in told(client, 1)] == ["Well?", "Let me add.", "5"]
    assert [each.content for each in told(client, 2)] == ["Well?", "Let me add.", "5", "Again.", "5"]


def test_it_goes_on_for_as_many_steps_as_it_takes(mode: Mode) -> None:
    client = ScriptedClient(calling(ADD), calling(GREET), calling(ADD), saying("Done."))
    events = ask(client, mode, tools=[add, greet])
    assert [result.content for result in results(events)] == ["5", "Hello, Ada!", "5"]
    assert [message.role for message in told(client, 3)] == ["user", *["assistant", "tool"] * 3]


def test_a_reply_without_calls_is_passed_through_unchanged(mode: Mode) -> None:
    client = ScriptedClient(saying("Hello."))
    assert ask(client, mode, tools=[add]) == [Queued(0), ContentDelta("Hello."), replace(done(), model=INFO.name)]


def test_functions_are_told_to_the_model_as_tools(mode: Mode) -> None:
    client = ScriptedClient(saying("Hello."))
    ask(client, mode, tools=[add])
    (told_tool,) = client.asked[0].tools
    assert (told_tool.name, told_tool.description) == ("add", "Adds two numbers.")


def test_dicts_are_left_to_the_caller(mode: Mode) -> None:
    client = ScriptedClient(calling(ADD))
    reply = ask_whole(client, mode, tools=[tool(add).as_openai()])
    assert [(call.name, call.arguments) for call in reply.tool_calls] == [ADD]
    assert reply.finish_reason == "tool_calls"
    assert len(client.asked) == 1


def test_a_mix_of_functions_and_dicts_is_refused(mode: Mode) -> None:
    with pytest.raises(InvalidRequest, match="either all are functions"):
        ask(ScriptedClient(saying("Hello.")), mode, tools=[add, tool(greet).as_openai()])


def test_what_a_tool_gives_back_in_a_session_is_remembered_there() -> None:
    client = ScriptedClient(calling(ADD), saying("Five."))
    client.chat_session("remembers", "2 + 3?", tools=[add])
    roles = [message.role for message in client.session_history("remembers")]
    assert roles == ["user", "assistant", "tool", "assistant"]
    client.chat_session("remembers", "Sure?", tools=[add])
    assert [message.content for message in told(client, 2)] == ["2 + 3?", "", "5", "Five.", "Sure?"]


# ── what goes wrong in a tool ────────────────────────────────────────────────────────────────────────────────────────


def test_a_failure_is_told_to_the_model_which_goes_on(mode: Mode) -> None:
    def fail() -> None:
        raise LookupError("no such city")

    client = ScriptedClient(calling(("fail", "{}"), ("none", "{}"), ("add", "{")), saying("Sorry."))
    events = ask(client, mode, tools=[fail, add])
    assert [result.failed for result in results(events)] == [True, True, True]
    assert [message.content for message in told(client, 1)][2:] == [result.content for result in results(events)]
    assert results(events)[0].content == "Error: LookupError: no such city"
    assert isinstance(events[-2], ContentDelta)


def test_a_call_that_the_model_did_not_finish_is_told_so(mode: Mode) -> None:
    client = ScriptedClient(calling(("add", '{"a": 2'), reason="stop"), saying("Once more."))
    (result,) = results(ask(client, mode, tools=[add]))
    assert result.content.startswith("Error: the arguments do not fit. Invalid JSON")


def test_a_long_result_is_cut_to_a_share_of_the_context(mode: Mode) -> None:
    def talk() -> str:
        return "#" * 10_000

    def length(**settings: Any) -> int:
        (result,) = results(ask(ScriptedClient(calling(("talk", "{}")), saying("."), **settings), mode, tools=[talk]))
        return result.content.count("#")

    assert length(context_tokens=512) == 512
    assert length() == DEFAULT_RESULT_CHARS


def test_an_error_of_a_later_step_is_raised(mode: Mode) -> None:
    client = ScriptedClient(calling(ADD), ContextOverflow("The result does not fit."))
    with pytest.raises(ContextOverflow, match="does not fit"):
        ask(client, mode, tools=[add])


# ── limits and choices ───────────────────────────────────────────────────────────────────────────────────────────────


def test_after_the_last_step_the_model_has_to_answer(mode: Mode) -> None:
    client = ScriptedClient(calling(ADD), calling(ADD), saying("Five."))
    events = ask(client, mode, tools=[add], max_steps=2)
    assert [request.tool_choice for request in client.asked] == ["auto", "auto", "none"]
    assert end(events).finish_reason == "stop"


def test_a_model_that_calls_all_the_same_ends_there(mode: Mode) -> None:
    client = ScriptedClient(calling(ADD))
    reply = ask_whole(client, mode, tools=[add], max_steps=3)
    assert len(client.asked) == 4
    assert reply.finish_reason == "tool_calls"


@pytest.mark.parametrize("steps", [0, 33, "many"])
def test_the_number_of_steps_has_bounds(steps: Any) -> None:
    with pytest.raises(InvalidRequest, match="max_steps"):
        ask(ScriptedClient(saying("Hello.")), tools=[add], max_steps=steps)


@pytest.mark.parametrize("choice", ["required", {"type": "function", "function": {"name": "add"}}])
def test_a_choice_that_demands_a_call_holds_for_the_first_step_only(mode: Mode, choice: Any) -> None:
    client = ScriptedClient(calling(ADD), saying("Five."))
    ask(client, mode, tools=[add], tool_choice=choice)
    assert client.asked[0].tool_choice != "auto"
    assert client.asked[1].tool_choice == "auto"


def test_without_a_choice_nothing_is_run(mode: Mode) -> None:
    client = ScriptedClient(calling(ADD))
    assert not results(ask(client, mode, tools=[add], tool_choice="none"))
    assert len(client.asked) == 1


def test_calls_of_a_reply_that_was_cut_short_are_not_run(mode: Mode) -> None:
    client = ScriptedClient(calling(ADD, reason="length"))
    events = ask(client, mode, tools=[add])
    assert not results(events)
    assert end(events).finish_reason == "length"


def test_not_more_is_run_than_a_message_can_hold() -> None:
    client = ScriptedClient(calling(*[ADD] * (MAX_CALLS + 5)), saying("Five."))
    assert len(results(ask(client, tools=[add]))) == MAX_CALLS


def test_whoever_is_asked_decides(mode: Mode) -> None:
    client = ScriptedClient(calling(ADD, GREET), saying("Hm."))
    events = ask(client, mode, tools=[add, greet], on_tool_call=lambda call: call.name == "greet")
    assert [result.content for result in results(events)] == ["Error: the call was declined.", "Hello, Ada!"]


def test_who_is_asked_must_be_callable() -> None:
    with pytest.raises(InvalidRequest, match="on_tool_call"):
        ask(ScriptedClient(saying("Hello.")), tools=[add], on_tool_call="yes")


# ── counts and time ──────────────────────────────────────────────────────────────────────────────────────────────────


def test_tokens_are_counted_over_all_steps_and_the_beginning_is_the_first_ones() -> None:
    first = [*calling(ADD)[:-1], Done("tool_calls", Usage(100, 0, 11, "new"), Timings(5.0, 80.0, 10.0))]
    second = [ContentDelta("Five."), Done("stop", Usage(120, 110, 41), Timings(0.5, 9.0, 40.0), dropped_messages=2)]
    last = end(ask(ScriptedClient(first, second), tools=[add]))
    assert last.usage == Usage(220, 110, 52, "new")
    assert (last.timings.queue_ms, last.timings.ttft_ms) == (5.0, 80.0)
    assert last.timings.tokens_per_second == pytest.approx(25.0), "50 tokens in 1 s and 1 s"
    assert last.dropped_messages == 2


def test_the_time_that_tools_take_counts(mode: Mode) -> None:
    never = threading.Event()

    def wait() -> None:
        never.wait()

    client = ScriptedClient(calling(("wait", "{}")), saying("Never said."))
    events = ask(client, mode, tools=[wait], timeout=0.2)
    never.set()
    assert results(events)[0].content == "Error: the call took too long and was given up."
    assert end(events).finish_reason == "timeout"
    assert len(client.asked) == 1


def test_each_step_has_the_time_that_is_left() -> None:
    now = 0.0
    request = build_request(QUESTION, max_tokens=9, timeout=10.0, tools=(tool(add),))
    loop = ToolLoop(request, result_chars=99, now=lambda: now)
    now = 100.0  # the model was loaded
    for event in [Queued(0), *calling(ADD)]:
        loop.take(event)
    now = 104.0
    assert loop.to_run().seconds == 6.0
    loop.take(ToolResult("call-0", "add", "5"))
    loop.finish_step(cancelled=False)
    assert loop.goes_on
    assert loop.request.timeout == 6.0
    now = 111.0
    for event in calling(ADD):
        loop.take(event)
    loop.finish_step(cancelled=False)
    assert loop.done().finish_reason == "timeout"


# ── stopping ─────────────────────────────────────────────────────────────────────────────────────────────────────────


class Blocking:
    """A tool that lets the test know that it runs, and never ends by itself."""

    def __init__(self) -> None:
        self.runs = threading.Event()
        self.was_cancelled = threading.Event()
        self.may_end = threading.Event()

    def block(self) -> None:
        self.runs.set()
        self.may_end.wait()

    async def ablock(self) -> None:
        self.runs.set()
        try:
            await asyncio.Event().wait()
        finally:
            self.was_cancelled.set()


@pytest.fixture
def blocking() -> Any:
    tool = Blocking()
    yield tool
    tool.may_end.set()


def stop_when_it_runs(blocking: Blocking, stop: Callable[[], None]) -> None:
    def wait() -> None:
        assert blocking.runs.wait(PATIENCE)
        stop()

    threading.Thread(target=wait, daemon=True).start()


@pytest.mark.parametrize("mode", ["chat", "achat"])
@pytest.mark.parametrize("name", ["block", "ablock"])
def test_a_stop_in_the_middle_of_a_tool_ends_the_reply(mode: Mode, name: str, blocking: Blocking) -> None:
    cancellation = Cancellation()
    stop_when_it_runs(blocking, cancellation.cancel)
    client = ScriptedClient(calling((name, "{}")), saying("Never said."))
    events = ask(client, mode, tools=[getattr(blocking, name)], cancellation=cancellation)
    assert results(events)[0].content == "Error: the call was stopped before it ended."
    assert end(events).finish_reason == "cancelled"
    assert len(client.asked) == 1


def test_a_reply_of_a_session_can_be_stopped_in_the_middle_of_a_tool(blocking: Blocking) -> None:
    client = ScriptedClient(calling(("block", "{}")), saying("Never said."))
    reply = client.sessions.begin("stopped", "Well?", tools=[blocking.block])
    stop_when_it_runs(blocking, reply.cancel)
    assert end([event for _, event in reply.events()]).finish_reason == "cancelled"
    assert [message.role for message in client.session_history("stopped")] == ["user", "assistant", "tool"]


async def test_cancelling_the_task_cancels_the_tool(blocking: Blocking) -> None:
    client = ScriptedClient(calling(("ablock", "{}")), saying("Never said."))
    reply = asyncio.create_task(client.achat(QUESTION, tools=[blocking.ablock]))
    await asyncio.to_thread(blocking.runs.wait, PATIENCE)
    reply.cancel()
    with pytest.raises(asyncio.CancelledError):
        await reply
    assert blocking.was_cancelled.is_set()


def test_leaving_the_loop_cancels_the_tool(blocking: Blocking) -> None:
    client = ScriptedClient(calling(ADD, ("ablock", "{}")), saying("Never said."))
    with closing(client.chat_stream(QUESTION, tools=[add, blocking.ablock])) as events:
        assert any(isinstance(event, ToolResult) for event in events)
    assert blocking.was_cancelled.wait(PATIENCE)


async def test_leaving_the_async_loop_cancels_the_tool(blocking: Blocking) -> None:
    client = ScriptedClient(calling(ADD, ("ablock", "{}")), saying("Never said."))
    async with aclosing(client.achat_stream(QUESTION, tools=[add, blocking.ablock])) as events:
        async for event in events:
            if isinstance(event, ToolResult):
                break
    assert blocking.was_cancelled.is_set()


# ── where tools run ──────────────────────────────────────────────────────────────────────────────────────────────────


async def test_async_tools_of_an_async_caller_run_on_its_loop() -> None:
    async def here() -> bool:
        return asyncio.get_running_loop() is loop

    loop = asyncio.get_running_loop()
    client = ScriptedClient(calling(("here", "{}")), saying("Yes."))
    events = [event async for event in client.achat_stream(QUESTION, tools=[here])]
    assert results(events)[0].content == "true"


async def test_a_sync_caller_inside_a_loop_can_use_async_tools() -> None:
    client = ScriptedClient(calling(GREET), saying("Yes."))
    assert client.chat(QUESTION, tools=[greet]).content == "Yes."


async def test_the_twins_give_the_same_events() -> None:
    def client() -> ScriptedClient:
        return ScriptedClient(calling(ADD, GREET, text="Let me see."), calling(("none", "{}")), saying("Five."))

    sync = list(client().chat_stream(QUESTION, tools=[add, greet]))
    stream: AsyncGenerator[ChatEvent] = client().achat_stream(QUESTION, tools=[add, greet])
    assert [event async for event in stream] == sync
