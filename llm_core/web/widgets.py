"""The page's widgets, and how events of the page run."""

from __future__ import annotations

from typing import Any

import gradio as gr

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
# Events that take a moment, and those that stream a reply. The engine's queue is the one gate.
QUIET: dict[str, Any] = {"queue": False, "show_progress": "hidden", "api_visibility": "undocumented"}
STREAM: dict[str, Any] = {"concurrency_limit": None, "show_progress": "hidden", "api_visibility": "undocumented"}


def make_chatbot() -> gr.Chatbot:
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


def busy_box() -> gr.Textbox:
    """The message box while a reply is made."""
    return gr.Textbox(interactive=False, submit_btn=False, stop_btn=True)


def free_box() -> gr.Textbox:
    """The message box when it has ended."""
    return gr.Textbox(interactive=True, submit_btn=True, stop_btn=False)
