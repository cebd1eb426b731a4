"""The page that people see: a chat that streams from `LLMClient`, built on Gradio's `ChatInterface`.

Gradio is pinned, because this leans on parts of `ChatInterface` that are not public: how it adds to the history, how
its stop button is wired and how its endpoint is made. Each override says which gap it closes.
"""

from __future__ import annotations

import asyncio
import logging
from collections.abc import AsyncGenerator, Awaitable, Callable
from contextlib import aclosing
from functools import wraps
from pathlib import Path
from typing import Any, Literal

import gradio as gr

from llm_core.client import LLMClient
from llm_core.errors import InvalidRequest, LLMError
from llm_core.events import ChatEvent
from llm_core.sessions.live import LiveReply
from llm_core.tools.builtin import BUILTIN_TOOLS
from llm_core.web.controls import Controls
from llm_core.web.conversation_events import ConversationEvents, first_conversation
from llm_core.web.conversations import Conversations
from llm_core.web.gradio_api import add_endpoints
from llm_core.web.gradio_requests import Admit, connection_of, sentences, visitor_at
from llm_core.web.header import header_html
from llm_core.web.paced import paced
from llm_core.web.sidebar import Sidebar
from llm_core.web.transcript import ShownMessage, ShownReply, conversation, failure, settled, shown, spoken
from llm_core.web.widgets import EXAMPLES, QUIET, STREAM, busy_box, free_box, make_chatbot, make_textbox

log = logging.getLogger(__name__)

TITLE = "Chat"
ENDPOINT = "chat"
UPDATE_SECONDS = 0.04
# Gradio looks for a closed tab only when something is yielded.
HEARTBEAT_SECONDS = 0.25
STATUS_SECONDS = 0.5

_REPLY_LINES_JS = (Path(__file__).parent / "static" / "reply_lines.js").read_text(encoding="utf-8")
_EMPTY = "Type a message first."
_SOMETHING_WRONG = "Something went wrong. The reason is in the server's log; you can try again."
# How often Gradio's queue looks for something to do, all the time. Its own 1 ms wakes the process a thousand times a
# second, and every time a thread of llama.cpp may lose its core while the others wait for it: prompts took 6 % longer.
_LOOK_SECONDS = 0.02

Update = tuple[Any, ...]


def build_app(client: LLMClient, admit: Admit = lambda _caller: None) -> gr.Blocks:
    """The page of `client`, and Gradio's API beside it. It shows how far `client` has loaded.

    Args:
        admit: Refuses a caller of the API who has asked too often.
    """
    page = ChatPage(client, admit)
    page._queue.sleep_when_free = page._queue.progress_update_sleep_when_free = _LOOK_SECONDS
    return page


