"""How a command of the page is answered: what it has in common with all others, and what goes wrong as a sentence."""

from __future__ import annotations

import logging
from collections.abc import Awaitable, Callable
from typing import Annotated, Any

from pydantic import BaseModel, ConfigDict, StringConstraints, ValidationError
from starlette.requests import HTTPConnection

from llm_core.access.visitors import page_visitor
from llm_core.complaints import invalid_request
from llm_core.errors import LLMError, SessionBusy, SessionChanged
from llm_core.sessions.sessions import SESSION_ID_PATTERN

log = logging.getLogger(__name__)

_WENT_ON = "This conversation went on in another tab. Here is what it has now."
_BUSY = "A reply is being made in this conversation in another tab. Wait for it, or stop it."
_SOMETHING_WRONG = "Something went wrong. The reason is in the server's log; you can try again."

Answer = Callable[[Any, HTTPConnection], Awaitable[Any]]
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


def answering(command: Callable[[Any, str, HTTPConnection], Awaitable[Any]], kind: type[Command]) -> Answer:
    """`command`, with what goes wrong as its answer: `refused` is the sentence, `changed` that the screen is old."""

    async def answer(data: Any, connection: HTTPConnection) -> Any:
        try:
            asked = read(kind, data)
            return await command(asked, page_visitor(connection, asked.key), connection)
        except SessionChanged:
            return {"refused": _WENT_ON, "changed": True}
        except SessionBusy:
            return {"refused": _BUSY, "changed": True}
        except LLMError as error:
            return {"refused": error.message}
        except Exception:
            log.exception("a command of the page failed")
            return {"refused": _SOMETHING_WRONG}

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
