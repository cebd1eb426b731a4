"""OpenAI's wire format from the caller's side: a request as an engine reads it."""

from __future__ import annotations

from collections.abc import Iterator
from itertools import chain, count
from typing import Any

from llm_core.completion_request import AnyRequest
from llm_core.conversation import split_turns
from llm_core.messages import Message
from llm_core.request import MAX_TOKENS_LIMIT, ChatRequest
from llm_core.tool_spec import NamedTool

# What OpenAI does not know; sent only where the caller has set it, since a strict engine refuses what it does not know.
# Repetition has two names: llama.cpp's and that of vLLM and TGI. An engine ignores the one that is not its own.
_OWN_NAMES = {
    "top_k": ("top_k",),
    "min_p": ("min_p",),
    "typical_p": ("typical_p",),
    "repeat_penalty": ("repeat_penalty", "repetition_penalty"),
    "repeat_last_n": ("repeat_last_n",),
}
_OF_THE_PROMPT = (
    "messages",
    "tools",
    "tool_choice",
    "chat_template_kwargs",
    "continue_final_message",
    "add_generation_prompt",
)
_LEAST_TOP_P = 1e-6  # vLLM takes no 0, which leaves the likeliest token alone, as this does


def wire_of(request: AnyRequest, model: str) -> tuple[str, dict[str, Any]]:
    """The path below `/v1` of an engine, and what is sent there."""
    if isinstance(request, ChatRequest):
        return "/chat/completions", body_of(request, model)
    prompt = request.prompt if isinstance(request.prompt, str) else list(request.prompt)
    body = {"prompt": prompt, "suffix": request.suffix, "logprobs": request.sampling.logprobs}
    body |= _generation(request, model)
    return "/completions", {name: value for name, value in body.items() if value is not None} | _extra(request)


def body_of(request: ChatRequest, model: str) -> dict[str, Any]:
    """A conversation as an engine reads it."""
    sampling = request.sampling
    body = {"messages": [_message(message) for message in request.messages]} | _generation(request, model)
    if sampling.logprobs is not None:
        body |= {"logprobs": True, "top_logprobs": sampling.logprobs or None}
    if request.callable_tools:
        body |= {"tools": [tool.as_openai() for tool in request.tools], "tool_choice": _choice(request)}
    if request.response_format is not None:
        schema = {"name": "reply", "schema": request.response_format.json_schema, "strict": True}
        body["response_format"] = {"type": "json_schema", "json_schema": schema}
    own = _extra(request) | _extra_of_chat(request)
    return {name: value for name, value in body.items() if value is not None} | own


def _generation(request: AnyRequest, model: str) -> dict[str, Any]:
    sampling = request.sampling
    return {
        "model": model,
        "max_tokens": request.max_tokens if request.max_tokens < MAX_TOKENS_LIMIT else None,
        "temperature": sampling.temperature,
        "top_p": max(sampling.top_p, _LEAST_TOP_P),
        "seed": sampling.seed,
        "stop": list(request.stop) or None,
        "presence_penalty": sampling.presence_penalty or None,
        "frequency_penalty": sampling.frequency_penalty or None,
        "stream": True,
        "stream_options": {"include_usage": True},
    }


def conversation_of(request: ChatRequest) -> dict[str, Any]:
    """What of it is part of the prompt."""
    body = body_of(request, "")
    return {name: body[name] for name in _OF_THE_PROMPT if name in body}


def _extra(request: AnyRequest) -> dict[str, Any]:
    sampling = request.sampling
    extra: dict[str, Any] = {
        theirs: getattr(sampling, ours)
        for ours, names in _OWN_NAMES.items()
        if ours in sampling.model_fields_set
        for theirs in names
    }
    if request.max_tokens == MAX_TOKENS_LIMIT:
        extra["n_predict"] = -1  # so say llama-server and this app; what others are not told, they take as no limit
    if sampling.logit_bias:
        extra["logit_bias"] = {str(token): bias for token, bias in sampling.logit_bias.items()}
    return extra


def _extra_of_chat(request: ChatRequest) -> dict[str, Any]:
    extra: dict[str, Any] = {}
    if request.thinking is not None:
        extra["chat_template_kwargs"] = {"enable_thinking": request.thinking}
    if request.callable_tools and not request.parallel_tool_calls:
        extra["parallel_tool_calls"] = False
    if request.begun is not None:  # vLLM's words, and ours; llama-server does so unasked
        extra |= {"continue_final_message": True, "add_generation_prompt": False}
    return extra


def _choice(request: ChatRequest) -> Any:
    choice = request.tool_choice
    return {"type": "function", "function": {"name": choice.name}} if isinstance(choice, NamedTool) else choice


def _message(message: Message) -> dict[str, Any]:
    wire: dict[str, Any] = {"role": message.role, "content": message.content}
    if message.reasoning is not None:
        wire["reasoning_content"] = message.reasoning
    if message.tool_calls:
        wire["tool_calls"] = [call.model_dump() for call in message.tool_calls]
    if message.tool_call_id is not None:
        wire["tool_call_id"] = message.tool_call_id
    return wire


def shorter_ones(messages: tuple[Message, ...]) -> Iterator[tuple[Message, ...]]:
    """The conversation without its oldest turn, the oldest two, three, four, six, eight, twelve and so on, at last the
    last turn alone.

    How long a text is in tokens only the engine knows, so this is tried out. Steps that grow are few, and the prompt
    of a growing session begins at the same place for many turns, so that the engine finds it in its prefix cache.
    System messages at the start stay.
    """
    system, turns = split_turns(messages)
    last = len(turns) - 1
    for dropped in _steps():
        if dropped >= last:
            break
        yield (*system, *chain.from_iterable(turns[dropped:]))
    if last > 0:
        yield (*system, *turns[last])


def _steps() -> Iterator[int]:
    """1, 2, 3, 4, 6, 8, 12, 16, 24 and so on. Steps that double would leave nothing but the last turn of a conversation
    of which a little more than half has to go."""
    yield 1
    for power in count():
        yield from (2 << power, 3 << power)
