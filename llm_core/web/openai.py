"""OpenAI's wire format, so that any OpenAI client can talk to the model: `/v1/chat/completions` and `/v1/models`.

It translates and decides nothing: what a request may ask is checked in `llm_core.request`, what is said is made by
`LLMClient`. Fields that OpenAI knows and this server does not are ignored, unless that would change the answer.
"""

from __future__ import annotations

from collections.abc import AsyncGenerator, Awaitable, Callable
from contextlib import aclosing
from typing import Annotated, Any, Literal

from fastapi import APIRouter, Depends, Request
from pydantic import BaseModel, ConfigDict, Field, ValidationInfo, field_validator
from starlette.responses import JSONResponse, Response

from llm_core.client import LLMClient
from llm_core.errors import ModelNotFound
from llm_core.events import ChatEvent
from llm_core.messages import MAX_MESSAGES
from llm_core.models.info import ModelInfo
from llm_core.web.bodies import Choice, Format, Tool
from llm_core.web.completions import Answer
from llm_core.web.gate import owner_of
from llm_core.web.problems import describe, problem
from llm_core.web.ready import ready
from llm_core.web.sse import EventStream, after_first, lines, sse
from llm_core.web.whole import unless_reader_leaves

# ── the body ─────────────────────────────────────────────────────────────────────────────────────────────────────────


class CompletionMessage(BaseModel):
    """A message as OpenAI's clients send it, also when it is one of our answers sent back."""

    model_config = ConfigDict(frozen=True, extra="ignore")

    role: str
    content: str | list[dict[str, Any]] | None = None
    reasoning_content: str | None = None
    tool_calls: list[Any] | None = None
    tool_call_id: str | None = None
    function_call: Any = None

    @field_validator("function_call")
    @classmethod
    def _not_the_old_form(cls, given: Any) -> None:
        refuse_old_form(given, "tool_calls")

    def as_message(self) -> dict[str, Any]:
        """What `parse_messages` reads."""
        role = "system" if self.role == "developer" else self.role
        content = "" if self.content is None and role == "assistant" else self.content
        return {
            "role": role,
            "content": content,
            "reasoning": self.reasoning_content,
            "tool_calls": self.tool_calls or None,
            "tool_call_id": self.tool_call_id,
        }


class StreamOptions(BaseModel):
    model_config = ConfigDict(frozen=True, extra="ignore")

    include_usage: bool = False


class CompletionBody(BaseModel):
    """What `/v1/chat/completions` reads. Ranges that `llm_core.request` knows are not repeated here."""

    model_config = ConfigDict(frozen=True, extra="ignore")

    messages: Annotated[list[CompletionMessage], Field(min_length=1, max_length=MAX_MESSAGES)]
    model: Annotated[str, Field(max_length=200)] = ""
    stream: bool | None = None
    stream_options: StreamOptions | None = None
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
    tools: list[Tool] | None = None
    tool_choice: Choice | None = None
    parallel_tool_calls: bool | None = None
    response_format: Format | None = None
    functions: Any = None
    function_call: Any = None
    # Not OpenAI's but llama.cpp's, whose clients send them.
    top_k: int | None = None
    min_p: float | None = None
    typical_p: float | None = None
    repeat_penalty: float | None = None

    @field_validator("functions", "function_call")
    @classmethod
    def _not_the_old_form(cls, given: Any, info: ValidationInfo) -> None:
        refuse_old_form(given, "tools" if info.field_name == "functions" else "tool_choice")

    @property
    def wants_usage(self) -> bool:
        return self.stream_options is not None and self.stream_options.include_usage

    def options(self) -> dict[str, Any]:
        """The options of `LLMClient.chat`. None is the default there too."""
        return self.model_dump(include=_SAME_NAME) | {
            "max_tokens": self.max_tokens if self.max_completion_tokens is None else self.max_completion_tokens,
            # OpenAI's seeds are any 64-bit integers; the same one must give the same one here.
            "seed": None if self.seed is None else self.seed % (2**32 - 1),
            "logprobs": (self.top_logprobs or 0) if self.logprobs else None,
        }


_SAME_NAME = set(
    {"stop", "temperature", "top_p", "presence_penalty", "frequency_penalty", "logit_bias"}
    | {"top_k", "min_p", "typical_p", "repeat_penalty"}
    | {"tools", "tool_choice", "parallel_tool_calls", "response_format"}
)


def refuse_old_form(given: Any, now: str) -> None:
    """Refuses what OpenAI's clients sent before tools; left unseen it would change the answer."""
    if given is not None:
        raise ValueError(f"is OpenAI's form of 2023, which is not read here; send {now}")


# ── the routes ───────────────────────────────────────────────────────────────────────────────────────────────────────


def openai_routes(client: LLMClient, admit: Callable[..., Awaitable[None]]) -> APIRouter:
    """The routes.

    Args:
        admit: Refuses a caller who has asked too often.
    """
    router = APIRouter(prefix="/v1", tags=["OpenAI"])

    @router.get("/models", responses=describe(401, 503))
    async def models() -> dict[str, Any]:
        """The one model that is served."""
        return {"object": "list", "data": [_model(await ready(client))]}

    @router.get("/models/{model_id:path}", responses=describe(401, 404, 503))
    async def one_model(model_id: str) -> dict[str, Any]:
        """The model that is served, by its name."""
        info = await ready(client)
        if model_id != info.name:
            raise ModelNotFound(f"The model {model_id[:200]!r} is not here; {info.name} is, and answers to any name.")
        return _model(info)

    @router.post("/chat/completions", responses=describe(400, 401, 413, 429, 503, 504), dependencies=[Depends(admit)])
    async def chat_completions(body: CompletionBody, request: Request) -> Response:
        """OpenAI's chat completions, streaming and not."""
        answer = Answer(model=(await ready(client)).name)
        messages = [message.as_message() for message in body.messages]
        options = body.options() | {"owner": owner_of(request)}
        if not body.stream:
            return await unless_reader_leaves(
                request, client.achat(messages, **options), lambda reply: JSONResponse(answer.whole(reply))
            )
        events = await after_first(client.achat_stream(messages, **options))
        # OpenAI: the text of a reply that may be nothing but calls is null until there is some.
        head = {"role": "assistant", "content": None if body.tools else ""}
        return EventStream(events, _lines(events, answer, head, with_usage=body.wants_usage))

    return router


def _model(info: ModelInfo) -> dict[str, Any]:
    created = int(info.path.stat().st_mtime) if info.path else 0
    return {"id": info.name, "object": "model", "created": created, "owned_by": info.source}


async def _lines(
    events: AsyncGenerator[ChatEvent], answer: Answer, head: dict[str, Any], *, with_usage: bool
) -> AsyncGenerator[str]:
    """The events as OpenAI's chunks.

    Args:
        head: The delta before all events.
    """
    failed = False

    def write(event: ChatEvent) -> str:
        return "".join(map(sse, answer.chunks(event, with_usage=with_usage)))

    def fail(error: Exception) -> str:
        nonlocal failed
        failed = True
        return sse(problem(error, openai=True)[1])

    yield sse(answer.chunk(head, with_usage=with_usage))
    async with aclosing(lines(events, write, fail)) as written:
        async for line in written:
            yield line
    if not failed:
        yield "data: [DONE]\n\n"
