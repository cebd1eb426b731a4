"""OpenAI's wire format, so that any OpenAI client can talk to the model: `/v1/chat/completions` and `/v1/models`.

It translates and decides nothing: what a request may ask is checked in `llm_core.request`, what is said is made by
`LLMClient`. Fields that OpenAI knows and this server does not are ignored, unless that would change the answer.
"""

from __future__ import annotations

import asyncio
import json
import logging
import math
import time
import uuid
from collections.abc import AsyncGenerator, AsyncIterator, Awaitable, Callable, Coroutine
from contextlib import aclosing
from typing import Annotated, Any, Literal, TypeVar

import pydantic_core
from pydantic import BaseModel, ConfigDict, Field, ValidationError
from starlette.requests import ClientDisconnect, Request
from starlette.responses import JSONResponse, Response, StreamingResponse
from starlette.routing import BaseRoute, Route
from starlette.types import Receive, Scope, Send

from llm_core.client import LLMClient
from llm_core.errors import InvalidRequest, LLMError
from llm_core.events import ChatEvent, ChatReply, ContentDelta, Done, FinishReason, ReasoningDelta, TokenLogprob, Usage
from llm_core.messages import MAX_MESSAGES, invalid_request
from llm_core.web.paced import paced

log = logging.getLogger(__name__)

T = TypeVar("T")

_Endpoint = Callable[[Request], Awaitable[Response]]

MAX_BODY_BYTES = 4 * 1024 * 1024
KEEP_ALIVE_SECONDS = 15.0

_CHUNK = "chat.completion.chunk"
_SSE_HEADERS = {"Cache-Control": "no-cache", "X-Accel-Buffering": "no"}  # the second one keeps nginx from buffering
_CLIENT_CLOSED_REQUEST = 499  # nginx's number for a reader who left; nobody sees it but a log
_SECONDS_TO_A_RESTART = 10.0

# Errors of ours that are not a plain 500: their status, and the code where OpenAI has one of its own.
_STATUS = {"invalid_request": 400, "context_overflow": 400, "queue_full": 503, "engine_closed": 503}
_OPENAI_CODES = {"context_overflow": "context_length_exceeded"}
_FINISH_REASONS: dict[FinishReason, str] = {
    "stop": "stop",
    "length": "length",
    "timeout": "length",
    "cancelled": "stop",
}


# ── the body ─────────────────────────────────────────────────────────────────────────────────────────────────────────


class _BodyMessage(BaseModel):
    """A message as OpenAI's clients send it, also when it is one of our answers sent back."""

    model_config = ConfigDict(frozen=True, extra="ignore")

    role: str
    content: str | list[dict[str, Any]] | None = None
    reasoning_content: str | None = None
    tool_calls: list[Any] | None = None

    def as_message(self) -> dict[str, Any]:
        """What `parse_messages` reads."""
        role = "system" if self.role == "developer" else self.role
        content = "" if self.content is None and role == "assistant" else self.content
        message = {"role": role, "content": content, "reasoning": self.reasoning_content}
        return message | ({"tool_calls": self.tool_calls} if self.tool_calls else {})


class _StreamOptions(BaseModel):
    model_config = ConfigDict(frozen=True, extra="ignore")

    include_usage: bool = False


class _Body(BaseModel):
    """What `/v1/chat/completions` reads. Ranges that `llm_core.request` knows are not repeated here."""

    model_config = ConfigDict(frozen=True, extra="ignore")

    messages: Annotated[list[_BodyMessage], Field(min_length=1, max_length=MAX_MESSAGES)]
    model: Annotated[str, Field(max_length=200)] = ""
    stream: bool | None = None
    stream_options: _StreamOptions | None = None
    n: Literal[1] | None = None
    max_tokens: int | None = None
    max_completion_tokens: int | None = None
    seed: Annotated[int, Field(ge=-(2**63), lt=2**63)] | None = None
    stop: str | list[str] | None = None
    temperature: float | None = None
    top_p: float | None = None
    presence_penalty: float | None = None
    frequency_penalty: float | None = None
    logit_bias: dict[int, float] | None = None
    logprobs: bool | None = None
    top_logprobs: int | None = None
    tools: list[Any] | None = None
    tool_choice: str | dict[str, Any] | None = None
    response_format: dict[str, Any] | None = None
    # Not OpenAI's but llama.cpp's, whose clients send them.
    top_k: int | None = None
    min_p: float | None = None
    typical_p: float | None = None
    repeat_penalty: float | None = None

    @property
    def wants_usage(self) -> bool:
        return self.stream_options is not None and self.stream_options.include_usage

    def options(self) -> dict[str, Any]:
        """The options of `LLMClient.chat`. None is the default there too."""
        plain_text = self.response_format is None or self.response_format.get("type") == "text"
        return self.model_dump(include=_SAME_NAME) | {
            "max_tokens": self.max_tokens if self.max_completion_tokens is None else self.max_completion_tokens,
            # OpenAI's seeds are any 64-bit integers; the same one must give the same one here.
            "seed": None if self.seed is None else self.seed % (2**32 - 1),
            "logprobs": (self.top_logprobs or 0) if self.logprobs else None,
            "tools": self.tools or None,
            "tool_choice": self.tool_choice if self.tools else None,
            "response_format": None if plain_text else self.response_format,
        }


