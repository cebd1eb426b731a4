"""The list of conversations beside the chat: find, open, rename, delete."""

from __future__ import annotations

from collections.abc import Iterable
from dataclasses import dataclass
from html import escape
from pathlib import Path

import gradio as gr

from llm_core.sessions.records import SessionSummary
from llm_core.sessions.sessions import MAX_SEARCH_CHARS, MAX_TITLE_CHARS

_JS = (Path(__file__).parent / "static" / "sidebar.js").read_text(encoding="utf-8")

NOT_KEPT = "Your browser keeps no cookies for this page, so conversations are not remembered."
_NONE_YET = "Your conversations will be listed here."
_NONE_FOUND = "No conversation has this text."


@dataclass(frozen=True, slots=True)
class Sidebar:
    """Its parts. `list` tells what a visitor wants by the events `open_conversation` (`conversation`),
    `rename_conversation` (`conversation`, `title`) and `delete_conversation` (`conversation`), and by `list_again` that
    it shows what was found for another search than the one in the box."""

    new: gr.Button
    search: gr.Textbox
    list: gr.HTML

    @classmethod
    def render(cls) -> Sidebar:
        """Puts it on the page that is being built."""
        with gr.Sidebar(open=True, width=280, elem_id="sidebar"):
            return cls(
                new=gr.Button("New chat", elem_id="new-chat", size="md"),
                search=gr.Textbox(
                    elem_id="search",
                    placeholder="Search conversations",
                    label="Search conversations",
                    show_label=False,
                    container=False,
                    max_lines=1,
                    max_length=MAX_SEARCH_CHARS,
                ),
                list=gr.HTML(elem_id="conversations", padding=False, js_on_load=_JS),
            )


def list_html(conversations: Iterable[SessionSummary], current: str, search: str) -> str:
    """The list. Titles are escaped: they are whatever was typed.

    Args:
        current: The conversation that is shown.
        search: What was looked for, "" for all.
    """
    rows = {each.session_id: _row(each, each.session_id == current) for each in conversations}
    if not rows:
        return notice_html(_NONE_FOUND if search.strip() else _NONE_YET, search)
    remembered = escape(current) if current in rows else ""
    # A search that does not find it says nothing about the conversation that is shown.
    address = f' data-current="{remembered}"' if remembered or not search.strip() else ""
    return f'<ul aria-label="Conversations" data-search="{escape(search)}"{address}>{"".join(rows.values())}</ul>'


def notice_html(sentence: str, search: str) -> str:
    """A sentence where the list would be."""
    return f'<p class="notice" role="status" data-search="{escape(search)}">{escape(sentence)}</p>'


def _row(conversation: SessionSummary, is_current: bool) -> str:
    title = escape(conversation.title)
    current = ' aria-current="true"' if is_current else ""
    return (
        f'<li data-id="{escape(conversation.session_id)}" data-longest="{MAX_TITLE_CHARS}">'
        f'<button class="open" title="{title}"{current}>{title}</button>'
        '<button class="rename" title="Rename" aria-label="Rename">✎</button>'
        '<button class="delete" title="Delete" aria-label="Delete">✕</button></li>'
    )
