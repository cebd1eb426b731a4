"""What a visitor does with conversations: Gradio's handlers between the list beside the chat and the store."""

from __future__ import annotations

import asyncio
from typing import Any

import gradio as gr

from llm_core.errors import LLMError
from llm_core.web.conversations import Conversations, new_id, shown_session
from llm_core.web.gradio_requests import connection_of, sentences, visitor_at
from llm_core.web.sidebar import NOT_KEPT, list_html, notice_html
from llm_core.web.visitors import browser_key
from llm_core.web.widgets import free_box

# The name of the conversation in the page's address, so that a reload shows it again (static/sidebar.js).
CONVERSATION_PARAMETER = "c"

Opened = tuple[Any, Any, str, str, Any]
"""What is shown, what a reply goes on from, the conversation's id, its system prompt, and something new where a reply
is being made in it."""


def first_conversation(request: gr.Request) -> str:
    """The id of the conversation that a browser's page begins with, also before it has been told; "" for a program."""
    is_browser = browser_key(connection_of(request)) is not None
    return (request.session_hash or "") if is_browser else ""


class ConversationEvents:
    """The handlers.

    Args:
        system_prompt: Of conversations that have none of their own.
    """

    def __init__(self, conversations: Conversations, system_prompt: str) -> None:
        self._conversations = conversations
        self._system_prompt = system_prompt

    def _open(self, conversation_id: str, request: gr.Request) -> Opened:
        return self._found(conversation_id, request) or ([], [], new_id(), self._system_prompt, gr.skip())

    def _found(self, conversation_id: str, request: gr.Request) -> Opened | None:
        with sentences():
            visitor = visitor_at(request)
            session = self._conversations.find(visitor, conversation_id)
        if session is None:
            return None
        messages = shown_session(session)
        own = session.system_prompt
        running = self._conversations.running(visitor, conversation_id)
        followed = gr.skip() if running is None else new_id()
        return messages, messages, session.session_id, self._system_prompt if own is None else own, followed

    def open_addressed(self, request: gr.Request) -> Opened:
        """When the page is loaded. Where there is nothing to open, what a quick visitor has sent already stays."""
        addressed = connection_of(request).query_params.get(CONVERSATION_PARAMETER, "")
        nothing = gr.skip(), gr.skip(), first_conversation(request) or new_id(), self._system_prompt, gr.skip()
        return self._found(addressed, request) or nothing

    def open_new(self, request: gr.Request) -> Opened:
        return self._open("", request)

    def open_picked(self, event: gr.EventData, request: gr.Request) -> Opened:
        return self._open(str(event.conversation), request)

    def delete(self, current: str, event: gr.EventData, request: gr.Request) -> Any:
        with sentences():
            self._conversations.delete(visitor_at(request), str(event.conversation))
        return self._open("", request) if event.conversation == current else (gr.skip(),) * 5

    def rename(self, event: gr.EventData, request: gr.Request) -> None:
        with sentences():
            self._conversations.rename(visitor_at(request), str(event.conversation), str(event.title))

    def stop(self, conversation_id: str, request: gr.Request) -> None:
        self._conversations.stop(visitor_at(request), conversation_id)

    def free_box(self, conversation_id: str, request: gr.Request) -> Any:
        """The message box, ready for a message, unless one has been sent since the conversation was opened."""
        running = self._conversations.running(visitor_at(request), conversation_id)
        return free_box() if running is None or running.wait(0) else gr.skip()

    def list(self, search: str, current: str, request: gr.Request) -> str:
        visitor = visitor_at(request)
        if not visitor:
            return notice_html(NOT_KEPT, search)
        try:
            return list_html(self._conversations.list(visitor, search), current, search)
        except LLMError as error:
            return notice_html(error.message, search)

    async def list_when_begun(self, search: str, current: str, request: gr.Request) -> str:
        """The list with the conversation that is being begun by another event."""
        for _ in range(20):
            if self._conversations.running(visitor_at(request), current) is not None:
                break
            await asyncio.sleep(0.1)
        return await asyncio.to_thread(self.list, search, current, request)
