"""The head of the page: its name, how far the model has loaded, and what people should know.

Which model answers stands there too; each conversation has its own, so the page's script says it (models.js).
"""

from __future__ import annotations

from html import escape

from llm_core.backends.backend import LoadStatus


def header_html(title: str, status: LoadStatus | None = None, *, storage: str = "") -> str:
    """Everything in it that comes from a model file is escaped: its name is whatever its maker wrote.

    Args:
        status: Of the default model.
        storage: What visitors should know of how long their conversations are kept.
    """
    return f'<div class="head"><h1>{escape(title)}</h1></div>{_progress(status)}{_notice(storage)}'


def _progress(status: LoadStatus | None) -> str:
    if status is None:
        return ""
    if status.state == "ready":
        return _notice(status.notice)
    message = escape(status.message)
    if status.state == "failed":
        return f'<div class="notice failed" role="alert">{message}</div>'
    bar = f'<progress max="1" value="{status.progress:.3f}"></progress>'
    return f'<div class="notice" role="status">{message}{bar}</div>'


def _notice(sentence: str) -> str:
    return f'<div class="notice" role="status">{escape(sentence)}</div>' if sentence else ""
