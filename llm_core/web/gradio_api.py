"""The Gradio API beside the page: typed endpoints for `gradio_client`, listed under "Use via API".

Streams yield the text so far, so that the last value is the whole reply. Annotations must be objects here, not strings,
and name what is yielded: Gradio makes the endpoints' schemas of them.
"""

import asyncio
from collections.abc import AsyncGenerator, Awaitable, Callable
from contextlib import aclosing
from functools import wraps
from typing import Any, TypeVar

import gradio as gr
from starlette.requests import HTTPConnection

from llm_core.client import LLMClient
from llm_core.events import ChatEvent, ContentDelta
from llm_core.sessions.export import session_dict, summary_dict
from llm_core.web.gate import owner_of
from llm_core.web.gradio_requests import connection_of, sentences
from llm_core.web.paced import paced

T = TypeVar("T")

UPDATE_SECONDS = 0.04
# Gradio looks for a caller who has left only when something is yielded.
HEARTBEAT_SECONDS = 0.25

Admit = Callable[[HTTPConnection], None]


def add_endpoints(client: LLMClient, admit: Admit) -> None:
    """Adds the endpoints to the `gr.Blocks` that is being built.

    Args:
        admit: Refuses a caller who has asked too often.
    """
    settings = client.settings
    default_temperature, default_tokens = settings.temperature, settings.max_tokens

    @_with_sentences_stream
    async def chat_stream(  # type: ignore[misc]  # Gradio reads the annotation as what is yielded
        messages: list[dict[str, str]],
        request: gr.Request,
        temperature: float = default_temperature,
        max_tokens: int = default_tokens,
    ) -> str:
        """The reply to a conversation, as it is made."""
        owner = _admitted(request, admit)
        events = client.achat_stream(messages, temperature=temperature, max_tokens=max_tokens, owner=owner)
        async with aclosing(_texts_so_far(events)) as texts:
            async for text in texts:
                yield text

    @_with_sentences
    async def chat_complete(
        messages: list[dict[str, str]],
        request: gr.Request,
        temperature: float = default_temperature,
        max_tokens: int = default_tokens,
    ) -> str:
        """The whole reply to a conversation."""
        owner = _admitted(request, admit)
        return await client.agenerate(messages, temperature=temperature, max_tokens=max_tokens, owner=owner)

    @_with_sentences_stream
    async def session_chat_stream(  # type: ignore[misc]
        session_id: str,
        message: str,
        request: gr.Request,
        temperature: float = default_temperature,
        max_tokens: int = default_tokens,
    ) -> str:
        """The reply in a session, as it is made."""
        owner = _admitted(request, admit)
        events = client.achat_session_stream(
            session_id, message, temperature=temperature, max_tokens=max_tokens, owner=owner
        )
        async with aclosing(_texts_so_far(events)) as texts:
            async for text in texts:
                yield text

    @_with_sentences
    async def session_chat(
        session_id: str,
        message: str,
        request: gr.Request,
        temperature: float = default_temperature,
        max_tokens: int = default_tokens,
    ) -> str:
        """The whole reply in a session."""
        owner = _admitted(request, admit)
        reply = await client.achat_session(
            session_id, message, temperature=temperature, max_tokens=max_tokens, owner=owner
        )
        return reply.content

    @_with_sentences
    async def session_history(session_id: str, request: gr.Request) -> list[dict[str, Any]]:
        """What was said in a session, oldest first."""
        session = await asyncio.to_thread(client.sessions.get, session_id, owner=_owner(request))
        messages: list[dict[str, Any]] = session_dict(session)["messages"]
        return messages

    @_with_sentences
    async def session_delete(session_id: str, request: gr.Request) -> bool:
        """Forgets a session."""
        await asyncio.to_thread(client.sessions.delete, session_id, owner=_owner(request))
        return True

    @_with_sentences
    async def sessions(request: gr.Request) -> list[dict[str, Any]]:
        """The caller's sessions, the one used last first."""
        found = await asyncio.to_thread(client.sessions.list, owner=_owner(request))
        return [summary_dict(summary) for summary in found]

    for endpoint in (
        chat_stream,
        chat_complete,
        session_chat_stream,
        session_chat,
        session_history,
        session_delete,
        sessions,
    ):
        # The engine's queue is the one gate.
        gr.api(endpoint, api_name=endpoint.__name__, concurrency_limit=None)  # type: ignore[attr-defined]


def _owner(request: gr.Request) -> str:
    return owner_of(connection_of(request))


def _admitted(request: gr.Request, admit: Admit) -> str:
    admit(connection_of(request))
    return _owner(request)


async def _texts_so_far(events: AsyncGenerator[ChatEvent]) -> AsyncGenerator[str]:
    text = ""
    async with aclosing(paced(events, interval=UPDATE_SECONDS, heartbeat=HEARTBEAT_SECONDS)) as groups:
        async for group in groups:
            text += "".join(event.text for event in group if isinstance(event, ContentDelta))
            yield text


def _with_sentences(endpoint: Callable[..., Awaitable[T]]) -> Callable[..., Awaitable[T]]:
    """`endpoint` with our errors as Gradio's, whose sentence reaches the caller."""

    @wraps(endpoint)
    async def called(*args: Any, **kwargs: Any) -> T:
        with sentences():
            return await endpoint(*args, **kwargs)

    return called


def _with_sentences_stream(endpoint: Callable[..., Any]) -> Callable[..., Any]:
    @wraps(endpoint)
    async def called(*args: Any, **kwargs: Any) -> AsyncGenerator[Any]:
        with sentences():
            async with aclosing(endpoint(*args, **kwargs)) as values:
                async for value in values:
                    yield value

    return called
