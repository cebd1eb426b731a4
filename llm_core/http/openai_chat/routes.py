"""OpenAI's wire format, so that any OpenAI client can talk to the model: `/v1/chat/completions` and `/v1/models`.

It translates and decides nothing: what a request may ask is checked in `llm_core.request`, what is said is made by
`LLMClient`. Fields that this server does not know are ignored, unless that would change the answer
(`llm_core.http.dialect`).
"""

from __future__ import annotations

import asyncio
from collections.abc import AsyncGenerator, Iterable, Iterator, Mapping
from typing import Annotated, Any

from fastapi import APIRouter, Request
from pydantic import BaseModel, ConfigDict, Field, ValidationInfo, WithJsonSchema, field_validator, model_validator
from starlette.responses import JSONResponse, Response

from llm_core.access.problems import describe, problem
from llm_core.backends.member import Member
from llm_core.complaints import Misplaced
from llm_core.conversation import begun_reply
from llm_core.errors import InvalidRequest, ModelNotFound
from llm_core.http.bodies import Options
from llm_core.http.choices import MAX_CHOICES, Numbered, admit, collected, seeds, side_by_side
from llm_core.http.dialect import in_their_words, read_dialect, switch_of_thinking
from llm_core.http.given import ADMITTED, Client, Owner, ready
from llm_core.http.openai_chat.completions import Answer
from llm_core.http.shapes import CHUNK, OBJECT, OPENAI_MESSAGE, event_stream
from llm_core.http.sse import EventStream, sse
from llm_core.http.whole import unless_reader_leaves
from llm_core.messages import MAX_MESSAGES, Message
from llm_core.numbers import Whole
from llm_core.request import MAX_TOP_LOGPROBS, MaxTokens
from llm_core.tools.handed import handed_over

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


Count = Annotated[int, Field(ge=1, le=MAX_CHOICES), Whole]
AnySeed = Annotated[int, Field(ge=-(2**63), lt=2**63), Whole]


def seed_of(seed: int | None) -> int | None:
    """OpenAI's seeds are any 64-bit integers; the same one must give the same one here."""
    return None if seed is None else seed % (2**32 - 1)


class CompletionBody(Options):
    """What `/v1/chat/completions` reads: every option of this server, and OpenAI's own."""

    model_config = ConfigDict(frozen=True, extra="allow")  # what else is there, `read_dialect` looks at

    messages: Annotated[
        list[Annotated[CompletionMessage, WithJsonSchema(OPENAI_MESSAGE)]], Field(min_length=1, max_length=MAX_MESSAGES)
    ]
    stream: bool | None = None
    stream_options: StreamOptions | None = None
    n: Count | None = None
    max_completion_tokens: MaxTokens | None = None
    seed: AnySeed | None = None
    logprobs: bool | None = None
    top_logprobs: Annotated[int, Field(ge=0, le=MAX_TOP_LOGPROBS), Whole] | None = None
    continue_final_message: bool | None = None
    add_generation_prompt: bool | None = None
    functions: Any = None
    function_call: Any = None

    @field_validator("functions", "function_call")
    @classmethod
    def _not_the_old_form(cls, given: Any, info: ValidationInfo) -> None:
        refuse_old_form(given, "tools" if info.field_name == "functions" else "tool_choice")

    @model_validator(mode="after")
    def _end_as_they_say(self) -> CompletionBody:
        check_end(self.messages[-1], goes_on=self.continue_final_message, asks=self.add_generation_prompt)
        return self

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
            "seed": seed_of(self.seed),
            "logprobs": (self.top_logprobs or 0) if self.logprobs else None,
        }
        return own | read_dialect(self._in_other_words, own)


