"""Errors as callers over HTTP see them: one table of statuses, one shape."""

from __future__ import annotations

import logging
import math
import re
from collections.abc import Mapping
from typing import Any, Literal

from fastapi import FastAPI, Request
from fastapi.exceptions import RequestValidationError
from pydantic import BaseModel
from starlette.exceptions import HTTPException
from starlette.responses import JSONResponse, Response

from llm_core.access.proxies import own_path
from llm_core.complaints import Complaint, place_in
from llm_core.errors import OVERFLOW_CODE, SERVER_FAILED, LLMError

log = logging.getLogger(__name__)

# Errors that are not a plain 500.
STATUS = {
    "invalid_request": 400,
    "context_overflow": 400,
    "unauthorized": 401,
    "forbidden": 403,
    "session_not_found": 404,
    "stream_not_found": 404,
    "model_not_found": 404,
    "preset_not_found": 404,
    "session_busy": 409,
    "preset_exists": 409,
    "session_changed": 409,
    "idempotency_key_reused": 409,
    "request_too_large": 413,
    "rate_limited": 429,
    "queue_full": 503,
    "engine_closed": 503,
    "engine_failed": 503,
    "engine_unreachable": 503,
    "hub_error": 503,
    "tool_server_failed": 503,
    "model_loading": 503,
    "shutting_down": 503,
    "storage_error": 503,
    "storage_read_only": 503,
    "timed_out": 504,
    "storage_full": 507,
}
_TYPES = {
    401: "authentication_error",
    403: "permission_error",
    404: "not_found_error",
    405: "invalid_request_error",
    409: "conflict_error",
    413: "request_too_large",
    429: "rate_limit_error",
}
_TRY_AGAIN = frozenset({429, 503})
_SECONDS_TO_TRY_AGAIN = 5.0  # where the error itself does not say
_OPENAI_CODES = {
    "context_overflow": OVERFLOW_CODE,
    "rate_limited": "rate_limit_exceeded",
    "session_busy": "conversation_locked",
    "session_not_found": "conversation_not_found",
    "stream_not_found": "response_not_found",
}
OPENAI_PREFIX = "/v1/"
_ANTHROPIC_PREFIX = "/v1/messages"
_OLLAMA_PREFIX, _OWN_PREFIX = "/api/", "/api/llm/"
# Their types, which their clients tell errors by.
_ANTHROPIC_TYPES = {
    400: "invalid_request_error",
    401: "authentication_error",
    403: "permission_error",
    404: "not_found_error",
    405: "invalid_request_error",
    413: "request_too_large",
    429: "rate_limit_error",
    503: "overloaded_error",
    504: "timeout_error",
}
_JSON = re.compile(r"^application/([^;]*\+)?json\b", re.IGNORECASE)
# Read all the same, a page of any other site could send it: a browser asks for no leave to post what is not JSON.
_NOT_SAID_TO_BE_JSON = (
    "The header Content-Type must be application/json. curl sends it with "
    '-H "Content-Type: application/json", or with --json in place of -d.'
)


class Problem(BaseModel):
    """What went wrong: a sentence for people, a code for programs."""

    message: str
    type: str
    code: str
    param: str | None = None


class ProblemBody(BaseModel):
    """The body of every answer that is not a success."""

    error: Problem


class AnthropicProblem(BaseModel):
    """What went wrong, in Anthropic's words."""

    type: str
    message: str


class AnthropicProblemBody(BaseModel):
    """The same of Anthropic's routes."""

    type: Literal["error"]
    error: AnthropicProblem


class OllamaProblemBody(BaseModel):
    """The same of Ollama's routes: a sentence."""

    error: str


def describe(*statuses: int, body: type[BaseModel] = ProblemBody) -> dict[int | str, dict[str, Any]]:
    """What the documentation of a route says about these statuses."""
    said = {
        400: "The request cannot be served as it stands, or does not fit into the context",
        401: "No token, or a wrong one",
        403: "Only who runs this server may",
        404: "Not there, or not yours",
        409: "A reply is being made in this session, or the name is taken",
        413: "The body is too large",
        422: "A field is missing or out of its range",
        429: "Too many requests; `Retry-After` says how many seconds to wait",
        503: "The queue is full, the model is loading, or sessions cannot be written; `Retry-After` says when",
        504: "The request's time was over before the first token",
        507: "The disk of the session store is full",
    }
    return {status: {"model": body, "description": said[status]} for status in statuses}