_SAME_NAME = set(
    {"stop", "temperature", "top_p", "presence_penalty", "frequency_penalty", "logit_bias"}
    | {"top_k", "min_p", "typical_p", "repeat_penalty"}
)


def _parse(data: bytes) -> _Body:
    """The checked body.

    Raises:
        InvalidRequest: It is not JSON, or a field is not what it should be; the message names it.
    """
    try:
        value = pydantic_core.from_json(data)
    except ValueError as error:
        raise InvalidRequest(f"The body is not JSON: {error}.") from None
    if not isinstance(value, dict):
        raise InvalidRequest('The body must be a JSON object such as {"messages": [...]}.')
    try:
        return _Body.model_validate(value)
    except ValidationError as error:
        raise invalid_request(error) from None


async def _read(request: Request) -> bytes | None:
    """The body, or None where it is too large; then no more than the limit was kept."""
    declared = request.headers.get("content-length", "0")
    if declared.isdecimal() and int(declared) > MAX_BODY_BYTES:
        return None
    data = bytearray()
    async for chunk in request.stream():
        data += chunk
        if len(data) > MAX_BODY_BYTES:
            return None
    return bytes(data)


# ── the routes ───────────────────────────────────────────────────────────────────────────────────────────────────────


def routes(client: LLMClient) -> list[BaseRoute]:
    """The two routes, for any Starlette or FastAPI application."""

    async def models(_request: Request) -> Response:
        info = await client.await_ready()
        model = {
            "id": info.name,
            "object": "model",
            "created": int(info.path.stat().st_mtime),
            "owned_by": info.source,
        }
        return JSONResponse({"object": "list", "data": [model]})

    async def chat_completions(request: Request) -> Response:
        data = await _read(request)
        if data is None:
            return _refusal(413, f"The body is larger than {MAX_BODY_BYTES // 2**20} MB.", code="request_too_large")
        body = _parse(data)
        messages = [message.as_message() for message in body.messages]
        options = body.options() | {"owner": _owner(request)}
        answer = _Answer(model=(await client.await_ready()).name)
        if body.stream:
            return await _EventStream.begin(client.achat_stream(messages, **options), answer, body.wants_usage)
        reply = await _unless_reader_leaves(request, client.achat(messages, **options))
        return Response(status_code=_CLIENT_CLOSED_REQUEST) if reply is None else JSONResponse(answer.whole(reply))

    return [
        Route("/v1/models", _doorway(models), methods=["GET"]),
        Route("/v1/chat/completions", _doorway(chat_completions), methods=["POST"]),
    ]


def _owner(request: Request) -> str:
    """Until there are tokens, whoever calls from one address is one owner."""
    return f"http:{request.client.host}" if request.client else "http:"


def _doorway(endpoint: _Endpoint) -> _Endpoint:
    """`endpoint` with its errors in OpenAI's shape."""

    async def answered(request: Request) -> Response:
        try:
            return await endpoint(request)
        except ClientDisconnect:
            return Response(status_code=_CLIENT_CLOSED_REQUEST)
        except Exception as error:
            return _refusal_of(error)

    return answered


async def _unless_reader_leaves(request: Request, work: Coroutine[Any, Any, T]) -> T | None:
    """What `work` returns; None, and `work` cancelled, where the reader leaves before."""
    working = asyncio.ensure_future(work)
    leaving = asyncio.ensure_future(_reader_leaves(request))
    try:
        await asyncio.wait({working, leaving}, return_when=asyncio.FIRST_COMPLETED)
        return working.result() if working.done() else None
    finally:
        working.cancel()
        leaving.cancel()
        await asyncio.wait({working, leaving})


async def _reader_leaves(request: Request) -> None:
    while (await request.receive())["type"] != "http.disconnect":
        pass


class _EventStream(StreamingResponse):
    """Server-sent events, and the one place where the generation behind them ends, however the reader leaves.

    Starlette cancels a response whose reader has left, which may leave its iterator half read; only closing it stops
    the engine, and the garbage collector would do that at a time of its own.
    """

    media_type = "text/event-stream"

    def __init__(self, events: AsyncGenerator[ChatEvent], lines: AsyncIterator[str]) -> None:
        super().__init__(lines, headers=_SSE_HEADERS)
        self._events = events

    @classmethod
    async def begin(cls, events: AsyncGenerator[ChatEvent], answer: _Answer, with_usage: bool) -> _EventStream:
        """Waits for the first event: a request that is refused must still get its own status."""
        await anext(events)
        return cls(events, _lines(events, answer, with_usage))

    async def __call__(self, scope: Scope, receive: Receive, send: Send) -> None:
        async with aclosing(self._events):
            await super().__call__(scope, receive, send)


