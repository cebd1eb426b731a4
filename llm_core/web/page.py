"""The page that people see: a chat that streams from `LLMClient`, built on Gradio's `ChatInterface`.

Gradio is pinned, because this leans on parts of `ChatInterface` that are not public: how it adds to the history, how
its stop button is wired and how its endpoint is made. Each override says which gap it closes.
"""

from __future__ import annotations

import logging
from collections.abc import AsyncGenerator, Callable
from contextlib import aclosing
from functools import wraps
from pathlib import Path
from typing import Any, Literal

import gradio as gr

from llm_core.client import LLMClient
from llm_core.errors import InvalidRequest, LLMError
from llm_core.web.controls import Controls
from llm_core.web.gradio_api import Admit, add_endpoints
from llm_core.web.header import header_html
from llm_core.web.paced import paced
from llm_core.web.transcript import ShownMessage, ShownReply, conversation, failure, settled, shown, spoken_text

log = logging.getLogger(__name__)

TITLE = "Chat"
ENDPOINT = "chat"
UPDATE_SECONDS = 0.04
# Gradio looks for a closed tab only when something is yielded.
HEARTBEAT_SECONDS = 0.25
STATUS_SECONDS = 0.5

EXAMPLES = (
    "Explain in a few sentences how a rainbow forms.",
    "Write a short, friendly email that moves our meeting to Friday.",
    "Suggest five quick dinners with eggs and vegetables.",
    "Write a Python function that checks whether a word is a palindrome.",
)
LATEX: tuple[dict[str, str | bool], ...] = (
    {"left": "$$", "right": "$$", "display": True},
    {"left": "\\[", "right": "\\]", "display": True},
    {"left": "\\(", "right": "\\)", "display": False},
)
_REPLY_LINES_JS = (Path(__file__).parent / "static" / "reply_lines.js").read_text(encoding="utf-8")
_QUIET: dict[str, Any] = {"queue": False, "show_progress": "hidden", "api_visibility": "undocumented"}
_EMPTY = "Type a message first."
_SOMETHING_WRONG = "Something went wrong. The reason is in the server's log; you can try again."

Update = tuple[Any, ...]


def build_app(client: LLMClient, admit: Admit = lambda _caller: None) -> gr.Blocks:
    """The page of `client`, and Gradio's API beside it. It shows how far `client` has loaded.

    Args:
        admit: Refuses a caller of the API who has asked too often.
    """
    return ChatPage(client, admit)


