"""What is asked: one request to the model, with every number bounded before it can reach C."""

from __future__ import annotations

import re
from collections.abc import Callable, Iterable, Mapping
from typing import Annotated, Any, Literal, Unpack

from pydantic import (
    BaseModel,
    BeforeValidator,
    ConfigDict,
    Field,
    PrivateAttr,
    ValidationError,
    ValidationInfo,
    field_validator,
)

from llm_core.complaints import Misplaced, invalid_request
from llm_core.conversation import begun_reply
from llm_core.errors import InvalidRequest
from llm_core.events import ToolResult
from llm_core.lora import AdapterChoices
from llm_core.messages import Message, MessageLike, Text, ToolCall, parse_messages
from llm_core.numbers import Finite, Whole
from llm_core.options import OnToolCall, Overflow, RequestOptions
from llm_core.tool_spec import MAX_TOOLS, AllowedTools, NamedTool, ResponseFormat, ToolChoice, ToolSpec, is_any_text

MAX_TOKENS_LIMIT = 1_000_000
MAX_TIMEOUT_SECONDS = 24 * 3600.0
MAX_STOPS = 16
MAX_LOGIT_BIASES = 1_024
MAX_TOP_LOGPROBS = 20
MAX_STEPS = 32

SERVED_NAME_PATTERN = r"^[!-~]{1,128}$"
RESPONSE_PLACE = "response_format.json_schema.schema"
"""Where a complaint about the schema of a reply points."""
TOOL_PLACE = "tools.*.function.parameters"
"""The same of a tool's, which has its number for the star."""

NO_LIMIT = -1  # as llama.cpp, vLLM and their clients say it


def _no_limit_is(number: int) -> Callable[[Any], Any]:
    return lambda value: number if value == NO_LIMIT else value


def _texts(stop: Any) -> Any:
    """One text is a list of one; an empty one, which some clients send for none, stops nothing."""
    given = (stop,) if isinstance(stop, str) else stop
    return tuple(text for text in given if text != "") if isinstance(given, (list, tuple)) else given


def _all_or_named(wanted: Any) -> Any:
    if isinstance(wanted, bool):
        return wanted
    if isinstance(wanted, (str, bytes, Mapping)) or not isinstance(wanted, Iterable):
        raise ValueError('must be true, or a list of names such as ["calculate"]')
    names = tuple(wanted)
    if len(names) > MAX_TOOLS:
        raise ValueError(f"has more than {MAX_TOOLS} names")
    for place, name in enumerate(names):
        if not isinstance(name, str) or not re.fullmatch(SERVED_NAME_PATTERN, name):
            raise Misplaced((place,), "must be the name of a tool, or of a server of tools")
    return names


_Count = Annotated[int, Field(ge=0, le=1_000_000), Whole]
_Length = Annotated[int, Field(ge=1, le=MAX_TOKENS_LIMIT), Whole]

# The range of each number, for every door that takes it.
Temperature = Annotated[float, Field(ge=0, le=2), Finite]
TopK = Annotated[_Count, BeforeValidator(_no_limit_is(0), json_schema_input_type=Literal[-1] | _Count)]
TopP = Annotated[float, Field(ge=0, le=1), Finite]
MinP = Annotated[float, Field(ge=0, le=1), Finite]
TypicalP = Annotated[float, Field(gt=0, le=1), Finite]
RepeatPenalty = Annotated[float, Field(gt=0, le=2), Finite]
Penalty = Annotated[float, Field(ge=-2, le=2), Finite]
Seed = Annotated[int, Field(ge=0, le=2**32 - 2), Whole]
_TOKEN_IDS = Field(ge=0, le=2**31 - 1)
TokenId = Annotated[int, _TOKEN_IDS, Field(strict=True), Whole]
TokenIds = Annotated[list[TokenId], Field(max_length=MAX_TOKENS_LIMIT)]
LogitBias = Annotated[
    dict[Annotated[int, _TOKEN_IDS, Field(strict=False)], Annotated[float, Field(ge=-100, le=100), Finite]],
    Field(max_length=MAX_LOGIT_BIASES),
]
MaxTokens = Annotated[
    _Length, BeforeValidator(_no_limit_is(MAX_TOKENS_LIMIT), json_schema_input_type=Literal[-1] | _Length)
]
Timeout = Annotated[float, Field(gt=0, le=MAX_TIMEOUT_SECONDS), Finite]
Stop = Annotated[Text, Field(min_length=1, max_length=500)]
_StopText = Annotated[str, Field(max_length=500)]
Stops = Annotated[
    tuple[Stop, ...],
    Field(max_length=MAX_STOPS),
    BeforeValidator(_texts, json_schema_input_type=_StopText | Annotated[list[_StopText], Field(max_length=MAX_STOPS)]),
]
RepeatLastN = Annotated[int, Field(ge=0, le=4096), Whole]
MaxSteps = Annotated[int, Field(ge=1, le=MAX_STEPS), Whole]
ModelName = Annotated[str, Field(max_length=200)]
_ServedName = Annotated[str, Field(pattern=SERVED_NAME_PATTERN)]
RunTools = Annotated[
    bool | tuple[str, ...],
    BeforeValidator(
        _all_or_named, json_schema_input_type=bool | Annotated[list[_ServedName], Field(max_length=MAX_TOOLS)]
    ),
]