async def _lines(events: AsyncGenerator[ChatEvent], answer: _Answer, with_usage: bool) -> AsyncGenerator[str]:
    """The events as OpenAI's chunks. An error that comes after the first line can only be told as one."""
    yield _line(answer.chunk({"role": "assistant", "content": ""}, with_usage=with_usage))
    try:
        async with aclosing(paced(events, interval=0.0, heartbeat=KEEP_ALIVE_SECONDS)) as groups:
            async for group in groups:
                chunks = [chunk for event in group for chunk in answer.chunks(event, with_usage=with_usage)]
                yield "".join(map(_line, chunks)) if group else ": keep-alive\n\n"
    except Exception as error:
        yield _line(_error_of(error)[1])
        return
    yield "data: [DONE]\n\n"


def _line(value: dict[str, Any]) -> str:
    return f"data: {json.dumps(value, ensure_ascii=False, separators=(',', ':'))}\n\n"


# ── the answer ───────────────────────────────────────────────────────────────────────────────────────────────────────


class _Answer:
    """One completion in OpenAI's shapes: whole, or chunk by chunk."""

    def __init__(self, model: str) -> None:
        self._head = {"id": f"chatcmpl-{uuid.uuid4().hex}", "created": int(time.time()), "model": model}

    def whole(self, reply: ChatReply) -> dict[str, Any]:
        message = {"role": "assistant", "content": reply.content}
        if reply.reasoning is not None:
            message["reasoning_content"] = reply.reasoning
        choice = {
            "index": 0,
            "message": message,
            "logprobs": _logprobs(reply.logprobs),
            "finish_reason": _FINISH_REASONS[reply.finish_reason],
        }
        return self._head | {"object": "chat.completion", "choices": [choice], "usage": _usage(reply.usage)}

    def chunks(self, event: ChatEvent, *, with_usage: bool) -> list[dict[str, Any]]:
        """The chunks of one event; none for what OpenAI has no words for, such as the place in the queue."""
        match event:
            case ContentDelta(text=text, logprobs=logprobs):
                return [self.chunk({"content": text}, with_usage=with_usage, logprobs=logprobs)]
            case ReasoningDelta(text=text):
                return [self.chunk({"reasoning_content": text}, with_usage=with_usage)]
            case Done():
                last = self.chunk({}, with_usage=with_usage, finish_reason=_FINISH_REASONS[event.finish_reason])
                totals = self._head | {"object": _CHUNK, "choices": [], "usage": _usage(event.usage)}
                return [last, totals] if with_usage else [last]
        return []

    def chunk(
        self,
        delta: dict[str, Any],
        *,
        with_usage: bool,
        finish_reason: str | None = None,
        logprobs: tuple[TokenLogprob, ...] = (),
    ) -> dict[str, Any]:
        choice = {"index": 0, "delta": delta, "logprobs": _logprobs(logprobs), "finish_reason": finish_reason}
        # OpenAI: with include_usage every chunk has the field, and it is null in all but the last.
        return self._head | {"object": _CHUNK, "choices": [choice]} | ({"usage": None} if with_usage else {})


def _usage(usage: Usage) -> dict[str, Any]:
    return {
        "prompt_tokens": usage.prompt_tokens,
        "completion_tokens": usage.completion_tokens,
        "total_tokens": usage.prompt_tokens + usage.completion_tokens,
        "prompt_tokens_details": {"cached_tokens": usage.cached_tokens},
    }


def _logprobs(logprobs: tuple[TokenLogprob, ...]) -> dict[str, Any] | None:
    if not logprobs:
        return None
    return {
        "content": [
            _logprob(each.token, each.data, each.logprob) | {"top_logprobs": [_logprob(*other) for other in each.top]}
            for each in logprobs
        ],
        "refusal": None,
    }


def _logprob(token: str, data: bytes, logprob: float) -> dict[str, Any]:
    return {"token": token, "bytes": list(data), "logprob": logprob}


# ── errors ───────────────────────────────────────────────────────────────────────────────────────────────────────────


def _refusal_of(error: Exception) -> JSONResponse:
    status, content = _error_of(error)
    headers = {}
    if status == 503:
        wait = getattr(error, "retry_after", None) or _SECONDS_TO_A_RESTART
        headers["Retry-After"] = str(math.ceil(wait))
    return JSONResponse(content, status, headers)


def _refusal(status: int, message: str, *, code: str) -> JSONResponse:
    return JSONResponse(_error(status, message, code=code), status)


def _error_of(error: Exception) -> tuple[int, dict[str, Any]]:
    """The status and the body of an error. What we did not raise on purpose is logged, and not shown to strangers."""
    if not isinstance(error, LLMError):
        log.error("a request failed", exc_info=error)
        return 500, _error(500, "The server failed; its log says why.", code="internal_error")
    status = _STATUS.get(error.code, 500)
    code = _OPENAI_CODES.get(error.code, error.code)
    return status, _error(status, error.message, code=code, param=getattr(error, "param", None))


def _error(status: int, message: str, *, code: str, param: str | None = None) -> dict[str, Any]:
    kind = "invalid_request_error" if status < 500 else "server_error"
    return {"error": {"message": message, "type": kind, "param": param, "code": code}}