def install(app: FastAPI) -> None:
    """Every error of `app` leaves in the one shape."""

    async def ours(request: Request, error: Exception) -> Response:
        return refusal(request, error)

    async def unforeseen(request: Request, _error: Exception) -> Response:
        body = _body(500, SERVER_FAILED, "internal_error")
        return _answer(request, 500, body)  # the server logs it, with its traceback

    async def invalid(request: Request, error: Exception) -> Response:
        assert isinstance(error, RequestValidationError)
        return _invalid(request, *_complaint(error, request.headers.get("content-type", "")))

    async def http(request: Request, error: Exception) -> Response:
        assert isinstance(error, HTTPException)
        if error.status_code == 400:  # FastAPI's, of a body that is not UTF-8, or has too many levels
            return _invalid(request, "The body is not JSON that can be read.", None)
        code = {404: "not_found", 405: "method_not_allowed", 413: "request_too_large"}.get(
            error.status_code, "invalid_request"
        )
        body = _body(error.status_code, f"{error.detail}.".replace("..", "."), code)
        return _answer(request, error.status_code, body, error.headers)

    app.add_exception_handler(LLMError, ours)
    app.add_exception_handler(RequestValidationError, invalid)
    app.add_exception_handler(HTTPException, http)
    app.add_exception_handler(Exception, unforeseen)


def refusal(request: Request, error: Exception) -> JSONResponse:
    """The answer to a request that failed before anything was sent."""
    status, body = problem(error, openai=own_path(request.scope).startswith(OPENAI_PREFIX))
    headers = {}
    if status in _TRY_AGAIN:
        wait = getattr(error, "retry_after", None) or _SECONDS_TO_TRY_AGAIN
        headers["Retry-After"] = str(math.ceil(wait))
    if status == 401:
        headers["WWW-Authenticate"] = "Bearer"
    return _answer(request, status, body, headers)


def anthropic_problem(error: Exception) -> tuple[int, dict[str, Any]]:
    """`problem` in Anthropic's shape."""
    status, body = problem(error)
    return status, _anthropic(status, body)


def ollama_problem(error: Exception) -> tuple[int, dict[str, Any]]:
    """`problem` in Ollama's shape."""
    status, body = problem(error)
    return status, _ollama(body)


def _answer(
    request: Request, status: int, body: dict[str, Any], headers: Mapping[str, str] | None = None
) -> JSONResponse:
    return JSONResponse(_as_spoken_at(own_path(request.scope), status, body), status, headers)


def _as_spoken_at(path: str, status: int, body: dict[str, Any]) -> dict[str, Any]:
    """`body` in the shape of the dialect that is spoken where the request went."""
    if path.startswith(_ANTHROPIC_PREFIX):
        return _anthropic(status, body)
    return _ollama(body) if _is_ollama(path) else body


def _anthropic(status: int, body: dict[str, Any]) -> dict[str, Any]:
    kind = _ANTHROPIC_TYPES.get(status, "api_error")
    return {"type": "error", "error": {"type": kind, "message": body["error"]["message"]}}


def _ollama(body: dict[str, Any]) -> dict[str, Any]:
    return {"error": body["error"]["message"]}


def told(status: int, message: str, code: str, *, path: str = "", allowed: str = "") -> JSONResponse:
    """The answer to a request that no route was asked about.

    Args:
        path: In the shape of whose dialect it is; ours where it is none's.
        allowed: The methods that would do.
    """
    body = _as_spoken_at(path, status, _body(status, message, code))
    return JSONResponse(body, status, {"Allow": allowed} if allowed else None)


def problem(error: Exception, *, openai: bool = False) -> tuple[int, dict[str, Any]]:
    """The status and the body of an error. What we did not raise on purpose is logged, and not shown to strangers."""
    if not isinstance(error, LLMError):
        log.error("a request failed", exc_info=error)
        return 500, _body(500, SERVER_FAILED, "internal_error")
    code = _OPENAI_CODES.get(error.code, error.code) if openai else error.code
    status = STATUS.get(error.code, 500)
    return status, _body(status, error.message, code, getattr(error, "param", None))


def _body(status: int, message: str, code: str, param: str | None = None) -> dict[str, Any]:
    kind = _TYPES.get(status, "invalid_request_error" if status < 500 else "server_error")
    return {"error": {"message": message, "type": kind, "param": param, "code": code}}


def _invalid(request: Request, message: str, param: str | None) -> Response:
    path = own_path(request.scope)
    status = 400 if path.startswith(OPENAI_PREFIX) or _is_ollama(path) else 422
    return _answer(request, status, _body(status, message, "invalid_request", param))


def _is_ollama(path: str) -> bool:
    return path.startswith(_OLLAMA_PREFIX) and not path.startswith(_OWN_PREFIX)


def _complaint(error: RequestValidationError, content_type: str) -> tuple[str, str | None]:
    """The first complaint of pydantic as one sentence that names the field."""
    first = error.errors()[0]
    if first["type"] == "json_invalid":
        return f"The body is not JSON: {first['ctx']['error']}.", None
    if first["loc"] == ("body",) and error.body and not _JSON.search(content_type):
        return _NOT_SAID_TO_BE_JSON, None
    is_in_body = first["loc"][0] == "body"
    complaint = Complaint.of(first | {"loc": place_in({"body": error.body}, first)} if is_in_body else first)
    param = complaint.field(but=("body", "query", "path", "header"))
    return f"{param or 'The body'}: {complaint.reason}", param or None