class ChatPage(gr.ChatInterface):
    """The chat with its header and its settings."""

    def __init__(self, client: LLMClient, admit: Admit) -> None:
        self._client, self._admit = client, admit
        self._conversations = Conversations(client.sessions)
        self._controls = Controls.make(client.settings)
        self._conversation = gr.State("", render=False)  # its id; "" for a program that calls the endpoint
        # Changes when a conversation is opened whose reply goes on. A gr.State would not tell of it without the queue.
        self._followed = gr.Textbox(visible="hidden", render=False)
        self._replies: list[Any] = []  # the events under which a reply is shown
        super().__init__(
            self.reply,
            chatbot=make_chatbot(),
            textbox=make_textbox(),
            additional_inputs=[*self._controls.inputs(), self._conversation],
            examples=[[text] for text in EXAMPLES],
            cache_examples=False,
            title=TITLE,
            editable=False,  # Gradio's own edit cannot be stopped; see _setup_editing
            validator=_has_text,
            concurrency_limit=None,  # the engine's queue is the one gate
            show_progress="hidden",
            api_name=ENDPOINT,
            analytics_enabled=False,
            delete_cache=(3600, 3600),
        )

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
        conversation_id: str,
        request: gr.Request,
    ) -> AsyncGenerator[list[ShownMessage]]:
        """Streams the reply to a message. What a program says is kept by Gradio for as long as its session lasts."""

        async def begin() -> AsyncGenerator[ChatEvent]:
            await asyncio.to_thread(self._admit, connection_of(request))  # it may have to ask a shared counter
            if not message.strip():
                raise InvalidRequest(_EMPTY, param="message")
            options: dict[str, Any] = {
                "temperature": temperature,
                "top_p": top_p,
                "max_tokens": max_tokens,
                "thinking": thinking if self._can_switch_thinking() else None,
                "tools": [BUILTIN_TOOLS[name] for name in tools] or None,
                "overflow": "drop_oldest",
            }
            visitor, kept_in = visitor_at(request), conversation_id or first_conversation(request)
            if visitor and kept_in:
                options |= {"system_prompt": system_prompt}
                return _events_of(
                    await asyncio.to_thread(self._conversations.begin, visitor, kept_in, message, **options)
                )
            said = conversation([*history, {"role": "user", "content": message}])
            owner = f"page:{request.session_hash}"
            return self._client.achat_stream(
                [{"role": "system", "content": system_prompt}, *said], owner=owner, **options
            )

        async with aclosing(self._shown(begin())) as updates:
            async for messages in updates:
                yield messages

    async def _shown(self, beginning: Awaitable[AsyncGenerator[ChatEvent]]) -> AsyncGenerator[list[ShownMessage]]:
        """A reply as it grows. Whatever goes wrong is shown as its end."""
        reply = ShownReply()
        has_begun = False
        try:
            events = await beginning
            yield self._current(reply)
            async with aclosing(paced(events, interval=UPDATE_SECONDS, heartbeat=HEARTBEAT_SECONDS)) as groups:
                async for group in groups:
                    for event in group:
                        reply.add(event)
                        has_begun = True
                    yield self._current(reply)
        except LLMError as error:
            reply.fail(error.message, kept=has_begun)
            yield reply.messages()
        except Exception:
            log.exception("a reply on the page failed")
            reply.fail(_SOMETHING_WRONG, kept=has_begun)
            yield reply.messages()

    def _current(self, reply: ShownReply) -> list[ShownMessage]:
        """The reply as it stands; while the model loads, that is what is waited for."""
        status = self._client.status()
        if reply.state == "waiting" and status.state != "ready":
            reply.wait(status.message)
        return reply.messages()

    def _can_switch_thinking(self) -> bool:
        return self._client.status().state == "ready" and self._client.wait_ready(0).can_switch_thinking

    # ── the page's parts ─────────────────────────────────────────────────────────────────────────────────────────────

    def _render_header(self) -> None:
        self._conversation.render()  # type: ignore[no-untyped-call]
        self._followed.render()  # type: ignore[no-untyped-call]
        self._sidebar = Sidebar.render()
        self._header = gr.HTML(header_html(TITLE), elem_id="header", padding=False)
        self._status_timer = gr.Timer(STATUS_SECONDS, active=False)

    def _render_footer(self) -> None:
        self._controls.render()
        super()._render_footer()  # type: ignore[no-untyped-call]

    def _setup_events(self) -> None:
        super()._setup_events()
        self._setup_box()
        self._setup_status()
        self._setup_editing()
        self._setup_conversations()
        self._setup_endpoint()
        add_endpoints(self._client, self._admit)
        # Shows the line that each reply carries in its metadata, in the browser alone.
        self.chatbot.change(None, [self.chatbot], None, js=_REPLY_LINES_JS, **QUIET)

    def _setup_status(self) -> None:
        outputs = [self._header, self._status_timer, self._controls.thinking]
        self.load(self._status, None, outputs, **QUIET)
        self._status_timer.tick(self._status, None, outputs, **QUIET)

    def _status(self) -> tuple[str, gr.Timer, gr.Checkbox]:
        """The header, asked for again and again until loading has ended."""
        status = self._client.status()
        info = self._client.wait_ready(0) if status.state == "ready" else None
        return (
            header_html(TITLE, status, info, storage=self._client.settings.storage_notice()),
            gr.Timer(active=status.state not in ("ready", "failed")),
            gr.Checkbox(visible=self._can_switch_thinking()),
        )

    def _setup_stop_events(self, event_triggers: Any, events_to_cancel: Any, after_success: Any) -> None:
        """Notes under which events Gradio shows a reply: to a message, again, and to an example."""
        self._replies += events_to_cancel
        self._sent = after_success
        super()._setup_stop_events(event_triggers, events_to_cancel, after_success)

    def _setup_box(self) -> None:
        """Gradio closes and frees the message box by events of its queue. Its client may lose a message that is sent in
        the moment in which the queue's stream of events ends, and that would be when the box has become free."""
        for function in self.fns.values():
            if function.queue and function.outputs == [self.textbox]:
                assert function.fn is not None
                function.fn = free_box if function.fn()["interactive"] else busy_box
                function.queue = False
        # An example leaves it open: what was sent while its reply was made would be refused, and gone.
        _, _, of_example = self._replies
        self.chatbot.example_select(busy_box, None, [self.textbox], **QUIET)
        self._when_ended(of_example)

    def _setup_editing(self) -> None:
        """Gradio's own edit has no stop button. This one has."""
        answered = (
            self.chatbot.edit(
                self._edit,
                [self.chatbot, self._conversation],
                [self.chatbot, self.chatbot_state, self.saved_input],
                **QUIET,
            )
            .success(busy_box, None, [self.textbox], **QUIET)
            .success(
                self._api_wrapper(self.fn, self._stream_fn),  # type: ignore[no-untyped-call]
                [self.saved_input, self.chatbot_state, *self.additional_inputs],
                [self.null_component, self.chatbot],
                **STREAM,
            )
        )
        self._replies.append(answered)
        self._when_ended(answered)
        # Undo and retry are Gradio's. They take back in the store too, for which they need to know where.
        for function in self.fns.values():
            if function.fn == self._pop_last_user_message:
                function.fn, function.inputs = self._take_back, [*function.inputs, self._conversation]

    def _when_ended(self, reply: Any) -> None:
        """What the reply was is then the past of what comes next, and the message box is free."""
        reply.then(**self._keeping()).then(free_box, None, [self.textbox], **QUIET)

    def _keeping(self) -> dict[str, Any]:
        """An event that makes what is shown the past of what comes next."""
        return {
            "fn": lambda history: (history, history),
            "inputs": [self.chatbot],
            "outputs": [self.chatbot_state, self.chatbot_value],
            **QUIET,
        }

    def _edit(
        self, history: list[Any], conversation_id: str, edited: gr.EditData, request: gr.Request
    ) -> tuple[list[Any], list[Any], str]:
        """What is shown, what the reply goes on from, and the message to answer. What followed it is gone."""
        index = edited.index[0] if isinstance(edited.index, (list, tuple)) else edited.index
        past = history[:index]
        self._forget_after(conversation_id, history, past, request)
        return [*past, shown("user", edited.value)], past, edited.value

    def _take_back(self, history: list[Any], conversation_id: str, request: gr.Request) -> tuple[list[Any], Any]:
        """What stays without the last turn, and its message."""
        past, message = self._pop_last_user_message(history)
        self._forget_after(conversation_id, history, past, request)
        return past, message

    def _forget_after(self, conversation_id: str, before: list[Any], kept: list[Any], request: gr.Request) -> None:
        with sentences():
            self._conversations.forget_after(visitor_at(request), conversation_id, before, kept)

    # ── conversations ────────────────────────────────────────────────────────────────────────────────────────────────

    def _setup_conversations(self) -> None:
        sidebar = self._sidebar
        beside = ConversationEvents(self._conversations, self._client.settings.system_prompt)
        shown = [
            self.chatbot,
            self.chatbot_state,
            self._conversation,
            self._controls.system_prompt,
            self._followed,
        ]
        listed = {
            "fn": beside.list,
            "inputs": [sidebar.search, self._conversation],
            "outputs": [sidebar.list],
            **QUIET,
        }
        loaded = self.load(beside.open_addressed, None, shown, **QUIET)
        loaded.then(**listed)
        loaded.then(**self._keeping())  # and the box is as a quick visitor has left it
        for opened in (
            sidebar.new.click(beside.open_new, None, shown, **QUIET),
            sidebar.list.open_conversation(beside.open_picked, None, shown, **QUIET),
        ):
            opened.then(**listed)
            self._then_free(opened, beside)
        # Not simply after each opening: Gradio's client may lose a message that is sent in the moment in which its
        # stream of events ends, so there is none where nothing is to be shown.
        followed = self._followed.change(
            self._follow, [self.chatbot, self._conversation], [self.chatbot, self.textbox], **STREAM
        )
        self._then_free(followed, beside)
        self._replies.append(followed)
        sidebar.list.delete_conversation(beside.delete, [self._conversation], shown, **QUIET).then(**listed)
        sidebar.list.rename_conversation(beside.rename, None, None, **QUIET).then(**listed)
        sidebar.search.change(**listed, trigger_mode="always_last")
        sidebar.list.list_again(**listed)
        self._sent.success(**(listed | {"fn": beside.list_when_begun}))
        for reply in self._replies:
            reply.then(**listed)
        for leave in (sidebar.new.click, sidebar.list.open_conversation):
            leave(None, None, None, cancels=self._replies, api_visibility="undocumented")
        self.textbox.stop(beside.stop, [self._conversation], None, **QUIET)
        self.textbox.stop(None, None, None, cancels=self._replies, api_visibility="undocumented").then(
            settled, [self.chatbot], [self.chatbot], **QUIET
        )

    def _then_free(self, event: Any, beside: ConversationEvents) -> None:
        event.then(**self._keeping()).then(beside.free_box, [self._conversation], [self.textbox], **QUIET)

    async def _follow(
        self, history: list[Any], conversation_id: str, request: gr.Request
    ) -> AsyncGenerator[tuple[Any, Any]]:
        """Goes on showing a reply that was being made when the page was left."""
        running = self._conversations.running(visitor_at(request), conversation_id)
        if running is None:
            yield gr.skip(), gr.skip()
            return

        async def again() -> AsyncGenerator[ChatEvent]:
            return _events_of(running)

        async with aclosing(self._shown(again())) as updates:
            async for messages in updates:
                yield [*history, *messages], busy_box()

    def _setup_endpoint(self) -> None:
        """Callers of the endpoint get plain text, and an error where the page shows one as part of the chat."""
        endpoint = next(function for function in self.fns.values() if function.api_name == ENDPOINT)
        assert endpoint.fn is not None
        endpoint.fn = _as_text(endpoint.fn)

    def _clear_and_save_textbox(self, message: Any) -> tuple[Any, Any]:
        """Keeps the placeholder, which Gradio would take away for good."""
        return gr.Textbox("", interactive=False), message

    # ── the history ──────────────────────────────────────────────────────────────────────────────────────────────────

    def _message_as_message_dict(self, message: Any, role: Literal["user", "assistant"]) -> list[Any]:
        """Keeps a text as it is: as a plain string, Gradio would take away indentation."""
        if isinstance(message, str):
            return [shown(role, message)]
        return super()._message_as_message_dict(message, role)

    async def _stream_fn(self, message: Any, history: Any, *args: Any) -> AsyncGenerator[Update]:
        """Settles what an earlier stop has left half-done before it becomes the past."""
        past: Any = settled(history)
        async with aclosing(super()._stream_fn(message, past, *args)) as updates:
            async for update in updates:
                yield update


def _as_text(stream: Callable[..., AsyncGenerator[Update]]) -> Callable[..., AsyncGenerator[Update]]:
    @wraps(stream)
    async def text_stream(*args: Any) -> AsyncGenerator[Update]:
        async with aclosing(stream(*args)) as updates:
            async for messages, *others in updates:
                if (problem := failure(messages)) is not None:
                    raise gr.Error(problem, print_exception=False)
                yield spoken(messages), *others

    return text_stream


async def _events_of(reply: LiveReply) -> AsyncGenerator[ChatEvent]:
    async with aclosing(reply.aevents()) as numbered:
        async for _, event in numbered:
            yield event


def _has_text(message: str) -> dict[str, Any]:
    valid: dict[str, Any] = gr.validate(bool(message.strip()), _EMPTY)
    return valid