def check_end(last: Message, *, goes_on: bool | None, asks: bool | None) -> None:
    """Refuses vLLM's switches where they say otherwise than the last message: a reply there is gone on with."""
    is_reply = begun_reply([last]) is not None
    if goes_on is not None and goes_on != is_reply:
        said = "the last message is the assistant's, which is gone on with" if is_reply else "the last one is no reply"
        raise Misplaced(("continue_final_message",), said)
    if asks is False and not is_reply:
        raise Misplaced(("add_generation_prompt",), "is not read here but with a reply that is gone on with")


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
        "content": OBJECT | event_stream(CHUNK, _EXAMPLE, numbered=False),
    }
}
_REFUSED = describe(400, 401, 404, 413, 429, 503, 504)

# ── the routes ───────────────────────────────────────────────────────────────────────────────────────────────────────


router = APIRouter(prefix="/v1", tags=["OpenAI"])


@router.get("/models", responses=describe(401, 503))
async def models(client: Client) -> dict[str, Any]:
    """The models that are served, the default one first."""
    if len(client.models.members) == 1:  # of several, one that is not ready must not hide the others
        await ready(client)
    data = await asyncio.to_thread(lambda: [_model(member) for member in client.models.members])
    return {"object": "list", "data": data}


@router.get("/models/{model_id:path}", responses=describe(401, 404, 503))
async def one_model(model_id: str, client: Client) -> dict[str, Any]:
    """A model that is served, by its name or an alias."""
    await ready(client, model_id)
    member = client.models.member(model_id)
    if model_id not in member.names:
        raise ModelNotFound(f"The model {model_id[:200]!r} is not here; {member.name} is, and answers to any name.")
    return _model(member)


@router.post(
    "/chat/completions", responses=_ANSWERS | describe(400, 401, 404, 413, 429, 503, 504), dependencies=[ADMITTED]
)
async def chat_completions(body: CompletionBody, request: Request, client: Client, owner: Owner) -> Response:
    """OpenAI's chat completions, streaming and not."""
    await ready(client, body.model)
    member, n = client.models.member(body.model or ""), body.n or 1
    answer = Answer(member.name, n)
    messages = [message.as_message() for message in body.messages]
    with in_their_words(body.model_extra or {}):
        options = body.options() | {"owner": owner}
        admit(request, member, n=n)
        replies = [client.achat_stream(messages, **options | {"seed": seed}) for seed in seeds(options["seed"], n)]
        if body.stream and body.run_tools:
            own = frozenset(_names(options.get("tools") or ()))
            replies = [handed_over(reply, own) for reply in replies]
        events = side_by_side(replies)
        if not body.stream:
            return await unless_reader_leaves(
                request, collected(events, n), lambda whole: JSONResponse(answer.whole(whole))
            )
        return await _stream(answer, events, body).begun()


def _names(tools: Iterable[Mapping[str, Any]]) -> Iterator[str]:
    for tool in tools:
        function = tool.get("function", tool)
        yield str(function.get("name")) if isinstance(function, Mapping) else ""


def _model(member: Member) -> dict[str, Any]:
    info = member.info
    created = int(info.path.stat().st_mtime) if info is not None and info.path else 0
    source = info.source if info is not None else member.served.source
    model = {"id": member.name, "object": "model", "created": created, "owned_by": source, "state": member.state}
    return model | {"task": member.task}


def _stream(answer: Answer, events: AsyncGenerator[Numbered], body: CompletionBody) -> EventStream[Numbered]:
    """The events as OpenAI's chunks."""
    # OpenAI: the text of a reply that may be nothing but calls is null until there is some.
    head = {"role": "assistant", "content": None if body.tools else ""}

    def write(numbered: Numbered) -> str:
        index, event = numbered
        return "".join(map(sse, answer.chunks(event, index=index, with_usage=body.wants_usage)))

    def fail(error: Exception) -> str:
        return sse(problem(error, openai=True)[1])

    heads = (answer.chunk(head, index=index, with_usage=body.wants_usage) for index in range(body.n or 1))
    return EventStream(events, write, fail, head="".join(map(sse, heads)), tail="data: [DONE]\n\n")