class ChatPage(gr.ChatInterface):
    """The chat with its header and its settings."""

    def __init__(self, client: LLMClient, admit: Admit) -> None:
        self._client, self._admit = client, admit
        self._controls = Controls.make(client.settings)
        super().__init__(
            self.reply,
            chatbot=_chatbot(),
            textbox=_textbox(),
            additional_inputs=self._controls.inputs(),
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
        request: gr.Request,
    ) -> AsyncGenerator[list[ShownMessage]]:
        """Streams the reply to a message. The conversation is kept for as long as the caller's session lasts."""
        reply = ShownReply()
        try:
            if not message.strip():
                raise InvalidRequest(_EMPTY, param="message")
            events = self._client.achat_stream(
                [
                    {"role": "system", "content": system_prompt},
                    *conversation([*history, {"role": "user", "content": message}]),
                ],
                temperature=temperature,
                top_p=top_p,
                max_tokens=max_tokens,
                thinking=thinking if self._can_switch_thinking() else None,
                overflow="drop_oldest",
                owner=f"page:{request.session_hash}",
            )
            yield self._current(reply)
            async with aclosing(paced(events, interval=UPDATE_SECONDS, heartbeat=HEARTBEAT_SECONDS)) as groups:
                async for group in groups:
                    for event in group:
                        reply.add(event)
                    yield self._current(reply)
        except LLMError as error:
            reply.fail(error.message)
            yield reply.messages()
        except Exception:
            log.exception("a reply on the page failed")
            reply.fail(_SOMETHING_WRONG)
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
        self._header = gr.HTML(header_html(TITLE), elem_id="header", padding=False)
        self._status_timer = gr.Timer(STATUS_SECONDS, active=False)

    def _render_footer(self) -> None:
        self._controls.render()
        super()._render_footer()  # type: ignore[no-untyped-call]

    def _setup_events(self) -> None:
        super()._setup_events()
        self._setup_status()
        self._setup_editing()
        self._setup_endpoint()
        add_endpoints(self._client, self._admit)
        # Shows the line that each reply carries in its metadata, in the browser alone.
        self.chatbot.change(None, [self.chatbot], None, js=_REPLY_LINES_JS, **_QUIET)

    def _setup_status(self) -> None:
        outputs = [self._header, self._status_timer, self._controls.thinking]
        self.load(self._status, None, outputs, **_QUIET)
        self._status_timer.tick(self._status, None, outputs, **_QUIET)

    def _status(self) -> tuple[str, gr.Timer, gr.Checkbox]:
        """The header, asked for again and again until loading has ended."""
        status = self._client.status()
        info = self._client.wait_ready(0) if status.state == "ready" else None
        return (
            header_html(TITLE, status, info),
            gr.Timer(active=status.state not in ("ready", "failed")),
            gr.Checkbox(visible=self._can_switch_thinking()),
        )

    def _setup_editing(self) -> None:
        """Gradio's own edit has no stop button. This one has, and the stop tidies up after every kind of reply."""
        answered = (
            self.chatbot.edit(
                self._edit, [self.chatbot], [self.chatbot, self.chatbot_state, self.saved_input], **_QUIET
            )
            .then(
                lambda: gr.Textbox(interactive=False, submit_btn=False, stop_btn=True), None, [self.textbox], **_QUIET
            )
            .then(
                self._api_wrapper(self.fn, self._stream_fn),  # type: ignore[no-untyped-call]
                [self.saved_input, self.chatbot_state, *self.additional_inputs],
                [self.null_component, self.chatbot],
                concurrency_limit=None,
                show_progress="hidden",
                api_visibility="undocumented",
            )
        )
        answered.then(
            lambda history: (history, history), [self.chatbot], [self.chatbot_state, self.chatbot_value], **_QUIET
        ).then(lambda: gr.Textbox(interactive=True, submit_btn=True, stop_btn=False), None, [self.textbox], **_QUIET)
        self.textbox.stop(None, None, None, cancels=[answered], api_visibility="undocumented").then(
            settled, [self.chatbot], [self.chatbot], **_QUIET
        )

    def _edit(self, history: list[Any], edited: gr.EditData) -> tuple[list[Any], list[Any], str]:
        """What is shown, what the reply goes on from, and the message to answer. What followed it is gone."""
        index = edited.index[0] if isinstance(edited.index, (list, tuple)) else edited.index
        past = history[:index]
        return [*past, shown("user", edited.value)], past, edited.value

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
                yield "".join(map(spoken_text, messages)), *others

    return text_stream


def _has_text(message: str) -> dict[str, Any]:
    valid: dict[str, Any] = gr.validate(bool(message.strip()), _EMPTY)
    return valid


def _chatbot() -> gr.Chatbot:
    return gr.Chatbot(
        elem_id="chat",
        show_label=False,
        container=False,
        scale=1,
        editable="user",
        latex_delimiters=[dict(pair) for pair in LATEX],
        buttons=["copy"],
        allow_tags=True,  # unknown tags, such as List<String>, are shown as text instead of taken away
        allow_file_downloads=False,
        placeholder="## What would you like to know?",
    )


def _textbox() -> gr.Textbox:
    return gr.Textbox(
        elem_id="message",
        placeholder="Type a message",
        label="Message",
        show_label=False,
        container=False,
        scale=7,
        max_lines=8,
        submit_btn=True,
        stop_btn=True,
        autofocus=True,
    )
