"""Tools in words, for templates that know nothing of them: what may be called, calls, and their results.

The form is that of NousResearch's Hermes function calling, which most models have seen in training.
"""

from __future__ import annotations

import json
from collections.abc import Iterable, Sequence
from itertools import groupby

from llm_core.chat.tool_formats import HERMES
from llm_core.messages import Message, ToolCall
from llm_core.tool_spec import ToolSpec

_ABOUT = """You can call functions. These are their signatures, one JSON object a line:
<tools>
{tools}
</tools>
To call one, write its name and its arguments in this form:
<tool_call>
{{"name": "the function's name", "arguments": {{"an argument's name": "its value"}}}}
</tool_call>
What it gives back follows between <tool_response> and </tool_response>."""


def in_words(messages: Iterable[Message], tools: Sequence[ToolSpec]) -> list[Message]:
    """The conversation with no tools, calls or results but in its texts."""
    written = [_call_in_words(message) for message in messages]
    plain: list[Message] = []
    for is_result, group in groupby(written, key=lambda message: message.role == "tool"):
        if is_result:
            plain.append(_results_in_words(group))
        else:
            plain.extend(group)
    return _with_tools(plain, tools) if tools else plain


def _call_in_words(message: Message) -> Message:
    if not message.tool_calls:
        return message
    parts = [message.content] if message.content else []
    parts += [_written(call) for call in message.tool_calls]
    return Message(role=message.role, content="\n".join(parts), reasoning=message.reasoning)


def _written(call: ToolCall) -> str:
    name = json.dumps(call.name, ensure_ascii=False)[1:-1]
    return f"{HERMES.call_open}{name}{HERMES.call_middle}{call.arguments.strip() or '{}'}{HERMES.call_close}"


def _results_in_words(results: Iterable[Message]) -> Message:
    texts = (f"<tool_response>\n{result.content}\n</tool_response>" for result in results)
    return Message(role="user", content="\n".join(texts))


def _with_tools(messages: list[Message], tools: Sequence[ToolSpec]) -> list[Message]:
    """The conversation with the signatures at the end of its system prompt."""
    about = _ABOUT.format(tools="\n".join(json.dumps(tool.as_openai(), ensure_ascii=False) for tool in tools))
    if messages[0].role != "system":
        return [Message(role="system", content=about), *messages]
    first = messages[0].model_copy(update={"content": f"{messages[0].content}\n\n{about}"})
    return [first, *messages[1:]]
