"""The head of the page: its name, the model behind it, and how far that model has loaded."""

from __future__ import annotations

from html import escape

from llm_core.backends.backend import LoadStatus
from llm_core.models.info import ModelInfo


def header_html(
    title: str, status: LoadStatus | None = None, info: ModelInfo | None = None, *, storage: str = ""
) -> str:
    """Everything in it that comes from a model file is escaped: its name is whatever its maker wrote.

    Args:
        storage: What visitors should know of how long their conversations are kept.
    """
    model = f'<p class="model">{escape(_model_line(info))}</p>' if info else ""
    return f'<div class="head"><h1>{escape(title)}</h1>{model}</div>{_progress(status)}{_notice(storage)}'


def _model_line(info: ModelInfo) -> str:
    form = f" · {info.quantization}, computed as {info.computed_as}" if info.computed_as else ""
    return f"{info.name} · {info.license or 'no licence stated'}{form}"


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
