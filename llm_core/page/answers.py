"""How a command of the page is answered: what it has in common with all others, and what goes wrong as a sentence."""

from __future__ import annotations

import asyncio
import logging
from collections.abc import Awaitable, Callable
from contextlib import aclosing
from typing import Annotated, Any

from pydantic import BaseModel, ConfigDict, Field, StringConstraints, ValidationError
from starlette.requests import HTTPConnection

from llm_core.access.visitors import page_visitor
from llm_core.complaints import invalid_request
from llm_core.errors import LLMError, SessionBusy, SessionChanged
from llm_core.sessions.live import LiveReply
from llm_core.sessions.sessions import SESSION_ID_PATTERN, STREAM_ID_PATTERN, Reply
from llm_core.texts.told import english, told

log = logging.getLogger(__name__)

FIRST_EVENT_SECONDS = 0.5  # most refusals of the engine come within this: then the answer to the command says so

Answer = Callable[[Any, HTTPConnection], Awaitable[Any]]
StreamId = Annotated[str, StringConstraints(pattern=STREAM_ID_PATTERN)]
Count = Annotated[int, Field(ge=0, le=2**53)]  # what JavaScript counts exactly
ConversationId = Annotated[str, StringConstraints(pattern=SESSION_ID_PATTERN)]


class Command(BaseModel):
    """What all commands name.

    Attributes:
        key: Whose conversations they are, where the browser keeps no cookie: random, as long as the page is open.
        conversation: The one that was on the screen.
    """

    model_config = ConfigDict(extra="forbid")
    key: Annotated[str, StringConstraints(pattern=r"^[0-9a-f]{48}$")]
    conversation: ConversationId


def refusal(error: LLMError) -> dict[str, Any]:
    """Why something was not done, which kind of error that is, and the seconds after which it may be tried again."""
    return {"refused": error.message, "code": error.code, "retry_after": error.retry_after}


def refused(code: str, **more: Any) -> dict[str, Any]:
    """A refusal of the page's own, with a sentence of its table."""
    return {"refused": english(told(f"errors.{code}")), "code": code, **more}


async def begun(reply: Reply) -> dict[str, Any]:
    """What is known of a turn that was begun, once the engine has taken or refused it.

    Raises:
        LLMError: The engine has refused it.
    """
    if not isinstance(reply, LiveReply):
        return {"version": None, "admitted": False}
    admitted = await asyncio.to_thread(reply.wait_for_first, FIRST_EVENT_SECONDS)
    if reply.discarded:
        async with aclosing(reply.aevents()) as events:
            async for _ in events:  # there is none: it raises what it was refused with
                pass
        return refused("stopped_early")
    return {"version": reply.version, "admitted": admitted}


def answering(command: Callable[[Any, str, HTTPConnection], Awaitable[Any]], kind: type[Command]) -> Answer:
    """`command`, with what goes wrong as its answer: `refused` is the sentence, `changed` that the screen is old."""

    async def answer(data: Any, connection: HTTPConnection) -> Any:
        try:
            asked = read(kind, data)
            return await command(asked, page_visitor(connection, asked.key), connection)
        except SessionChanged:
            return refused("session_changed", changed=True)
        except SessionBusy:
            return refused("session_busy", changed=True)
        except LLMError as error:
            return refusal(error)
        except Exception:
            log.exception("a command of the page failed")
            return refused("internal_error")

    return answer


def read(kind: type[Any], data: Any) -> Any:
    """What the browser sent, checked.

    Raises:
        InvalidRequest: It is no `kind`.
    """
    try:
        return kind.model_validate(data)
    except ValidationError as error:
        raise invalid_request(error, "") from None
