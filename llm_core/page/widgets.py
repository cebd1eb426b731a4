"""The page's widgets, and how events of the page run."""

from __future__ import annotations

from collections.abc import Callable, Sequence
from pathlib import Path
from typing import Any, Literal

import gradio as gr

from llm_core.page.attachments import LIMITS
from llm_core.page.languages import table_of_english, widget
from llm_core.page.view import NEWEST_TURNS
from llm_core.sessions.history import MAX_SEARCH_CHARS

EXAMPLES = tuple(str(widget(f"example_{name}")) for name in ("rainbow", "email", "dinners", "palindrome"))
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
	const frame = ["#header", "#conversations .days", "#search :is(textarea, input)"];
	const parts = [...frame, "#chat", "#message textarea", "#settings"];
	if (!window.pageTexts?.isThere || !parts.every((part) => document.querySelector(part))) return;
	clearInterval(waiting);
SCRIPTS
}, 20);
"""
_SCRIPTS = (
    "texts.js",
    "drafts.js",
    "settings.js",
    "list.js",
    "rows.js",
    "link.js",
    "chat.js",
    "roles.js",
    "notes.js",
    "heard.js",
    "box.js",
    "presses.js",
    "models.js",
    "panel.js",
    "offered.js",
    "files.js",
    "presets.js",
    "selection.js",
    "versions.js",
    "attachments.js",
    "composer.js",
    "gauge.js",
    "conversations.js",
    "replies.js",
    "approvals.js",
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
        placeholder=f"## {widget('ask')}",
    )


def make_textbox() -> gr.Textbox:
    return gr.Textbox(
        elem_id="message",
        placeholder=widget("type_message"),
        label=widget("message"),
        show_label=False,
        container=False,
        scale=7,
        max_lines=8,
        submit_btn=True,
        stop_btn=True,
        autofocus=True,
    )


def make_screen(server_functions: Sequence[Callable[..., Any]], defaults: dict[str, Any], *, consent: bool) -> gr.HTML:
    """The page's script. Its value is the newest update of a reply; it has the events `show` and `draw`,
    and calls `server_functions`.

    Args:
        defaults: What is set in new conversations.
        consent: Whether there are calls that may wait for the visitor's.
    """
    scripts = "\n".join((_STATIC / name).read_text(encoding="utf-8") for name in _SCRIPTS)
    return gr.HTML(
        elem_id="screen",
        visible="hidden",
        html_template="",
        js_on_load=_WHEN_THERE.replace("SCRIPTS", f"{table_of_english()}\n{scripts}"),
        defaults=defaults,
        consent=consent,
        attachments=LIMITS,
        newest=NEWEST_TURNS,
        server_functions=list(server_functions),
    )


class Sidebar:
    """The list of conversations beside the chat. What is in it, and what is done with it, is the script's (list.js)."""

    @staticmethod
    def render(signs_out: Literal["visitors", "administrators"] | None) -> None:
        """Puts it on the page that is being built.

        Args:
            signs_out: Who has signed in and can leave; None where nobody has to.
        """
        with gr.Sidebar(open=True, width=280, elem_id="sidebar"):
            gr.Button(widget("new_chat"), elem_id="new-chat", size="md")
            gr.Textbox(
                elem_id="search",
                placeholder=widget("search"),
                label=widget("search"),
                show_label=False,
                container=False,
                max_lines=1,
                max_length=MAX_SEARCH_CHARS,
            )
            gr.HTML('<div role="status"></div><div class="days"></div>', elem_id="conversations", padding=False)
            if signs_out:
                name = widget("sign_out")
                gr.Button(name, elem_id="sign-out", elem_classes=signs_out, size="sm", variant="secondary")
