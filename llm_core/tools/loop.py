"""A reply that calls tools which are run here: they are run, the model is told what came of it, and goes on.

`ToolLoop` knows what comes next and does nothing itself; `run_loop` and `arun_loop` do it, and decide nothing.
"""

from __future__ import annotations

import time
from collections.abc import AsyncGenerator, Callable, Generator
from contextlib import aclosing, closing
from dataclasses import replace

from llm_core.cancellation import Cancellation
from llm_core.conversation import gone_on_with
from llm_core.events import ChatEvent, Done, Timings, ToolApproval, ToolResult, ToolStarted, Usage
from llm_core.messages import MAX_CALLS, Message, ToolCall
from llm_core.reply_builder import ReplyBuilder
from llm_core.request import ChatRequest
from llm_core.tools.calls import CallsOfReply, arun_calls, run_calls
from llm_core.tools.registry import NOTHING_SERVED, ServedTools
from llm_core.tools.runnable import ArgumentsDoNotFit, RunnableTool

Generate = Callable[[ChatRequest, Cancellation], Generator[ChatEvent]]
AGenerate = Callable[[ChatRequest, Cancellation], AsyncGenerator[ChatEvent]]

_ENDS_WITH_CALLS = ("tool_calls", "stop")  # "stop" where the last call was not written to its end


def runs_tools(request: ChatRequest) -> bool:
    """Whether a request has, or may have, calls that are run here: else its reply is one generation."""
    if request.run_tools or request.approved_calls or request.results_made:
        return True
    return any(isinstance(tool, RunnableTool) for tool in request.callable_tools)


def run_loop(
    request: ChatRequest, served: ServedTools, cancellation: Cancellation, generate: Generate, *, result_chars: int
) -> Generator[ChatEvent]:
    """The events of the whole reply: deltas, calls and results as they come, one `Done` last.

    Args:
        served: The tools that this server runs for the request.
        generate: Makes one generation.
        result_chars: The longest result that the model is told.
    """
    loop = ToolLoop(request, served, result_chars=result_chars)
    yield from _run(loop, cancellation)
    while loop.goes_on:
        with closing(generate(loop.request, cancellation)) as events:
            for event in events:
                yield from loop.take(event)
        yield from _run(loop, cancellation)
        loop.finish_step(cancelled=cancellation.cancelled)
    yield loop.done()


def _run(loop: ToolLoop, cancellation: Cancellation) -> Generator[ChatEvent]:
    yield from loop.started()
    if loop.calls:
        with closing(run_calls(loop.to_run(), cancellation)) as results:
            for result in results:
                yield from loop.take(result)
    yield from loop.asked()


async def arun_loop(
    request: ChatRequest, served: ServedTools, cancellation: Cancellation, generate: AGenerate, *, result_chars: int
) -> AsyncGenerator[ChatEvent]:
    """`run_loop` for event loops."""
    loop = ToolLoop(request, served, result_chars=result_chars)
    async with aclosing(_arun(loop, cancellation)) as events:
        async for passed in events:
            yield passed
    while loop.goes_on:
        async with aclosing(generate(loop.request, cancellation)) as generated:
            async for event in generated:
                for passed in loop.take(event):
                    yield passed
        async with aclosing(_arun(loop, cancellation)) as events:
            async for passed in events:
                yield passed
        loop.finish_step(cancelled=cancellation.cancelled)
    yield loop.done()


async def _arun(loop: ToolLoop, cancellation: Cancellation) -> AsyncGenerator[ChatEvent]:
    for event in loop.started():
        yield event
    if loop.calls:
        async with aclosing(arun_calls(loop.to_run(), cancellation)) as results:
            async for result in results:
                for event in loop.take(result):
                    yield event
    for event in loop.asked():
        yield event


