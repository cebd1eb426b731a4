"""The Gradio API beside the page: typed endpoints for `gradio_client`, listed under "Use via API".

Streams yield the text so far, so that the last value is the whole reply. Annotations must be objects here, not strings,
and name what is yielded: Gradio makes the endpoints' schemas of them.
"""

import asyncio
from collections.abc import AsyncGenerator
from contextlib import aclosing
from typing import Any

import gradio as gr

from llm_core.client import LLMClient
from llm_core.events import ChatEvent, ContentDelta
from llm_core.gradio_api.paced import paced
from llm_core.gradio_api.requests import (
    HEARTBEAT_SECONDS,
    UPDATE_SECONDS,
    Admit,
    admitted,
    owner_of_call,
    with_sentences,
    with_sentences_stream,
)
from llm_core.gradio_api.tools import tool_endpoints
from llm_core.sessions.export import session_dict, summary_dict, version_dict


def add_endpoints(client: LLMClient, admit: Admit) -> None:
    """Adds the endpoints to the `gr.Blocks` that is being built.

    Args:
        admit: Refuses a caller who has asked too often.
    """
    settings = client.settings
    default_temperature, default_tokens = settings.temperature, settings.max_tokens

    @with_sentences_stream
    async def chat_stream(  # type: ignore[misc]  # Gradio reads the annotation as what is yielded
        messages: list[dict[str, Any]],
        request: gr.Request,
        temperature: float = default_temperature,
        max_tokens: int = default_tokens,
        response_format: dict[str, Any] | None = None,
        model: str | None = None,
    ) -> str:
        """The reply to a conversation, as it is made."""
        owner = admitted(request, admit)
        events = client.achat_stream(
            messages,
            temperature=temperature,
            max_tokens=max_tokens,
            response_format=response_format,
            model=model,
            owner=owner,
        )
        async with aclosing(texts_so_far(events)) as texts:
            async for text in texts:
                yield text

    @with_sentences
    async def chat_complete(
        messages: list[dict[str, Any]],
        request: gr.Request,
        temperature: float = default_temperature,
        max_tokens: int = default_tokens,
        response_format: dict[str, Any] | None = None,
        model: str | None = None,
    ) -> str:
        """The whole reply to a conversation."""
        owner = admitted(request, admit)
        return await client.agenerate(
            messages,
            temperature=temperature,
            max_tokens=max_tokens,
            response_format=response_format,
            model=model,
            owner=owner,
        )

    @with_sentences_stream
    async def session_chat_stream(  # type: ignore[misc]
        session_id: str,
        message: str,
        request: gr.Request,
        temperature: float = default_temperature,
        max_tokens: int = default_tokens,
        response_format: dict[str, Any] | None = None,
        model: str | None = None,
        attachments: list[dict[str, Any]] | None = None,
    ) -> str:
        """The reply in a session, as it is made."""
        owner = admitted(request, admit)
        events = client.achat_session_stream(
            session_id,
            message,
            attachments=attachments,
            temperature=temperature,
            max_tokens=max_tokens,
            response_format=response_format,
            model=model,
            owner=owner,
        )
        async with aclosing(texts_so_far(events)) as texts:
            async for text in texts:
                yield text

    @with_sentences
    async def session_chat(
        session_id: str,
        message: str,
        request: gr.Request,
        temperature: float = default_temperature,
        max_tokens: int = default_tokens,
        response_format: dict[str, Any] | None = None,
        model: str | None = None,
        attachments: list[dict[str, Any]] | None = None,
    ) -> str:
        """The whole reply in a session."""
        owner = admitted(request, admit)
        reply = await client.achat_session(
            session_id,
            message,
            attachments=attachments,
            temperature=temperature,
            max_tokens=max_tokens,
            response_format=response_format,
            model=model,
            owner=owner,
        )
        return reply.content

    @with_sentences
    async def session_history(session_id: str, request: gr.Request) -> list[dict[str, Any]]:
        """What was said in a session, oldest first."""
        session = await asyncio.to_thread(client.sessions.get, session_id, owner=owner_of_call(request))
        messages: list[dict[str, Any]] = session_dict(session)["messages"]
        return messages

    @with_sentences
    async def session_versions(session_id: str, stream_id: str, request: gr.Request) -> list[dict[str, Any]]:
        """The turns that can stand at the place of one, the oldest first. A turn is named by its stream."""
        owner = owner_of_call(request)
        found = await asyncio.to_thread(client.sessions.versions, session_id, stream_id, owner=owner)
        return [version_dict(turn) for turn in found]

    @with_sentences
    async def session_choose(session_id: str, stream_id: str, request: gr.Request) -> bool:
        """Has a session go on with another version of a turn, and with what followed that."""
        await asyncio.to_thread(client.sessions.choose, session_id, stream_id, owner=owner_of_call(request))
        return True

    @with_sentences
    async def session_delete(session_id: str, request: gr.Request) -> bool:
        """Forgets a session."""
        await asyncio.to_thread(client.sessions.delete, session_id, owner=owner_of_call(request))
        return True

    @with_sentences
    async def sessions(request: gr.Request) -> list[dict[str, Any]]:
        """The caller's sessions: pinned ones first, then the one used last."""
        found = await asyncio.to_thread(client.sessions.list, owner=owner_of_call(request))
        return [summary_dict(summary) for summary in found]

    @with_sentences
    async def models(request: gr.Request) -> list[str]:
        """The names of the models that can be asked for, the default one first."""
        return [member.name for member in client.models.members]

    for endpoint in (
        models,
        chat_stream,
        chat_complete,
        session_chat_stream,
        session_chat,
        session_history,
        session_versions,
        session_choose,
        session_delete,
        sessions,
        *tool_endpoints(client, admit),
    ):
        # The engine's queue is the one gate.
        gr.api(endpoint, api_name=endpoint.__name__, concurrency_limit=None)  # type: ignore[attr-defined]


async def texts_so_far(events: AsyncGenerator[ChatEvent]) -> AsyncGenerator[str]:
    """The reply's text as far as it has come, at the pace of a reader who pays for each update."""
    text = ""
    async with aclosing(paced(events, interval=UPDATE_SECONDS, heartbeat=HEARTBEAT_SECONDS)) as groups:
        async for group in groups:
            text += "".join(event.text for event in group if isinstance(event, ContentDelta))
            yield text
