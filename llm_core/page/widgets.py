"""The page's widgets, and how events of the page run."""

from __future__ import annotations

from collections.abc import Callable, Sequence
from pathlib import Path
from typing import Any

import gradio as gr

from llm_core.sessions.sessions import MAX_SEARCH_CHARS

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
# Events that take a moment or that the page's script alone deals with, and those that stream a reply, for which the
# engine's queue is the one gate.
QUIET: dict[str, Any] = {"queue": False, "show_progress": "hidden", "api_visibility": "undocumented"}
STREAM: dict[str, Any] = {"concurrency_limit": None, "show_progress": "hidden", "api_visibility": "undocumented"}

_STATIC = Path(__file__).parent / "static"
# One after the other: each may use what stands above it.
_WHEN_THERE = """const waiting = setInterval(() => {
	const parts = ["#conversations ul", "#search :is(textarea, input)", "#message textarea", "#header"];
	if (!parts.every((part) => document.querySelector(part))) return;
	clearInterval(waiting);
SCRIPTS
}, 20);
"""
_SCRIPTS = (
    "drafts.js",
    "list.js",
    "chat.js",
    "box.js",
    "presses.js",
    "models.js",
    "panel.js",
    "offered.js",
    "screen.js",
)


def make_chatbot() -> gr.Chatbot:
    return gr.Chatbot(
        elem_id="chat",
        show_label=False,
        container=False,
        scale=1,
        editable="user",
        autoscroll=False,  # the page's script follows the text, and lets whoever scrolls up read
        latex_delimiters=[dict(pair) for pair in LATEX],
        buttons=["copy"],
        allow_tags=True,  # unknown tags, such as List<String>, are shown as text instead of taken away
        allow_file_downloads=False,
        placeholder="## What would you like to know?",
    )


def make_textbox() -> gr.Textbox:
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


def make_screen(server_functions: Sequence[Callable[..., Any]], system_prompt: str) -> gr.HTML:
    """The page's script. Its value is the newest update of a reply; it has the events `show`, `draw`, `opened` and
    `again`, and calls `server_functions`.

    Args:
        system_prompt: Of new conversations.
    """
    scripts = "\n".join((_STATIC / name).read_text(encoding="utf-8") for name in _SCRIPTS)
    return gr.HTML(
        elem_id="screen",
        visible="hidden",
        html_template="",
        js_on_load=_WHEN_THERE.replace("SCRIPTS", scripts),
        system_prompt=system_prompt,
        server_functions=list(server_functions),
    )


class Sidebar:
    """The list of conversations beside the chat. What is in it, and what is done with it, is the script's (list.js)."""

    @staticmethod
    def render() -> None:
        """Puts it on the page that is being built."""
        with gr.Sidebar(open=True, width=280, elem_id="sidebar"):
            gr.Button("New chat", elem_id="new-chat", size="md")
            gr.Textbox(
                elem_id="search",
                placeholder="Search conversations",
                label="Search conversations",
                show_label=False,
                container=False,
                max_lines=1,
                max_length=MAX_SEARCH_CHARS,
            )
            gr.HTML(
                '<div role="status"></div><ul aria-label="Conversations"></ul>', elem_id="conversations", padding=False
            )
