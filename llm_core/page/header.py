"""The head of the page: its name, how far the model has loaded, and what people should know.

Which model answers stands there too; each conversation has its own, so the page's script says it (models.js).
"""

from __future__ import annotations

import json
from html import escape

from llm_core.backends.backend import LoadStatus
from llm_core.texts.told import Text, english, told


def header_html(status: LoadStatus | None = None, *, storage: str = "") -> str:
    """Everything in it that comes from a model file is escaped: its name is whatever its maker wrote.

    It is in English; what is told by a key the page's script says in the reader's language (texts.js).

    Args:
        status: Of the default model.
        storage: What visitors should know of how long their conversations are kept.
    """
    title = told("widgets.title")
    kept = told("header.not_kept", storage) if storage else ""
    return f'<div class="head"><h1{_key(title)}>{english(title)}</h1></div>{_progress(status)}{_notice(kept)}'


def _progress(status: LoadStatus | None) -> str:
    if status is None:
        return ""
    if status.state == "ready":
        return _notice(status.notice)
    if status.state == "failed":
        return f'<div class="notice failed" role="alert">{escape(status.message)}</div>'
    state = "downloading" if status.state == "downloading" else "loading"
    message = told(f"header.{state}", status.message, percent=status.progress)
    bar = f'<progress max="1" value="{status.progress:.3f}"></progress>'
    return f'<div class="notice" role="status"><span{_key(message)}>{escape(english(message))}</span>{bar}</div>'


def _notice(sentence: Text) -> str:
    if not sentence:
        return ""
    return f'<div class="notice" role="status"><span{_key(sentence)}>{escape(english(sentence))}</span></div>'


def _key(text: Text) -> str:
    return "" if isinstance(text, str) else f' data-told="{escape(json.dumps(text))}"'
