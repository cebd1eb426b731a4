"""What callers over HTTP send and get, with the range of every field: `/docs` is made of it."""

from __future__ import annotations

from typing import Annotated, Any, ClassVar, Literal, Self

from pydantic import BaseModel, ConfigDict, Field, WithJsonSchema, model_validator

from llm_core.events import CacheMiss, FinishReason
from llm_core.http import shapes
from llm_core.lora import AdapterChoices
from llm_core.messages import MAX_ATTACHMENTS, MAX_CALLS, MAX_MESSAGES, Attachment, Message, Text, ToolCall
from llm_core.options import Overflow
from llm_core.request import (
    LogitBias,
    MaxTokens,
    MinP,
    ModelName,
    Penalty,
    RepeatLastN,
    RepeatPenalty,
    RunTools,
    Seed,
    Stops,
    Temperature,
    Timeout,
    TopK,
    TopP,
    TypicalP,
)
from llm_core.sessions.imported import MAX_TITLE_CHARS
from llm_core.sessions.sessions import SESSION_ID_PATTERN, SESSION_ID_RULE, STREAM_ID_PATTERN
from llm_core.task import Task
from llm_core.tool_spec import MAX_TOOLS

TurnId = Annotated[str, Field(pattern=STREAM_ID_PATTERN, description="The stream of a turn; its last message has it")]
SessionId = Annotated[str, Field(pattern=SESSION_ID_PATTERN, description=SESSION_ID_RULE)]
_EXAMPLE: dict[str, Any] = {"messages": [{"role": "user", "content": "Hello"}], "temperature": 0.7, "max_tokens": 512}

# ── what is checked further in: the documentation shows what `shapes` says ────────────────────────────────────────────

ChatMessage = Annotated[Message, WithJsonSchema(shapes.MESSAGE)]
Tool = Annotated[dict[str, Any], WithJsonSchema(shapes.TOOL)]
Choice = Annotated[str | dict[str, Any], WithJsonSchema(shapes.CHOICE)]
Format = Annotated[dict[str, Any], WithJsonSchema(shapes.RESPONSE_FORMAT)]
Approval = Annotated[dict[str, Any], WithJsonSchema(shapes.APPROVAL)]
ToolResult = Annotated[dict[str, Any], WithJsonSchema(shapes.RESULT)]
File = Annotated[dict[str, Any], WithJsonSchema(shapes.ATTACHMENT)]
Biases = Annotated[LogitBias, WithJsonSchema(shapes.LOGIT_BIAS)]
Lora = Annotated[AdapterChoices, WithJsonSchema(shapes.LORA)]


# ── requests ─────────────────────────────────────────────────────────────────────────────────────────────────────────


class Sampling(BaseModel):
    """Who answers, and how its tokens are chosen. What is left out takes the server's default."""

    model_config = ConfigDict(extra="forbid")

    model: ModelName | None = Field(None, description="Which model answers, by name or alias; left out, the first one")
    temperature: Temperature | None = Field(None, description="0 always takes the likeliest token")
    top_p: TopP | None = Field(None, description="Nucleus sampling; 1 is off, 0 keeps the likeliest alone")
    top_k: TopK | None = Field(None, description="Keep the k likeliest tokens; 0 and -1 keep all")
    min_p: MinP | None = Field(None, description="Keep tokens this likely relative to the likeliest; 0 is off")
    typical_p: TypicalP | None = Field(None, description="Locally typical sampling; 1 is off")
    repeat_penalty: RepeatPenalty | None = Field(None, description="1 is off")
    presence_penalty: Penalty | None = None
    frequency_penalty: Penalty | None = None
    repeat_last_n: RepeatLastN | None = Field(None, description="How many tokens back the three penalties look")
    logit_bias: Biases | None = Field(None, description="Token id to what is added to its logit")
    lora: Lora | None = Field(None, description="The model's adapters that apply, by name or id, and no others")
    seed: Seed | None = Field(None, description="The same seed draws the same tokens")
    stop: Stops | None = Field(None, description="Texts that end the reply and are not part of it")
    timeout: Timeout | None = Field(None, description="Seconds after which the reply ends")