class SamplingParams(BaseModel):
    """How the next token is chosen. The names are those of llama.cpp's sampler chain and of OpenAI's API.

    Attributes:
        temperature: 0 is greedy: the most likely token, always.
        top_k: Keep the k most likely tokens; 0 keeps all, and so does -1.
        top_p: Nucleus sampling (Holtzman et al. 2020, arXiv:1904.09751); 1 is off, 0 keeps the likeliest alone.
        min_p: Keep tokens at least this likely relative to the likeliest (arXiv:2407.01082); 0 is off.
        typical_p: Locally typical sampling (arXiv:2202.00666); 1 is off.
        repeat_penalty: Divides the logits of tokens seen in the last `repeat_last_n`; 1 is off.
        presence_penalty: Taken off the logit of each token seen there at least once; 0 is off.
        frequency_penalty: Taken off it once for each time it was seen; 0 is off.
        repeat_last_n: How many tokens back the three penalties look.
        seed: The same seed, prompt and settings give the same reply, as far as llama.cpp's arithmetic allows. None:
            drawn afresh for each request.
        logit_bias: Token id to a number added to its logit; -100 as good as bans it.
        logprobs: How many alternatives to report with each token, 0 for the chosen one alone; None reports nothing.
    """

    model_config = ConfigDict(frozen=True, extra="forbid")

    temperature: Temperature = 0.7
    top_k: TopK = 40
    top_p: TopP = 0.95
    min_p: MinP = 0.0
    typical_p: TypicalP = 1.0
    repeat_penalty: RepeatPenalty = 1.0
    presence_penalty: Penalty = 0.0
    frequency_penalty: Penalty = 0.0
    repeat_last_n: RepeatLastN = 64
    seed: Seed | None = None
    logit_bias: LogitBias = Field(default_factory=dict)
    logprobs: Annotated[int, Field(ge=0, le=MAX_TOP_LOGPROBS)] | None = None


class ModelRequest(BaseModel):
    """What every request to a model has, whatever it goes on from.

    Attributes:
        model: The name or an alias of the model that answers. Empty: the first one that is served, or a session's own.
        sampling: How tokens are chosen.
        lora: The adapters of the model that apply, and no others; None: those that the operator has chosen.
        max_tokens: The longest reply, in tokens; -1 is as long as the context allows. The context may end it earlier.
        stop: Texts that end the reply; they are not part of it.
        timeout: Seconds from submission after which the reply ends with the finish reason `timeout`.
        owner: Whose request this is. Slots are shared fairly between owners, and a cached prefix never crosses from
            one to another.
    """

    model_config = ConfigDict(frozen=True, extra="forbid")

    model: ModelName = ""
    sampling: SamplingParams
    lora: AdapterChoices | None = None
    max_tokens: MaxTokens
    stop: Stops = ()
    timeout: Timeout
    owner: Annotated[str, Field(max_length=200)] = ""


