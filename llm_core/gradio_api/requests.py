"""What Gradio's event handlers and endpoints share: who calls, how often they are told, errors in Gradio's form."""

from __future__ import annotations

from collections.abc import AsyncGenerator, Awaitable, Callable, Iterator
from contextlib import aclosing, contextmanager
from functools import wraps
from typing import Any, TypeVar

import gradio as gr
from starlette.requests import HTTPConnection

from llm_core.access.gate import owner_of
from llm_core.errors import LLMError

T = TypeVar("T")

UPDATE_SECONDS = 0.04
# Gradio looks for a caller who has left only when something is yielded.
HEARTBEAT_SECONDS = 0.25

Admit = Callable[[HTTPConnection], None]


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


def owner_of_call(request: gr.Request) -> str:
    """Whose call it is."""
    return owner_of(connection_of(request))


def admitted(request: gr.Request, admit: Admit) -> str:
    """Whose call it is, once `admit` has not refused it."""
    admit(connection_of(request))
    return owner_of_call(request)


def with_sentences(endpoint: Callable[..., Awaitable[T]]) -> Callable[..., Awaitable[T]]:
    """`endpoint` with our errors as Gradio's, whose sentence reaches the caller."""

    @wraps(endpoint)
    async def called(*args: Any, **kwargs: Any) -> T:
        with sentences():
            return await endpoint(*args, **kwargs)

    return called


def with_sentences_stream(endpoint: Callable[..., Any]) -> Callable[..., Any]:
    """`with_sentences` of an endpoint that yields."""

    @wraps(endpoint)
    async def called(*args: Any, **kwargs: Any) -> AsyncGenerator[Any]:
        with sentences():
            async with aclosing(endpoint(*args, **kwargs)) as values:
                async for value in values:
                    yield value

    return called
