"""What Gradio's event handlers share: who calls, and errors in Gradio's form."""

from __future__ import annotations

from collections.abc import Iterator
from contextlib import contextmanager

import gradio as gr
from starlette.requests import HTTPConnection

from llm_core.errors import LLMError


def connection_of(request: gr.Request) -> HTTPConnection:
    """The connection that an event came by."""
    assert request.request is not None
    connection: HTTPConnection = request.request
    return connection


@contextmanager
def sentences() -> Iterator[None]:
    """Our errors as Gradio's, whose sentence reaches the caller."""
    try:
        yield
    except LLMError as error:
        raise gr.Error(error.message, print_exception=False) from error