class Options(Sampling):
    """How to answer. What is left out takes the server's default."""

    max_tokens: MaxTokens | None = Field(None, description="The longest reply, in tokens; -1 is what fits")
    thinking: bool | None = Field(None, description="Switches thinking, where the model can")
    overflow: Overflow | None = Field(None, description="What to do with a conversation longer than the context")
    tools: list[Tool] | None = Field(
        None,
        description=f"Functions that the model may call, up to {MAX_TOOLS}; you run them",
        examples=[[shapes.WEATHER]],
    )
    run_tools: RunTools | None = Field(
        None,
        description="What of the server's own tools it may call, too, by the names of tools or of their servers; "
        "`true`: all of them. The server runs what is called",
    )
    tool_choice: Choice | None = Field(None, description="Whether it may call (`auto`), must not, must, or which one")
    parallel_tool_calls: bool | None = Field(None, description="Whether one reply may have several calls; it may")
    response_format: Format | None = Field(None, description="The form of the reply's text")

    def options(self) -> dict[str, Any]:
        """The options of `LLMClient`; None is the default there too."""
        return self.model_dump(include=set(Options.model_fields))


class ChatBody(Options):
    """A conversation; its last message is answered."""

    model_config = ConfigDict(extra="forbid", json_schema_extra={"example": _EXAMPLE})

    messages: Annotated[list[ChatMessage], Field(min_length=1, max_length=MAX_MESSAGES)]


class SessionBody(Options):
    """The next message of a session that the server remembers, and makes on first use; or the results of the calls of
    its last reply, and whether those that wait for somebody to agree are made."""

    model_config = ConfigDict(
        extra="forbid",
        json_schema_extra={
            "example": {"session_id": "my-session-123", "message": "Tell me a story", "temperature": 0.8},
            "oneOf": [*shapes.either("message", "tool_results", "approvals")],
        },
    )

    session_id: SessionId
    message: Text | None = Field(None, description="What the user says; or give `tool_results`")
    attachments: Annotated[list[File], Field(max_length=MAX_ATTACHMENTS)] | None = Field(
        None, description="Files of the message, as text; the model is told them before it"
    )
    tool_results: Annotated[list[ToolResult], Field(min_length=1, max_length=MAX_CALLS)] | None = Field(
        None, description="In place of a message: what each call of the last reply gave back"
    )
    approvals: Annotated[list[Approval], Field(min_length=1, max_length=MAX_CALLS)] | None = Field(
        None, description="In place of a message: whether calls that wait for somebody to agree are made"
    )
    system_prompt: Text | None = Field(None, description="From now on in this session; left out, it stays as it is")
    replaces: TurnId | None = Field(None, description="Another version of this turn: it and all after it are set aside")
    after: TurnId | None = Field(None, description="Follows this turn and not the last one; what followed is set aside")

    def begins(self) -> dict[str, Any]:
        """What the turn begins with, as `Sessions.begin` takes it."""
        begins = {"message", "attachments", "tool_results", "approvals", "system_prompt", "replaces", "after"}
        return self.model_dump(include=begins)


class FetchBody(BaseModel):
    """Which model to fetch."""

    model_config = ConfigDict(extra="forbid", json_schema_extra={"example": {"source": "hf:Qwen/Qwen3-4B-GGUF"}})

    source: Annotated[str, Field(min_length=1, max_length=4096, description="hf:OWNER/REPO[:FILE-OR-GLOB][@REVISION]")]


class HistoryBody(BaseModel):
    """Which session."""

    model_config = ConfigDict(extra="forbid")

    session_id: SessionId


class SessionChange(BaseModel):
    """What is to be changed of a session."""

    model_config = ConfigDict(
        extra="forbid",
        json_schema_extra={"example": {"title": "Oslo"}, "anyOf": [shapes.there("title"), shapes.there("pinned")]},
    )

    title: Annotated[Text, Field(min_length=1, max_length=MAX_TITLE_CHARS)] | None = None
    pinned: Annotated[bool, Field(strict=True)] | None = Field(
        None, description="Whether it stands before those that are not pinned"
    )

    @model_validator(mode="after")
    def says_something(self) -> Self:
        if self.title is None and self.pinned is None:
            raise ValueError("give a title, or whether it is pinned")
        return self


# ── answers ──────────────────────────────────────────────────────────────────────────────────────────────────────────


class UsageAnswer(BaseModel):
    """Counts of tokens; `cached_tokens` of the prompt were not computed again."""

    prompt_tokens: int
    cached_tokens: int
    completion_tokens: int
    cache_miss: CacheMiss | None = Field(None, description="Why more of the prompt was computed than what is new")
    draft_tokens: int = Field(0, description="Tokens that were tried before it was known whether they come next")
    accepted_tokens: int = Field(0, description="Those of them that came next")
    reasoning_tokens: int = Field(0, description="Those of the completion up to the end of the thinking")


