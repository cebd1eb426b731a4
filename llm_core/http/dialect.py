"""What other servers of OpenAI's wire format read beside its fields: llama.cpp's, vLLM's, Hugging Face's, DashScope's.

Where the meaning is that of an option here it is that option; where leaving it out would change the answer it is
refused by name; the rest is ignored.
"""

from __future__ import annotations

import json
import re
from collections.abc import Callable, Iterator, Mapping
from contextlib import contextmanager
from typing import Any

from llm_core.errors import InvalidRequest
from llm_core.options import LEAVE_OUT_OLDEST
from llm_core.request import RESPONSE_PLACE, TOOL_PLACE

Option = tuple[str, str, Any]  # the field that says it, the option's name, its value

# Fields that are not read, and the values with which they ask for nothing.
_NOT_READ: dict[str, tuple[Any, ...]] = {
    "allowed_token_ids": (),
    "audio": (),
    "bad_words": ([],),
    "best_of": (1,),
    "chat_template": (),
    "documents": ([],),
    "dry_multiplier": (0,),
    "dynatemp_range": (0,),
    "echo": (False,),
    "grammar": ("",),
    "guided_choice": (),
    "guided_grammar": (),
    "guided_regex": (),
    "ignore_eos": (False,),
    "include_stop_str_in_output": (False,),
    "length_penalty": (1,),
    "min_tokens": (0,),
    "mirostat": (0,),
    "modalities": (["text"],),
    "reasoning": ({},),
    "reasoning_budget": (-1,),
    "reasoning_format": ("auto", "deepseek"),
    "samplers": (),
    "skip_special_tokens": (True,),
    "stop_token_ids": ([],),
    "thinking_budget": (),
    "thinking_budget_tokens": (-1,),
    "top_a": (0,),
    "top_n_sigma": (0, -1),
    "truncate_prompt_tokens": (),
    "use_beam_search": (False,),
    "web_search_options": (),
    "xtc_probability": (0,),
}
_THINKING = {"enabled": True, "disabled": False, "auto": None, "adaptive": None}
_SWITCHES = ("enable_thinking", "thinking")


def read_dialect(given: Mapping[str, Any], own: Mapping[str, Any]) -> dict[str, Any]:
    """The options that fields of other servers ask for.

    Args:
        given: Those fields.
        own: The options that the fields of this server ask for, None where they ask for nothing.

    Raises:
        InvalidRequest: A field would change the answer and is not read, or says otherwise than another one.
    """
    found: dict[str, Any] = {}
    for field, value in given.items():
        if value is None:
            continue
        if field in _NOT_READ and value not in _NOT_READ[field]:
            raise _refused(field, "is not read here; leave it out")
        for place, option, wanted in _READ.get(field, _nothing)(field, value):
            other = found.get(option, own.get(option))
            if other not in (None, wanted, {"type": "text"}):
                raise _refused(place, f"says otherwise than another field that stands for {option}; send one of them")
            found[option] = wanted
    return found


@contextmanager
def in_their_words(given: Mapping[str, Any], own: Mapping[str, str] | None = None) -> Iterator[None]:
    """What is refused in the block by an option's name is refused by that of the field that stands for it.

    Args:
        given: The fields, which `read_dialect` has taken.
        own: The fields of this wire format that are options by other names: by the options, or places in them; and what
            it says for `LEAVE_OUT_OLDEST`.
    """
    try:
        yield
    except InvalidRequest as error:
        raise _in_their_words(error, given, own or {}) from None


def _in_their_words(error: InvalidRequest, given: Mapping[str, Any], own: Mapping[str, str]) -> InvalidRequest:
    message = error.message.replace(LEAVE_OUT_OLDEST, own.get(LEAVE_OUT_OLDEST, LEAVE_OUT_OLDEST))
    place, rest = _place_in(error.param or "", own)
    if not place:
        option, _, rest = (error.param or "").replace(RESPONSE_PLACE, "response_format").partition(".")
        there = {field: value for field, value in given.items() if value is not None}
        said = (each for field, value in there.items() for each in _READ.get(field, _nothing)(field, value))
        place = next((place for place, stands_for, _ in said if stands_for == option), "")
    if error.param is None or not place:
        return type(error)(message, param=error.param)
    param = f"{place}.{rest}" if rest else place
    return type(error)(re.sub(f"^{re.escape(error.param)}", lambda _: param, message), param=param)