class ChatRequest(ModelRequest):
    """One request: a conversation and how to answer it.

    Attributes:
        messages: The conversation so far; the last one is what is answered. Where that is the assistant's, it is gone
            on with.
        thinking: Switches the model's thinking on or off where its template knows how; None leaves it to the model.
        overflow: What happens when the conversation is longer than the context: `error`, or `drop_oldest` turns.
        tools: What the model may call.
        run_tools: What of the tools that this server runs it may call, too: names of tools or of their servers; True:
            all that the owner may use.
        tool_choice: Whether it may, must, or which; without effect where there are no tools.
        parallel_tool_calls: Whether one reply may have several calls.
        response_format: The form of the reply's text; None for any. Calls have theirs from their tool.
        max_steps: Of tools that run here: how often the model may call before it has to answer.
        on_tool_call: Is asked before each call of a tool that runs here.
    """

    messages: tuple[Message, ...]
    thinking: bool | None = None
    overflow: Overflow = "error"
    tools: Annotated[tuple[ToolSpec, ...], Field(max_length=MAX_TOOLS)] = ()
    run_tools: RunTools = False
    tool_choice: ToolChoice = "auto"
    parallel_tool_calls: bool = True
    response_format: ResponseFormat | None = None
    max_steps: MaxSteps = 8
    on_tool_call: OnToolCall | None = None
    _session: str = PrivateAttr("")  # no options: a session says so itself
    _approved_calls: tuple[ToolCall, ...] = PrivateAttr(())
    _results_made: tuple[ToolResult, ...] = PrivateAttr(())

    @field_validator("response_format", mode="before")
    @classmethod
    def _text_is_any(cls, wanted: Any) -> Any:
        return None if is_any_text(wanted) else wanted

    @field_validator("tools")
    @classmethod
    def _names_differ(cls, tools: tuple[ToolSpec, ...]) -> tuple[ToolSpec, ...]:
        names = [tool.name for tool in tools]
        twice = next((name for name in names if names.count(name) > 1), None)
        if twice is not None:
            raise ValueError(f"two tools have the name {twice!r}")
        return tools

    @field_validator("tool_choice")
    @classmethod
    def _choice_can_be_made(cls, choice: ToolChoice, info: ValidationInfo) -> ToolChoice:
        tools = info.data.get("tools")
        # They are refused themselves, in words of their own; what the server runs is known later.
        if tools is not None and not info.data.get("run_tools"):
            _check_choice(choice, tools)
        return choice

    @property
    def session(self) -> str:
        """The session whose turn this is, empty where it is none's. What the engine keeps of it is deleted with it."""
        return self._session

    @property
    def approved_calls(self) -> tuple[ToolCall, ...]:
        """Calls of the turn before to which somebody has agreed: they are made first."""
        return self._approved_calls

    @property
    def results_made(self) -> tuple[ToolResult, ...]:
        """What came of calls that were made already, for a reply that failed before its first word."""
        return self._results_made

    def of_session(
        self, session_id: str, approved_calls: tuple[ToolCall, ...] = (), results_made: tuple[ToolResult, ...] = ()
    ) -> ChatRequest:
        """The same, as a turn of a session."""
        turn = self.model_copy()
        turn._session, turn._approved_calls, turn._results_made = session_id, approved_calls, results_made
        return turn

    def with_served(self, tools: Iterable[ToolSpec]) -> ChatRequest:
        """The same with the tools that the server runs for it, which are known now.

        Raises:
            InvalidRequest: Two have one name, there are too many, or the choice among them names none of them.
        """
        both = (*self.tools, *tools)
        names = [tool.name for tool in both]
        if len(names) > MAX_TOOLS:
            many = f"run_tools: these are {len(names)} tools, and {MAX_TOOLS} may be offered at once; name fewer"
            raise InvalidRequest(many, param="run_tools")
        twice = next((name for name in names if names.count(name) > 1), None)
        if twice is not None:
            raise InvalidRequest(f"run_tools: two tools have the name {twice!r}", param="run_tools")
        try:
            _check_choice(self.tool_choice, both)
        except ValueError as error:
            raise InvalidRequest(f"tool_choice: {error}", param="tool_choice") from None
        return _chosen(self.model_copy(update={"tools": both, "run_tools": False}))

    @property
    def begun(self) -> Message | None:
        """The reply that is gone on with; None where a new one is made."""
        return begun_reply(self.messages)

    @property
    def callable_tools(self) -> tuple[ToolSpec, ...]:
        """What may be called in this reply."""
        return () if self.tool_choice == "none" else self.tools


def build_request(messages: Iterable[MessageLike], **options: Unpack[RequestOptions]) -> ChatRequest:
    """Checks `messages` and `options` (fields of `ChatRequest` and of `SamplingParams`, side by side).

    Raises:
        InvalidRequest: A field is unknown or out of its range; the message names it.
    """
    parsed = _without_empty_end(parse_messages(messages))
    fields: dict[str, Any] = {**options}
    sampling = {name: fields.pop(name) for name in options if name in SamplingParams.model_fields}
    try:
        request = ChatRequest(messages=parsed, sampling=SamplingParams(**sampling), **fields)
    except ValidationError as error:
        raise invalid_request(error) from None
    return request if request.run_tools else _chosen(request)


def _check_choice(choice: ToolChoice, tools: Iterable[ToolSpec]) -> None:
    names = {tool.name for tool in tools}
    wanted: tuple[str, ...] = (choice.name,) if isinstance(choice, NamedTool) else ()
    wanted = choice.names if isinstance(choice, AllowedTools) else wanted
    unknown = next((name for name in wanted if name not in names), None)
    if unknown is not None:
        raise ValueError(f"names {unknown!r}, which is none of the tools")
    if choice == "required" and not names:
        raise ValueError("'required' needs tools to choose from, and there are none")


def _chosen(request: ChatRequest) -> ChatRequest:
    """The request with the tools that its choice allows, and no others."""
    choice = request.tool_choice
    if isinstance(choice, AllowedTools):
        allowed = tuple(tool for tool in request.tools if tool.name in choice.names)
        request = request.model_copy(update={"tools": allowed, "tool_choice": choice.mode})
    if request.begun is not None:
        _check_begun(request)
    return request


def _without_empty_end(messages: tuple[Message, ...]) -> tuple[Message, ...]:
    """The conversation without a last reply in which nothing was said yet."""
    last = begun_reply(messages)
    is_empty = last is not None and not (last.content or last.reasoning)
    return messages[:-1] if is_empty and len(messages) > 1 else messages


def _check_begun(request: ChatRequest) -> None:
    """Refuses what does not go with a reply that was begun: a form would have to hold for what is there already."""
    for field, is_asked in (
        ("response_format", request.response_format is not None),
        ("tool_choice", request.tool_choice not in ("auto", "none")),
    ):
        if is_asked:
            raise InvalidRequest(
                f"{field}: a reply that was begun, the assistant's last message, cannot be held to a form. Leave out "
                "one of them.",
                param=field,
            )
