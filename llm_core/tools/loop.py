"""A reply that calls functions of this program: they are run, the model is told what came of it, and goes on.

`ToolLoop` knows what comes next and does nothing itself; `run_loop` and `arun_loop` do it, and decide nothing.
"""

from __future__ import annotations

import time
from collections.abc import AsyncGenerator, Callable, Generator
from contextlib import aclosing, closing
from dataclasses import replace

from llm_core.cancellation import Cancellation
from llm_core.events import ChatEvent, Done, ReplyBuilder, Timings, ToolResult, Usage
from llm_core.messages import MAX_CALLS, Message, ToolCall
from llm_core.request import ChatRequest
from llm_core.tools.calls import CallsOfReply, arun_calls, run_calls
from llm_core.tools.python_tool import PythonTool

Generate = Callable[[ChatRequest, Cancellation], Generator[ChatEvent]]
AGenerate = Callable[[ChatRequest, Cancellation], AsyncGenerator[ChatEvent]]

_ENDS_WITH_CALLS = ("tool_calls", "stop")  # "stop" where the last call was not written to its end


def run_loop(
    request: ChatRequest, cancellation: Cancellation, generate: Generate, *, result_chars: int
) -> Generator[ChatEvent]:
    """The events of the whole reply: deltas, calls and results as they come, one `Done` last.

    Args:
        generate: Makes one generation.
        result_chars: The longest result that the model is told.
    """
    loop = ToolLoop(request, result_chars=result_chars)
    while loop.goes_on:
        with closing(generate(loop.request, cancellation)) as events:
            for event in events:
                yield from loop.take(event)
        if loop.calls:
            with closing(run_calls(loop.to_run(), cancellation)) as results:
                for result in results:
                    yield from loop.take(result)
        loop.finish_step(cancelled=cancellation.cancelled)
    yield loop.done()


async def arun_loop(
    request: ChatRequest, cancellation: Cancellation, generate: AGenerate, *, result_chars: int
) -> AsyncGenerator[ChatEvent]:
    """`run_loop` for event loops."""
    loop = ToolLoop(request, result_chars=result_chars)
    while loop.goes_on:
        async with aclosing(generate(loop.request, cancellation)) as events:
            async for event in events:
                for passed in loop.take(event):
                    yield passed
        if loop.calls:
            async with aclosing(arun_calls(loop.to_run(), cancellation)) as results:
                async for result in results:
                    for passed in loop.take(result):
                        yield passed
        loop.finish_step(cancelled=cancellation.cancelled)
    yield loop.done()


class ToolLoop:
    """Where a reply stands: what is asked for next, what is to be run, and whether it is over.

    A step is one generation and what it called. After `max_steps` of them the model may call nothing more and has to
    answer. A choice that demands a call holds for the first step only, or there would be no end.

    Args:
        now: A clock in seconds.
    """

    def __init__(self, request: ChatRequest, *, result_chars: int, now: Callable[[], float] = time.monotonic) -> None:
        self._asked = request
        self._tools = {tool.name: tool for tool in request.tools if isinstance(tool, PythonTool)}
        self._result_chars = result_chars
        self._now = now
        self._deadline: float | None = None
        self._messages: list[Message] = []
        self._dones: list[Done] = []
        self._ended_by: Done | None = None
        self._begin_step()

    def _begin_step(self) -> None:
        self._builder = ReplyBuilder()
        self._calls: tuple[ToolCall, ...] = ()
        self._results: list[ToolResult] = []

    @property
    def goes_on(self) -> bool:
        return self._ended_by is None

    @property
    def request(self) -> ChatRequest:
        """What is asked of the model next."""
        steps = len(self._dones)
        if not steps:
            return self._asked
        changed = {
            "messages": (*self._asked.messages, *self._messages),
            "tool_choice": "none" if steps >= self._asked.max_steps else "auto",
            "timeout": max(self._seconds_left(), 0.001),
        }
        return self._asked.model_copy(update=changed)

    @property
    def calls(self) -> tuple[ToolCall, ...]:
        """What this step's generation called, once it has ended."""
        return self._calls

    def to_run(self) -> CallsOfReply:
        return CallsOfReply(
            self._calls, self._tools, self._asked.on_tool_call, self._result_chars, max(self._seconds_left(), 0.0)
        )

    def take(self, event: ChatEvent) -> list[ChatEvent]:
        """Takes the next event; returns what of it the caller sees."""
        if self._deadline is None:  # the first one comes on submission, as the engine counts too
            self._deadline = self._now() + self._asked.timeout
        if isinstance(event, ToolResult):
            self._results.append(event)
            return [event]
        self._builder.add(event)
        if not isinstance(event, Done):
            return [event]
        self._dones.append(event)
        self._calls = self._calls_of(event)
        return []

    def _calls_of(self, done: Done) -> tuple[ToolCall, ...]:
        """What is to be run. A reply that was cut short has calls that nobody meant to end there."""
        if len(self._dones) > self._asked.max_steps or done.finish_reason not in _ENDS_WITH_CALLS:
            return ()
        return self._builder.reply().tool_calls[:MAX_CALLS]

    def finish_step(self, *, cancelled: bool) -> None:
        """The calls have their results: goes on to the next step, or ends."""
        last = self._dones[-1]
        if not self._calls:
            self._ended_by = last
        elif cancelled:
            self._ended_by = replace(last, finish_reason="cancelled")
        elif self._seconds_left() <= 0:
            self._ended_by = replace(last, finish_reason="timeout")
        else:
            self._remember()
            self._begin_step()

    def _remember(self) -> None:
        reply = self._builder.reply()
        called = Message(role="assistant", content=reply.content, reasoning=reply.reasoning, tool_calls=self._calls)
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
            usage=_sum([done.usage for done in self._dones]),
            timings=Timings(first.queue_ms, first.ttft_ms, _rate(self._dones)),
            dropped_messages=max(done.dropped_messages for done in self._dones),
        )

    def _seconds_left(self) -> float:
        return self._asked.timeout if self._deadline is None else self._deadline - self._now()


def _sum(usages: list[Usage]) -> Usage:
    return Usage(
        sum(each.prompt_tokens for each in usages),
        sum(each.cached_tokens for each in usages),
        sum(each.completion_tokens for each in usages),
        next((each.cache_miss for each in usages if each.cache_miss), None),
        sum(each.draft_tokens for each in usages),
        sum(each.accepted_tokens for each in usages),
    )


def _rate(dones: list[Done]) -> float:
    """Tokens a second over several generations, each without its first token, as one generation counts it."""
    tokens = seconds = 0.0
    for done in dones:
        if done.timings.tokens_per_second > 0:
            made = max(0, done.usage.completion_tokens - 1)
            tokens += made
            seconds += made / done.timings.tokens_per_second
    return tokens / seconds if seconds else 0.0
