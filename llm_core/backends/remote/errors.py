"""What can go wrong between this server and an engine, in the words of `llm_core.errors`.

One table decides for each failure what the caller is told, whether another try may help, and whether the engine counts
as down.
"""

from __future__ import annotations

import email.utils
import json
import logging
import re
import time
from collections.abc import Mapping
from typing import Any

import httpx2

from llm_core.errors import (
    OVERFLOW_CODE,
    ContextOverflow,
    EngineFailed,
    EngineUnreachable,
    InvalidRequest,
    LLMError,
    ModelError,
    ModelLoading,
    QueueFull,
    RateLimited,
)

log = logging.getLogger(__name__)

MAX_REASON_CHARS = 500
# Engines word it differently, and only some have a code for it: OpenAI and this app, llama-server, vLLM, TGI.
_OVERFLOW_CODES = frozenset({"context_length_exceeded", "context_overflow", "exceed_context_size_error"})
_OVERFLOW_WORDS = re.compile(
    r"maximum context length|context (?:size|window|length)|max_model_len|`?max_new_tokens`? must be <=", re.IGNORECASE
)
_INVALID_CODES = frozenset({"invalid_request", "invalid_request_error", "BadRequestError"})
_BUSY_CODES: dict[str, type[LLMError]] = {"model_loading": ModelLoading, "rate_limit_exceeded": RateLimited}


class EngineFault(Exception):
    """A try that failed.

    Attributes:
        error: What the caller is told, if it was the last try.
        try_again: Whether the same request may succeed another time.
        is_down: Whether the engine should be left out until it answers again.
    """

    def __init__(self, error: LLMError, *, try_again: bool = False, is_down: bool = False) -> None:
        super().__init__(error.message)
        self.error, self.try_again, self.is_down = error, try_again, is_down


class Reported(Exception):
    """An engine's own error, in place of the next piece of a reply.

    Attributes:
        complaint: What it says, as it came.
    """

    def __init__(self, complaint: Any) -> None:
        super().__init__(str(complaint))
        self.complaint = complaint


class Uncalled(Exception):
    """A call was demanded, and the engine made none, or that of another tool."""


def fault_of(error: Exception, where: str) -> EngineFault:
    """What a failure means.

    Args:
        where: The engine's name for people.
    """
    match error:
        case httpx2.HTTPStatusError():
            return _refused(error.response, where)
        case httpx2.ConnectTimeout():
            return EngineFault(
                EngineUnreachable(f"The engine at {where} does not answer."), try_again=True, is_down=True
            )
        case httpx2.ConnectError() | httpx2.ProxyError() | httpx2.UnsupportedProtocol():
            reason = f"The engine at {where} cannot be reached: {_shortened(str(error))}."
            return EngineFault(EngineUnreachable(reason), try_again=True, is_down=True)
        case httpx2.HTTPError() | httpx2.StreamError():
            return EngineFault(broken_off(where), try_again=True)
        case Reported():
            return _reported(error.complaint, where)
        case ValueError() | LookupError() | TypeError() | AttributeError():  # json's errors are ValueErrors
            log.warning("the engine at %s sent something that cannot be read", where, exc_info=error)
            return EngineFault(
                EngineFailed(f"The engine at {where} sent something that cannot be read."), try_again=True
            )
    raise error


def broken_off(where: str) -> EngineFailed:
    """The connection ended before the reply did."""
    return EngineFailed(f"The engine at {where} broke off in the middle of the reply. Send it again.")


def uncalled(where: str) -> EngineFault:
    """A call was demanded, and neither `tool_choice` nor a JSON schema holds the engine to one."""
    reason = (
        f"tool_choice: a call of a tool is demanded, but the engine at {where} answers with text, and ignores JSON "
        'schemas too. Its model, template or options know no tools. Take another engine, or tool_choice "auto".'
    )
    return EngineFault(InvalidRequest(reason, param="tool_choice"))


def _refused(response: httpx2.Response, where: str) -> EngineFault:
    """An answer with another status than 200."""
    status, (reason, code) = response.status_code, _complaint(_body(response))
    if status in (401, 403):
        message = f"The engine at {where} refuses the token{_because(reason)}. Set LLM_SERVER_TOKEN to one it knows."
        return EngineFault(ModelError(message))
    if status == 404:
        return EngineFault(ModelError(f"The engine at {where} has no such route or model: {reason or 'not found'}."))
    wait = _seconds(response.headers.get("retry-after"))
    if status == 429:
        message = f"The engine at {where} takes no more requests now{_because(reason)}. Wait, and try again."
        return EngineFault(RateLimited(message, retry_after=wait), try_again=True)
    if status == 503:
        kind = _BUSY_CODES.get(code, QueueFull)
        return EngineFault(
            kind(f"The engine at {where} is busy{_because(reason)}. Try again.", retry_after=wait), try_again=True
        )
    if status == 501:  # llama-server's, where it was started for something else
        return EngineFault(InvalidRequest(f"The engine at {where} does not do this{_because(reason)}.", param="model"))
    if status >= 500:
        return EngineFault(
            EngineFailed(f"The engine at {where} failed with status {status}{_because(reason)}."), try_again=True
        )
    return EngineFault(_invalid(reason or f"status {status}", code))


def _reported(complaint: Any, where: str) -> EngineFault:
    """An error in place of the next piece."""
    reason, code = _complaint({"error": complaint})
    if code in _OVERFLOW_CODES | _INVALID_CODES or _OVERFLOW_WORDS.search(reason):
        return EngineFault(_invalid(reason, code))
    return EngineFault(EngineFailed(f"The engine at {where} failed{_because(reason)}. Send it again."), try_again=True)


def _invalid(reason: str, code: str) -> InvalidRequest:
    if code in _OVERFLOW_CODES or _OVERFLOW_WORDS.search(reason):
        message = f"The conversation exceeds the context window of the engine ({OVERFLOW_CODE}): {reason}."
        return ContextOverflow(message, param="messages")
    return InvalidRequest(f"The engine refuses the request: {reason}")


def _body(response: httpx2.Response) -> Any:
    try:
        text = response.text
    except (httpx2.HTTPError, httpx2.StreamError):  # never read
        return None
    try:
        return json.loads(text)
    except ValueError:
        return None if "<" in text else text  # the pages of proxies say less than their status


def _complaint(body: Any) -> tuple[str, str]:
    """The sentence and the code of an error's body, "" where there is none. Engines differ: OpenAI's `error` is an
    object, TGI's a text, FastAPI's is called `detail`, vLLM's had no `error` around it once."""
    error = body.get("error", body) if isinstance(body, Mapping) else body
    if isinstance(error, Mapping):
        reason = error.get("message") or error.get("detail") or ""
        kinds = [error.get("code"), error.get("type")]
        code = next((kind for kind in kinds if isinstance(kind, str) and kind in _OVERFLOW_CODES), None)
        code = code or next((kind for kind in kinds if isinstance(kind, str)), "")
        return _shortened(reason if isinstance(reason, str) else json.dumps(reason)), code
    return _shortened(error) if isinstance(error, str) else "", ""


def _shortened(text: str) -> str:
    return " ".join(text.split())[:MAX_REASON_CHARS].rstrip(".")


def _because(reason: str) -> str:
    return f": {reason}" if reason else ""


def _seconds(header: str | None) -> float | None:
    """`Retry-After`: seconds, or a date."""
    if header is None:
        return None
    try:
        return max(0.0, float(header))
    except ValueError:
        pass
    try:
        return max(0.0, email.utils.parsedate_to_datetime(header).timestamp() - time.time())
    except ValueError:
        return None