class TimingsAnswer(BaseModel):
    """Times as the engine saw them."""

    queue_ms: float
    ttft_ms: float
    tokens_per_second: float


class ReplyAnswer(BaseModel):
    """A whole reply."""

    content: str
    reasoning: str | None = None
    tool_calls: list[ToolCall] | None = Field(None, description="What the model calls; run it, and send the results")
    finish_reason: FinishReason
    usage: UsageAnswer
    timings: TimingsAnswer
    dropped_messages: int | None = Field(None, description="How many of the oldest messages were left out")
    model: str | None = Field(None, description="The model that made it")


class SessionReplyAnswer(ReplyAnswer):
    """A whole reply in a session."""

    session_id: str
    not_kept: str | None = Field(None, description="Why the session has not got this reply")
    awaiting_approval: list[str] | None = Field(
        None, description="The ids of its calls that the server makes once somebody agrees; send `approvals`"
    )


class HistoryMessage(BaseModel):
    """A message. The last one of a turn has the turn's status and figures."""

    model_config = ConfigDict(extra="allow")

    role: str
    content: str
    reasoning: str | None = None
    tool_calls: list[ToolCall] | None = None
    tool_call_id: str | None = Field(None, description="Of a result: the call that it belongs to")
    attachments: list[Attachment] | None = Field(None, description="The files of a user's message")
    status: str | None = None
    stream_id: str | None = None
    versions: list[str] | None = Field(None, description="The streams of the turns that can stand at this one's place")
    finish_reason: str | None = None
    error: str | None = None
    created_at: str | None = None


class HistoryAnswer(BaseModel):
    """A session with all that was said in it."""

    session_id: str
    title: str
    system_prompt: str | None
    model: str | None
    created_at: str
    updated_at: str
    messages: list[HistoryMessage]


class VersionAnswer(BaseModel):
    """A turn, as what was said or as what was set aside."""

    stream_id: str
    after: str | None = Field(
        None, description="The stream of the turn that it follows; null: the session begins with it"
    )
    chosen: bool = Field(description="Whether it is what was said")
    created_at: str
    messages: list[HistoryMessage]


class VersionsAnswer(BaseModel):
    """The turns that can stand at one place, the oldest first."""

    versions: list[VersionAnswer]


class SessionAnswer(BaseModel):
    """A session in the list."""

    session_id: str
    title: str
    turns: int
    busy: bool
    pinned: bool = Field(description="It stands before those that are not")
    created_at: str
    updated_at: str


class SessionsAnswer(BaseModel):
    """An owner's sessions: pinned ones first, then the one used last."""

    sessions: list[SessionAnswer]


class AttachmentAnswer(BaseModel):
    """A file as text: `attachment` is what a message's `attachments` take."""

    attachment: Attachment
    tokens: int = Field(description="That it takes of the context")
    is_estimate: bool = Field(description="Nobody has counted them: the model is not loaded, or does not tell")


class ModelAnswer(BaseModel):
    """A model. What is not known is null."""

    FACTS: ClassVar = (
        "architecture",
        "quantization",
        "parameters",
        "size_bytes",
        "context_train",
        "license",
        "has_chat_template",
        "can_switch_thinking",
        "task",
    )

    name: str = Field(description="By which requests name it")
    aliases: list[str] = []
    source: str = Field(description="As in LLM_MODEL")
    state: Literal["absent", "fetching", "here", "loading", "ready", "failed"]
    message: str = Field(description="The state in a sentence for people")
    progress: float = Field(description="0 to 1, of fetching or loading")
    seconds_left: float | None = Field(None, description="Of fetching")
    is_served: bool = Field(description="Requests can name it")
    is_default: bool = Field(description="Requests that name none get it")
    is_pinned: bool = Field(description="It stays loaded")
    need_bytes: int | None = Field(None, description="Memory that it needs")
    fit: Literal["fits", "tight", "too_large"] | None = Field(None, description="Whether that is there")
    architecture: str | None = None
    quantization: str | None = None
    parameters: int | None = None
    size_bytes: int | None = None
    context_train: int | None = None
    license: str | None = None
    has_chat_template: bool | None = None
    can_switch_thinking: bool | None = None
    task: Task | None = Field(None, description="What it is for")


class ModelsAnswer(BaseModel):
    """All models."""

    models: list[ModelAnswer]


class DeletedAnswer(BaseModel):
    """What was deleted or stopped."""

    id: str
    deleted: bool = True
