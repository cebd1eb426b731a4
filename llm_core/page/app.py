"""The page that people see: a chat that streams from `LLMClient`, built on Gradio's `ChatInterface`.

What is on the screen is known by the browser alone (static/). It asks for things by commands (commands.py), each an
answer to one call, and reads a reply as a stream of Gradio's queue, which consumes a generator.
"""

from __future__ import annotations

import asyncio
import json
from collections.abc import AsyncGenerator
from contextlib import aclosing
from typing import Any

import gradio as gr

from llm_core.client import LLMClient
from llm_core.gradio_api.endpoints import add_endpoints, texts_so_far
from llm_core.gradio_api.requests import Admit, connection_of, sentences
from llm_core.page.approvals import Approvals
from llm_core.page.attachments import AttachmentCommands
from llm_core.page.commands import Commands
from llm_core.page.controls import Controls
from llm_core.page.gradio_private import (
    ChatFrame,
    data_of,
    said_to_a_program,
    server_function,
    translate,
)
from llm_core.page.header import header_html
from llm_core.page.languages import WIDGETS
from llm_core.page.list_commands import ListCommands
from llm_core.page.models import Choice, ModelCommands
from llm_core.page.presets import PresetCommands
from llm_core.page.selection import SelectionCommands
from llm_core.page.widgets import EXAMPLES, QUIET, STREAM, Sidebar, make_chatbot, make_screen, make_textbox
from llm_core.texts.told import english, told

ENDPOINT = "chat"
STATUS_SECONDS = 0.5


def build_app(client: LLMClient, admit: Admit = lambda _caller: None) -> gr.Blocks:
    """The page of `client`, and Gradio's API beside it. It shows how far `client` has loaded.

    Args:
        admit: Refuses a caller who has asked too often.
    """
    return ChatPage(client, admit)


class ChatPage(ChatFrame):
    """The chat with its list of conversations, its header and its settings."""

    def __init__(self, client: LLMClient, admit: Admit) -> None:
        self._client, self._admit = client, admit
        self._commands, self._list, self._models = Commands(client, admit), ListCommands(client), ModelCommands(client)
        self._choice = Choice(client)
        self._controls = Controls.make(client.settings)
        super().__init__(
            self.reply,
            chatbot=make_chatbot(),
            textbox=make_textbox(),
            additional_inputs=[*self._controls.inputs()],
            examples=[[text] for text in EXAMPLES],
            cache_examples=False,
            title=english(told("widgets.title")),
            api_name=ENDPOINT,
            analytics_enabled=False,
            delete_cache=(3600, 3600),
        )
        translate(self, WIDGETS)

    async def reply(
        self,
        message: str,
        history: list[dict[str, Any]],
        system_prompt: str,
        temperature: float,
        top_p: float,
        max_tokens: int,
        thinking: bool,
        tools: list[str],
        request: gr.Request,
    ) -> AsyncGenerator[str]:
        """Streams the reply to a message. What was said is kept for as long as the caller's session lasts."""
        with sentences():
            self._admit(connection_of(request))
            can_switch = await asyncio.to_thread(self._choice.can_switch_thinking, "")
            said = [{"role": "system", "content": system_prompt}, *said_to_a_program(history)]
            events = self._client.achat_stream(
                [*said, {"role": "user", "content": message}],
                owner=f"page:{request.session_hash}",
                temperature=temperature,
                top_p=top_p,
                max_tokens=max_tokens,
                thinking=thinking if can_switch else None,
                tools=self._controls.tools_named(tools),
                overflow="drop_oldest",
            )
            async with aclosing(texts_so_far(events)) as texts:
                async for text in texts:
                    yield text

    # ── the page's parts ─────────────────────────────────────────────────────────────────────────────────────────────

    def render_head(self) -> None:
        approvals = Approvals(self._client, self._admit)
        presets, selection = PresetCommands(self._client), SelectionCommands(self._client, self._list)
        commands = self._commands.all() | self._list.all() | self._models.all() | approvals.all() | presets.all()
        commands |= selection.all() | AttachmentCommands(self._client).all()
        calls = [server_function(name, call) for name, call in commands.items()]
        settings = self._client.settings
        self._screen = make_screen(calls, self._controls.defaults(), consent=settings.mcp_servers is not None)
        Sidebar.render("visitors" if settings.api_tokens else "administrators" if settings.admin_tokens else None)
        self._header = gr.HTML(header_html(), elem_id="header", padding=False)
        self._status_timer = gr.Timer(STATUS_SECONDS, active=False)

    def render_foot(self) -> None:
        self._controls.render()

    def setup_page(self) -> None:
        outputs = [self._header, self._status_timer]
        self.load(self._status, None, outputs, **QUIET)
        self._status_timer.tick(self._status, None, outputs, **QUIET)
        self._setup_screen()
        add_endpoints(self._client, self._admit)

    def _status(self) -> tuple[str, gr.Timer]:
        """The header, asked for again and again until loading has ended."""
        status = self._client.status()
        return (
            header_html(status, storage=self._client.settings.storage_notice()),
            gr.Timer(active=status.state not in ("ready", "failed")),
        )

    def _setup_screen(self) -> None:
        """What the visitor does goes to the page's script, which knows what is on the screen; it asks for the rest."""
        pressed = {"fn": None, "outputs": None, **QUIET}
        self.textbox.submit(inputs=None, js="() => globalThis.chatScreen?.send()", **pressed)
        self.textbox.stop(inputs=None, js="() => globalThis.chatScreen?.stop()", **pressed)
        self.chatbot.retry(inputs=None, js="() => globalThis.chatScreen?.retry()", **pressed)
        self.chatbot.undo(inputs=None, js="() => globalThis.chatScreen?.undo()", **pressed)
        self.chatbot.example_select(inputs=None, js="() => globalThis.chatScreen?.example()", **pressed)
        self._screen.draw(None, None, [self.chatbot], js="() => chatScreen.drawn()", **QUIET)
        self._screen.show(self._show, None, [self._screen], trigger_mode="multiple", **STREAM)

    async def _show(self, event: gr.EventData, request: gr.Request) -> AsyncGenerator[str]:
        """Updates as JSON: of an object Gradio's scripts would make copies and compare them, each time."""
        async with aclosing(self._commands.show(data_of(event), connection_of(request))) as updates:
            async for update in updates:
                yield json.dumps(update, ensure_ascii=False)
