"""Function calling for `gradio_client`: endpoints that yield the reply so far as an object, with its calls.

The endpoints beside these yield text, as they always did. Annotations must be objects here, not strings: Gradio makes
the endpoints' schemas of them.
"""

from collections.abc import AsyncGenerator, Callable
from contextlib import aclosing
from typing import Any

import gradio as gr

from llm_core.client import LLMClient
from llm_core.events import ChatEvent, Done, FinishReason
from llm_core.gradio_api.paced import paced
from llm_core.gradio_api.requests import HEARTBEAT_SECONDS, UPDATE_SECONDS, Admit, admitted, with_sentences_stream
from llm_core.reply_builder import ReplyBuilder


def tool_endpoints(client: LLMClient, admit: Admit) -> list[Callable[..., Any]]:
    """The endpoints, named as their paths.

    Args:
        admit: Refuses a caller who has asked too often.
    """
    default_temperature, default_tokens = client.settings.temperature, client.settings.max_tokens

    @with_sentences_stream
    async def chat_tools(  # type: ignore[misc]  # Gradio reads the annotation as what is yielded
        messages: list[dict[str, Any]],
        tools: list[dict[str, Any]],
        request: gr.Request,
        tool_choice: str | dict[str, Any] = "auto",
        temperature: float = default_temperature,
        max_tokens: int = default_tokens,
        model: str | None = None,
        run_tools: bool | list[str] = False,
    ) -> dict[str, Any]:
        """The reply to a conversation as it is made: {content, tool_calls, finish_reason}. You run what is called of
        `tools`; what is called of `run_tools` the server runs."""
        owner = admitted(request, admit)
        options: dict[str, Any] = {"tools": tools, "tool_choice": tool_choice, "temperature": temperature}
        options["run_tools"] = run_tools
        events = client.achat_stream(messages, max_tokens=max_tokens, model=model, owner=owner, **options)
        async with aclosing(_replies_so_far(events)) as replies:
            async for reply in replies:
                yield reply

    @with_sentences_stream
    async def session_chat_tools(  # type: ignore[misc]
        session_id: str,
        message: str | None,
        tools: list[dict[str, Any]],
        request: gr.Request,
        tool_choice: str | dict[str, Any] = "auto",
        tool_results: list[dict[str, Any]] | None = None,
        temperature: float = default_temperature,
        max_tokens: int = default_tokens,
        model: str | None = None,
        run_tools: bool | list[str] = False,
        approvals: list[dict[str, Any]] | None = None,
    ) -> dict[str, Any]:
        """The same in a session: to a message, or to the results of the calls of its last reply, and to decisions about
        those that wait for one."""
        owner = admitted(request, admit)
        options: dict[str, Any] = {"tools": tools, "tool_choice": tool_choice, "temperature": temperature}
        options |= {"run_tools": run_tools, "approvals": approvals}
        events = client.achat_session_stream(
            session_id, message, tool_results=tool_results, max_tokens=max_tokens, model=model, owner=owner, **options
        )
        async with aclosing(_replies_so_far(events)) as replies:
            async for reply in replies:
                yield reply

    return [chat_tools, session_chat_tools]


async def _replies_so_far(events: AsyncGenerator[ChatEvent]) -> AsyncGenerator[dict[str, Any]]:
    builder = ReplyBuilder()
    finish_reason: FinishReason | None = None
    awaiting: list[str] = []
    async with aclosing(paced(events, interval=UPDATE_SECONDS, heartbeat=HEARTBEAT_SECONDS)) as groups:
        async for group in groups:
            for event in group:
                builder.add(event)
                if isinstance(event, Done):
                    finish_reason, awaiting = event.finish_reason, [*event.awaiting_approval]
            content, reasoning, calls = builder.so_far()
            said: dict[str, Any] = {"content": content, "tool_calls": [call.model_dump() for call in calls]}
            said |= ({"reasoning": reasoning} if reasoning else {}) | {"finish_reason": finish_reason}
            yield said | ({"awaiting_approval": awaiting} if awaiting else {})
