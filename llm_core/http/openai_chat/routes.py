"""OpenAI's wire format, so that any OpenAI client can talk to the model: `/v1/chat/completions` and `/v1/models`.

It translates and decides nothing: what a request may ask is checked in `llm_core.request`, what is said is made by
`LLMClient`. Fields that this server does not know are ignored, unless that would change the answer
(`llm_core.http.openai_chat.dialect`).
"""

from __future__ import annotations

from collections.abc import AsyncGenerator
from typing import Annotated, Any, Literal

from fastapi import APIRouter, Request
from pydantic import BaseModel, ConfigDict, Field, ValidationInfo, WithJsonSchema, field_validator
from starlette.responses import JSONResponse, Response

from llm_core.access.problems import describe, problem
from llm_core.backends.member import Member
from llm_core.errors import InvalidRequest, ModelNotFound
from llm_core.events import ChatEvent
from llm_core.http.bodies import Options
from llm_core.http.given import ADMITTED, Client, Owner, ready
from llm_core.http.openai_chat.completions import Answer
from llm_core.http.openai_chat.dialect import in_their_words, read_dialect, switch_of_thinking
from llm_core.http.shapes import CHUNK, OPENAI_MESSAGE, event_stream
from llm_core.http.sse import EventStream, sse
from llm_core.http.whole import unless_reader_leaves
from llm_core.messages import MAX_MESSAGES, Message
from llm_core.request import MAX_TOP_LOGPROBS, MaxTokens

# ── the body ─────────────────────────────────────────────────────────────────────────────────────────────────────────


class CompletionMessage(Message):
    """A message as every door reads it; what is unknown in it is ignored, as OpenAI does."""

    model_config = ConfigDict(frozen=True, extra="ignore")

    def as_message(self) -> Message:
        """The same, and equal to what other doors make of it."""
        return Message.model_construct(self.model_fields_set, **dict(self))


class StreamOptions(BaseModel):
    model_config = ConfigDict(frozen=True, extra="ignore")

    include_usage: bool | None = None


class CompletionBody(Options):
    """What `/v1/chat/completions` reads: every option of this server, and OpenAI's own."""

    model_config = ConfigDict(frozen=True, extra="allow")  # what else is there, `read_dialect` looks at

    messages: Annotated[
        list[Annotated[CompletionMessage, WithJsonSchema(OPENAI_MESSAGE)]], Field(min_length=1, max_length=MAX_MESSAGES)
    ]
    stream: bool | None = None
    stream_options: StreamOptions | None = None
    n: Literal[1] | None = None
    max_completion_tokens: MaxTokens | None = None
    seed: Annotated[int, Field(ge=-(2**63), lt=2**63)] | None = None
    logprobs: bool | None = None
    top_logprobs: Annotated[int, Field(ge=0, le=MAX_TOP_LOGPROBS)] | None = None
    functions: Any = None
    function_call: Any = None

    @field_validator("functions", "function_call")
    @classmethod
    def _not_the_old_form(cls, given: Any, info: ValidationInfo) -> None:
        refuse_old_form(given, "tools" if info.field_name == "functions" else "tool_choice")

    @field_validator("thinking", mode="before")
    @classmethod
    def _other_switches(cls, given: Any) -> bool | None:
        try:
            return switch_of_thinking(given)
        except InvalidRequest as error:
            raise ValueError(error.message.removeprefix("thinking: ")) from None

    @property
    def wants_usage(self) -> bool:
        return self.stream_options is not None and bool(self.stream_options.include_usage)

    @property
    def _in_other_words(self) -> dict[str, Any]:
        """Fields that are options by another name, and those that nobody knows here."""
        return {"max_completion_tokens": self.max_completion_tokens} | (self.model_extra or {})

    def options(self) -> dict[str, Any]:
        """The options of `LLMClient.chat`. None is the default there too.

        Raises:
            InvalidRequest: A field of another server would change the answer, and is not read here.
        """
        own = super().options() | {
            # OpenAI's seeds are any 64-bit integers; the same one must give the same one here.
            "seed": None if self.seed is None else self.seed % (2**32 - 1),
            "logprobs": (self.top_logprobs or 0) if self.logprobs else None,
        }
        return own | read_dialect(self._in_other_words, own)


def refuse_old_form(given: Any, now: str) -> None:
    """Refuses what OpenAI's clients sent before tools; left unseen it would change the answer."""
    if given is not None and given != []:
        raise ValueError(f"is OpenAI's form of 2023, which is not read here; send {now}")


_EXAMPLE = (
    'data: {"id":"chatcmpl-…","created":1700000000,"model":"…","object":"chat.completion.chunk","choices":[{"index":0,'
    '"delta":{"content":"Hello"},"logprobs":null,"finish_reason":null}]}\n\ndata: [DONE]\n\n'
)
_ANSWERS: dict[int | str, dict[str, Any]] = {
    200: {
        "description": "OpenAI's completion; with `stream` its chunks as server-sent events, `[DONE]` after the last",
        "content": {"application/json": {"schema": {"type": "object"}}} | event_stream(CHUNK, _EXAMPLE, numbered=False),
    }
}

# ── the routes ───────────────────────────────────────────────────────────────────────────────────────────────────────


router = APIRouter(prefix="/v1", tags=["OpenAI"])


@router.get("/models", responses=describe(401, 503))
async def models(client: Client) -> dict[str, Any]:
    """The models that are served, the default one first."""
    await ready(client)
    return {"object": "list", "data": [_model(member) for member in client.models.members]}


@router.get("/models/{model_id:path}", responses=describe(401, 404, 503))
async def one_model(model_id: str, client: Client) -> dict[str, Any]:
    """A model that is served, by its name or an alias."""
    await ready(client)
    member = client.models.member(model_id)
    if model_id not in member.names:
        raise ModelNotFound(f"The model {model_id[:200]!r} is not here; {member.name} is, and answers to any name.")
    return _model(member)


@router.post("/chat/completions", responses=_ANSWERS | describe(400, 401, 413, 429, 503, 504), dependencies=[ADMITTED])
async def chat_completions(body: CompletionBody, request: Request, client: Client, owner: Owner) -> Response:
    """OpenAI's chat completions, streaming and not."""
    await ready(client, body.model)
    answer = Answer(model=client.models.member(body.model or "").name)
    messages = [message.as_message() for message in body.messages]
    with in_their_words(body.model_extra or {}):
        options = body.options() | {"owner": owner}
        if not body.stream:
            work = client.achat(messages, **options)
            return await unless_reader_leaves(request, work, lambda reply: JSONResponse(answer.whole(reply)))
        return await _stream(answer, client.achat_stream(messages, **options), body).begun()


def _model(member: Member) -> dict[str, Any]:
    info = member.info
    created = int(info.path.stat().st_mtime) if info is not None and info.path else 0
    source = info.source if info is not None else member.served.source
    return {"id": member.name, "object": "model", "created": created, "owned_by": source, "state": member.state}


def _stream(answer: Answer, events: AsyncGenerator[ChatEvent], body: CompletionBody) -> EventStream[ChatEvent]:
    """The events as OpenAI's chunks."""
    # OpenAI: the text of a reply that may be nothing but calls is null until there is some.
    head = {"role": "assistant", "content": None if body.tools else ""}

    def write(event: ChatEvent) -> str:
        return "".join(map(sse, answer.chunks(event, with_usage=body.wants_usage)))

    def fail(error: Exception) -> str:
        return sse(problem(error, openai=True)[1])

    return EventStream(
        events, write, fail, head=sse(answer.chunk(head, with_usage=body.wants_usage)), tail="data: [DONE]\n\n"
    )
