"""Runs the calls of one reply: checked, approved, at the same time, and each with a result whatever happens."""

from __future__ import annotations

import asyncio
import inspect
import logging
from collections.abc import AsyncGenerator, Callable, Generator, Mapping
from dataclasses import dataclass
from typing import Any

from pydantic_core import to_json

from llm_core.cancellation import Cancellation
from llm_core.events import ERROR, ToolResult
from llm_core.messages import ToolCall
from llm_core.options import Decision, OnToolCall
from llm_core.tools.runnable import ArgumentsDoNotFit, RunnableTool, ToolFailed
from llm_core.tools.threads import call_soon, in_thread, iterate

log = logging.getLogger(__name__)

MAX_AT_ONCE = 8
DEFAULT_RESULT_CHARS = 4096
END_SECONDS = 1.0  # for a cancelled tool to clean up; a reply does not wait longer for one that will not end
STOPPED = "the call was stopped before it ended."
TIMED_OUT = "the call took too long and was given up."
DECLINED = "the call was declined."


@dataclass(frozen=True, slots=True)
class CallsOfReply:
    """What is to be run.

    Attributes:
        tools: By name.
        result_chars: The longest result; a longer one is cut and says so.
        seconds: How long all of them may take.
    """

    calls: tuple[ToolCall, ...]
    tools: Mapping[str, RunnableTool]
    on_tool_call: OnToolCall | None
    result_chars: int
    seconds: float


def run_calls(reply: CallsOfReply, cancellation: Cancellation) -> Generator[ToolResult]:
    """The results, in the order of the calls, each as soon as those before it are there.

    Async functions run together on an event loop, others on threads of their own. A function that is stopped or takes
    too long is left alone; an async one is cancelled.

    Raises:
        Whatever `on_tool_call` raises. What a function raises is its result.
    """
    return iterate(lambda: arun_calls(reply, cancellation))


async def arun_calls(reply: CallsOfReply, cancellation: Cancellation) -> AsyncGenerator[ToolResult]:
    """`run_calls` for event loops: async functions run on the caller's."""
    loop = asyncio.get_running_loop()
    deadline = loop.time() + reply.seconds
    stopped = asyncio.Event()
    cancellation.bind(lambda: call_soon(loop, stopped.set))
    runner = _Runner(reply)
    answers = [asyncio.create_task(runner.answer(call)) for call in reply.calls]
    stop = asyncio.create_task(stopped.wait())
    try:
        for call, answer in zip(reply.calls, answers, strict=True):
            left = max(0.0, deadline - loop.time())
            await asyncio.wait({answer, stop}, timeout=left, return_when=asyncio.FIRST_COMPLETED)
            if answer.done():
                yield answer.result()
            else:
                yield _failed(call, STOPPED if stop.done() else TIMED_OUT)
    finally:
        cancellation.bind(lambda: None)
        await _end([*answers, stop])


class _Runner:
    """Answers calls one by one, as many at a time as may."""

    def __init__(self, reply: CallsOfReply) -> None:
        self._reply = reply
        self._asking = asyncio.Lock()  # it is fair: who is asked about a call is asked in the order of the calls
        self._places = asyncio.Semaphore(MAX_AT_ONCE)

    async def answer(self, call: ToolCall) -> ToolResult:
        tool = self._reply.tools.get(call.name)
        if tool is None:
            return _failed(call, f"there is no tool {call.name!r}. There is: {', '.join(self._reply.tools)}.")
        try:
            function = tool.bind(call.arguments)
        except ArgumentsDoNotFit as error:
            log.info("tool %s was called with arguments that do not fit: %s", call.name, error)
            return _failed(call, f"the arguments do not fit. {error}")
        async with self._asking:
            decision = None if tool.consent == "never" else await self._decision(call)
        if isinstance(decision, str):
            return self._result(call, decision)
        if decision is False:
            return _failed(call, DECLINED)
        async with self._places:
            return await self._run(call, function)

    async def _decision(self, call: ToolCall) -> Decision:
        ask = self._reply.on_tool_call
        if ask is None:
            return None
        decision: Decision = await _outcome(lambda: ask(call), is_async=inspect.iscoroutinefunction(ask))
        return decision

    async def _run(self, call: ToolCall, function: Callable[[], Any]) -> ToolResult:
        try:
            value = await _outcome(function, is_async=inspect.iscoroutinefunction(function))
            return self._result(call, value)
        except asyncio.CancelledError:
            task = asyncio.current_task()
            if task is not None and task.cancelling():
                raise
            return _failed(call, "the tool was cancelled.")
        except ToolFailed as error:
            return self._result(call, f"{ERROR}{error}", failed=True)
        except (Exception, SystemExit) as error:
            log.warning("tool %s failed", call.name, exc_info=True)
            return self._result(call, f"{ERROR}{type(error).__name__}: {error}", failed=True)

    def _result(self, call: ToolCall, value: Any, *, failed: bool = False) -> ToolResult:
        return ToolResult(call.id, call.name, _cut(_text(value), self._reply.result_chars), failed=failed)


async def _outcome(function: Callable[[], Any], *, is_async: bool) -> Any:
    """What a function comes to. One that blocks has a thread; what it returns may still have to be awaited."""
    outcome = function() if is_async else await in_thread(function)
    return await outcome if inspect.isawaitable(outcome) else outcome


def _text(value: Any) -> str:
    """What the model is told of a value: a text as it is, anything else as JSON."""
    text = value if isinstance(value, str) else to_json(value, fallback=str).decode()
    return text.encode("utf-8", "replace").decode()  # lone surrogates have no UTF-8 form


def _cut(text: str, longest: int) -> str:
    return text if len(text) <= longest else f"{text[:longest]}\n[cut off here; it has {len(text):,} characters]"


def _failed(call: ToolCall, why: str) -> ToolResult:
    return ToolResult(call.id, call.name, f"{ERROR}{why}", failed=True)


async def _end(tasks: list[asyncio.Task[Any]]) -> None:
    """Cancels what still runs and waits for a moment until it has ended."""
    for task in tasks:
        task.cancel()
    ended, _ = await asyncio.wait(tasks, timeout=END_SECONDS)
    for task in ended:
        if not task.cancelled():
            task.exception()  # looked at, so that asyncio does not complain that nobody did