class ToolLoop:
    """Where a reply stands: what is asked for next, what is to be run, and whether it is over.

    A step is one generation and what it called. After `max_steps` of them the model may call nothing more and has to
    answer. A choice that demands a call holds for the first step only, or there would be no end. Calls that were
    approved since the turn before are run before the first step.

    A reply ends with the calls that are not made here: those of the caller's own tools, and those to which somebody has
    to agree and nobody can be asked now.

    Args:
        now: A clock in seconds.

    Raises:
        InvalidRequest: The request cannot have its tools and those of the server together.
    """

    def __init__(
        self,
        request: ChatRequest,
        served: ServedTools = NOTHING_SERVED,
        *,
        result_chars: int,
        now: Callable[[], float] = time.monotonic,
    ) -> None:
        self._asked = request.with_served(served.offered)
        self._handed = frozenset(tool.name for tool in self._asked.tools if not isinstance(tool, RunnableTool))
        self._tools = {tool.name: tool for tool in self._asked.tools if isinstance(tool, RunnableTool)}
        self._result_chars = result_chars
        self._now = now
        self._deadline: float | None = None
        self._begun = request.begun
        self._before = request.messages[:-1] if request.begun is not None else request.messages
        self._messages: list[Message] = []
        self._dones: list[Done] = []
        self._ended_by: Done | None = None
        self._approved = served.approved
        self._begin_step(request.approved_calls)
        self._results += request.results_made
        if self._calls:
            self._start_clock()

    def _begin_step(self, calls: tuple[ToolCall, ...] = ()) -> None:
        self._builder = ReplyBuilder()
        self._calls = calls
        self._left: tuple[ToolCall, ...] = ()
        self._results: list[ToolResult] = []

    def _start_clock(self) -> None:
        if self._deadline is None:
            self._deadline = self._now() + self._asked.timeout

    @property
    def goes_on(self) -> bool:
        return self._ended_by is None

    @property
    def request(self) -> ChatRequest:
        """What is asked of the model next."""
        steps = len(self._dones)
        if not steps:
            return self._with_results_of_approved()
        changed = {
            "messages": (*self._before, *self._messages),
            "tool_choice": "none" if steps >= self._asked.max_steps else "auto",
            "timeout": max(self._seconds_left(), 0.001),
        }
        return self._asked.model_copy(update=changed)

    def _with_results_of_approved(self) -> ChatRequest:
        """The request with what came of the approved calls, in the place where it was said that they are."""
        if not self._results:
            return self._asked
        told = {result.call_id: result.content for result in self._results}
        messages = tuple(
            message.model_copy(update={"content": told.get(message.tool_call_id or "", message.content)})
            for message in self._asked.messages
        )
        self._asked = self._asked.model_copy(update={"messages": messages})
        self._begin_step()
        return self._asked.model_copy(update={"timeout": max(self._seconds_left(), 0.001)})

    @property
    def calls(self) -> tuple[ToolCall, ...]:
        """What is to be run now."""
        return self._calls

    def to_run(self) -> CallsOfReply:
        approved = () if self._dones else self._asked.approved_calls
        tools, ask = (self._approved, None) if approved else (self._tools, self._asked.on_tool_call)
        return CallsOfReply(self._calls, tools, ask, self._result_chars, max(self._seconds_left(), 0.0))

    def started(self) -> list[ChatEvent]:
        """The calls of the server's tools that are made now without anybody being asked, after the results of those
        that were made before."""
        tools = self._tools if self._dones else self._approved
        return [
            *self._results,
            *(
                ToolStarted(call.id, call.name, tools[call.name].server)
                for call in self._calls
                if call.name in tools and (not self._dones or tools[call.name].consent == "never")
            ),
        ]

    def asked(self) -> list[ChatEvent]:
        """The calls that wait for somebody to agree."""
        return [
            ToolApproval(call.id, call.name, call.arguments, self._tools[call.name].server)
            for call in self._left
            if call.id in self._awaiting
        ]

    @property
    def _awaiting(self) -> tuple[str, ...]:
        """Only in a session: elsewhere there is nothing that could wait, and whoever has asked gets the calls."""
        return tuple(call.id for call in self._left if self._asked.session and call.name not in self._handed)

    def take(self, event: ChatEvent) -> list[ChatEvent]:
        """Takes the next event; returns what of it the caller sees."""
        self._start_clock()  # the first one comes on submission, as the engine counts too
        if isinstance(event, ToolResult):
            self._results.append(event)
            return [event]
        self._builder.add(event)
        if not isinstance(event, Done):
            return [event]
        self._dones.append(event)
        self._sort_calls(event)
        return []

    def _sort_calls(self, done: Done) -> None:
        """What is to be run, and what is left to others. A reply that was cut short has calls that nobody meant to end
        there."""
        if len(self._dones) > self._asked.max_steps or done.finish_reason not in _ENDS_WITH_CALLS:
            return
        calls = self._builder.reply().tool_calls[:MAX_CALLS]
        self._left = tuple(call for call in calls if self._is_left(call))
        self._calls = tuple(call for call in calls if call not in self._left)

    def _is_left(self, call: ToolCall) -> bool:
        tool = self._tools.get(call.name)
        if tool is None:
            return call.name in self._handed
        if tool.consent != "always" or self._asked.on_tool_call is not None:
            return False
        try:
            tool.bind(call.arguments)
        except ArgumentsDoNotFit:
            return False  # nobody need be asked about what cannot be made
        return True

    def finish_step(self, *, cancelled: bool) -> None:
        """The calls have their results: goes on to the next step, or ends."""
        last = self._dones[-1]
        if not self._calls and not self._left:
            self._ended_by = last
        elif cancelled:
            self._ended_by = replace(last, finish_reason="cancelled")
        elif self._left:
            self._ended_by = replace(last, finish_reason="tool_calls", awaiting_approval=self._awaiting)
        elif self._seconds_left() <= 0:
            self._ended_by = replace(last, finish_reason="timeout")
        else:
            self._remember()
            self._begin_step()

    def _remember(self) -> None:
        reply = self._builder.reply()
        called = Message(role="assistant", content=reply.content, reasoning=reply.reasoning, tool_calls=self._calls)
        if self._begun is not None:
            called, self._begun = gone_on_with(self._begun, called), None
        results = (Message(role="tool", content=each.content, tool_call_id=each.call_id) for each in self._results)
        self._messages += [called, *results]

    def done(self) -> Done:
        """The end of the whole reply.

        Tokens are counted over all steps. Its beginning, in the queue and to the first token, is the first step's; the
        rate is that of all tokens over the time in which they were made, without the time that functions took.
        """
        assert self._ended_by is not None
        if len(self._dones) == 1:
            return self._ended_by
        first = self._dones[0].timings
        return replace(
            self._ended_by,
            usage=Usage.total([done.usage for done in self._dones]),
            timings=Timings(first.queue_ms, first.ttft_ms, _rate(self._dones)),
            dropped_messages=max(done.dropped_messages for done in self._dones),
        )

    def _seconds_left(self) -> float:
        return self._asked.timeout if self._deadline is None else self._deadline - self._now()


def _rate(dones: list[Done]) -> float:
    """Tokens a second over several generations, each without its first token, as one generation counts it."""
    tokens = seconds = 0.0
    for done in dones:
        if done.timings.tokens_per_second > 0:
            made = max(0, done.usage.completion_tokens - 1)
            tokens += made
            seconds += made / done.timings.tokens_per_second
    return tokens / seconds if seconds else 0.0