def _place_in(param: str, own: Mapping[str, str]) -> tuple[str, str]:
    """The field of this wire format for a param, and the way on in a schema; nothing where it has none."""
    tool = re.match(r"tools\.(\d+)\.", param)
    param = f"tools.*.{param[tool.end() :]}" if tool else param
    option = next((option for option in sorted(own, reverse=True) if f"{param}.".startswith(f"{option}.")), None)
    if option is None:
        return "", ""
    rest = param[len(option) + 1 :] if option in (RESPONSE_PLACE, TOOL_PLACE) else ""
    return own[option].replace("*", tool[1] if tool else ""), rest


def switch_of_thinking(value: Any) -> bool | None:
    """The switch in `thinking`: true or false, or Anthropic's and DeepSeek's `{"type": "enabled" | "disabled"}`.

    Raises:
        InvalidRequest: It is neither.
    """
    if value is None or isinstance(value, bool):
        return value
    if not isinstance(value, Mapping) or value.get("type") not in _THINKING:
        raise _refused("thinking", 'must be true, false, {"type": "enabled"} or {"type": "disabled"}')
    if more := next((name for name in value if name != "type" and value[name] is not None), None):
        raise _refused(f"thinking.{more[:100]}", "is not read here; leave it out")
    return _THINKING[value["type"]]


# ── each field ───────────────────────────────────────────────────────────────────────────────────────────────────────


def _nothing(field: str, value: Any) -> Iterator[Option]:
    yield from ()


def _named(option: str) -> Callable[[str, Any], Iterator[Option]]:
    """A field that is an option by another name."""

    def read(field: str, value: Any) -> Iterator[Option]:
        yield field, option, value

    return read


def _switch(field: str, value: Any) -> Iterator[Option]:
    if not isinstance(value, bool):
        raise _refused(field, "must be true or false")
    yield field, "thinking", value


def thinking_of_effort(effort: Any) -> bool | None:
    """What OpenAI's effort of reasoning says of thinking: `none` switches it off, the other levels are hints, which the
    model may take or not."""
    return False if effort == "none" else None


def _effort(field: str, value: Any) -> Iterator[Option]:
    if (thinking := thinking_of_effort(value)) is not None:
        yield field, "thinking", thinking


def _template_options(field: str, value: Any) -> Iterator[Option]:
    if not isinstance(value, Mapping):
        raise _refused(field, 'must be an object such as {"enable_thinking": false}')
    for name, wanted in value.items():
        if name not in _SWITCHES:
            raise _refused(f"{field}.{str(name)[:100]}", f"is not read here; {' and '.join(_SWITCHES)} are")
        if wanted is not None:
            yield from _switch(f"{field}.{name}", wanted)


def _schema(field: str, value: Any) -> Iterator[Option]:
    if isinstance(value, str):
        try:
            value = json.loads(value)
        except (ValueError, RecursionError):
            value = None
    if not isinstance(value, Mapping):
        raise _refused(field, "must be a JSON schema")
    yield field, "response_format", {"type": "json_object", "schema": dict(value)}


def _structured(field: str, value: Any) -> Iterator[Option]:
    if not isinstance(value, Mapping):
        raise _refused(field, 'must be an object such as {"json": {...}}')
    for name, wanted in value.items():
        if wanted is None or wanted is False:
            continue
        if name == "json":
            yield from _schema(f"{field}.json", wanted)
        elif name == "json_object":
            yield f"{field}.json_object", "response_format", {"type": "json_object"}
        else:
            raise _refused(f"{field}.{str(name)[:100]}", "is not read here; json and json_object are")


_READ: dict[str, Callable[[str, Any], Iterator[Option]]] = {
    "chat_template_kwargs": _template_options,
    "enable_thinking": _switch,
    "guided_json": _schema,
    "json_schema": _schema,
    "max_completion_tokens": _named("max_tokens"),
    "n_predict": _named("max_tokens"),
    "reasoning_effort": _effort,
    "repetition_penalty": _named("repeat_penalty"),
    "structured_outputs": _structured,
}


def _refused(field: str, why: str) -> InvalidRequest:
    return InvalidRequest(f"{field}: {why}.", param=field)
