"""The options of a request, by name and type: the one list of them, for editors, type checkers and every door.

What each means and may be is said, and checked, in `llm_core.request`. None is as good as absent: the settings' value.
"""

from __future__ import annotations

from collections.abc import Awaitable, Callable, Iterable, Mapping, Sequence
from typing import Any, Literal, TypedDict

from llm_core.cancellation import Cancellation
from llm_core.lora import AdapterChoice
from llm_core.messages import Attachment, ToolCall
from llm_core.tool_spec import AllowedTools, NamedTool, ResponseFormat, ToolSpec

Overflow = Literal["error", "drop_oldest"]
LEAVE_OUT_OLDEST = 'overflow: "drop_oldest"'
"""How a request asks for that, in what is told of one that is too long."""

Decision = bool | str | None
"""Of a call before it runs: True or None lets it run, False declines it, a text is given to the model in its place."""
OnToolCall = Callable[[ToolCall], Decision | Awaitable[Decision]]


class GenerationOptions(TypedDict, total=False):
    """How tokens are chosen, and when it ends: of every request to a model."""

    model: str | None
    temperature: float | None
    top_k: int | None
    top_p: float | None
    min_p: float | None
    typical_p: float | None
    repeat_penalty: float | None
    presence_penalty: float | None
    frequency_penalty: float | None
    repeat_last_n: int | None
    seed: int | None
    logit_bias: Mapping[int, float] | None
    lora: Iterable[AdapterChoice | Mapping[str, Any]] | None
    max_tokens: int | None
    stop: str | Sequence[str] | None
    timeout: float | None


class WireOptions(GenerationOptions, total=False):
    """What every caller may choose, also one over a wire."""

    thinking: bool | None
    overflow: Overflow | None
    tools: Iterable[ToolSpec | Mapping[str, Any] | Callable[..., Any]] | None
    run_tools: bool | Iterable[str] | None
    tool_choice: str | Mapping[str, Any] | NamedTool | AllowedTools | None
    parallel_tool_calls: bool | None
    response_format: ResponseFormat | Mapping[str, Any] | None


class RequestOptions(WireOptions, total=False):
    """All of a request. Over a wire the door knows whose it is, tools run for callers of this process only, and
    `logprobs` are OpenAI's to ask for."""

    owner: str
    logprobs: int | None
    max_steps: int | None
    on_tool_call: OnToolCall | None


class CompletionOptions(GenerationOptions, total=False):
    """Of a raw prompt."""

    owner: str
    logprobs: int | None
    suffix: str | None


class CompleteOptions(CompletionOptions, total=False):
    """Of a raw prompt whose completion can be stopped."""

    cancellation: Cancellation | None


class ChatOptions(RequestOptions, total=False):
    """Of a conversation that the caller keeps."""

    cancellation: Cancellation | None


class TurnOptions(RequestOptions, total=False):
    """Of the next turn of a session."""

    attachments: Iterable[Mapping[str, Any] | Attachment] | None
    tool_results: Iterable[Mapping[str, Any]] | None
    approvals: Iterable[Mapping[str, Any]] | None
    system_prompt: str | None


class BeginOptions(TurnOptions, total=False):
    """Of a turn that is begun by somebody who has a session on the screen."""

    version: int | None
    replaces: str | None
    after: str | None
    settings: Mapping[str, Any] | None


WIRE_OPTIONS = frozenset(WireOptions.__annotations__)


def given(options: Mapping[str, object]) -> dict[str, Any]:
    """The options that say something."""
    return {name: value for name, value in options.items() if value is not None}
