"""A reply for callers who know only tools of their own: what is called and run here is not told, only what came of it.

The calls that are left to the caller keep OpenAI's form: numbered from 0, whatever was called before them.
"""

from __future__ import annotations

from collections.abc import AsyncGenerator, Collection
from contextlib import aclosing

from llm_core.events import ChatEvent, Done, ToolApproval, ToolCallDelta, ToolResult, ToolStarted
from llm_core.reply_builder import ReplyBuilder


async def handed_over(events: AsyncGenerator[ChatEvent], own: Collection[str]) -> AsyncGenerator[ChatEvent]:
    """`events` without the calls of the server's tools, but for those that are left to the caller at the end.

    Args:
        own: The names of the caller's tools, whose calls are told as they are made.
    """
    builder, places = ReplyBuilder(), dict[int, int]()  # from the place in a step to that among those that are told
    count, told = 0, set[str]()
    async with aclosing(events):
        async for event in events:
            builder.add(event)
            match event:
                case ToolCallDelta(id=str(call_id), name=name):
                    places.pop(event.index, None)
                    if name in own:
                        places[event.index], count = count, count + 1
                        told.add(call_id)
                        yield ToolCallDelta(places[event.index], call_id, name, event.arguments)
                case ToolCallDelta(index=index) if index in places:
                    yield ToolCallDelta(places[index], arguments=event.arguments)
                case ToolCallDelta() | ToolStarted() | ToolApproval() | ToolResult():
                    pass
                case Done():
                    for number, call in enumerate((c for c in builder.so_far()[2] if c.id not in told), count):
                        yield ToolCallDelta(number, call.id, call.name)
                        yield ToolCallDelta(number, arguments=call.arguments)
                    yield event
                case _:
                    yield event
