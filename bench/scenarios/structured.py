"""An object of six fields, with enums and nested keys: as a call that is demanded, and as a reply under a schema.

Most of such an object is given by its schema. Both ways are asked for as any client asks over `/v1`, one stream.
"""

from __future__ import annotations

import json
import time
from dataclasses import dataclass
from typing import Any

import jsonschema

from bench.lab import Findings, Lab, Opening
from bench.measure import median, to_llama_server
from bench.systems import APP, LLAMA_SERVER, OpenAIServer, SystemFailed

TICKET: dict[str, Any] = {
    "type": "object",
    "properties": {
        "title": {"type": "string", "maxLength": 40},
        "category": {"enum": ["billing", "delivery", "account", "something else"]},
        "priority": {"enum": ["low", "normal", "high", "urgent"]},
        "customer": {
            "type": "object",
            "properties": {
                "name": {"type": "string", "maxLength": 20},
                "plan": {"enum": ["free", "personal", "business"]},
                "country": {"enum": ["Norway", "Italy", "Portugal", "Ireland"]},
            },
            "required": ["name", "plan", "country"],
            "additionalProperties": False,
        },
        "deadline": {
            "type": "object",
            "properties": {"weekday": {"enum": ["Monday", "Wednesday", "Friday"]}, "before_noon": {"type": "boolean"}},
            "required": ["weekday", "before_noon"],
            "additionalProperties": False,
        },
        "call_back": {"type": "boolean"},
    },
    "required": ["title", "category", "priority", "customer", "deadline", "call_back"],
    "additionalProperties": False,
}
TOOL = {"name": "file_ticket", "description": "Files a ticket for a customer.", "parameters": TICKET}
_OPTIONS: dict[str, dict[str, Any]] = {
    "call": {"tools": [{"type": "function", "function": TOOL}], "tool_choice": "required"},
    "reply": {"response_format": {"type": "json_schema", "json_schema": {"name": "ticket", "schema": TICKET}}},
}
_QUESTION = "Customer {number} writes: I was charged twice in March. I am {name} from Oslo, on the business plan. Help!"
_NAMES = ("Ada", "Bruno", "Carla", "Dario", "Elif", "Finn", "Greta", "Hugo")


@dataclass(frozen=True, slots=True)
class Made:
    """One answer: how long it took as a whole, its tokens, and whether it is what was asked for."""

    seconds: float
    tokens: int
    holds: bool


async def run(lab: Lab) -> Findings:
    """Our app with and without drafts, and the other servers that know schemas, in turns."""
    openings: list[Opening] = [*lab.apps("draft", "off"), *lab.others]
    figures: dict[str, float] = {}
    raw: dict[str, Any] = {}
    refused = []
    for opening in openings:
        async with opening() as system:
            assert isinstance(system, OpenAIServer)
            for form in _OPTIONS:
                lab.say(f"structured: {form}, {system.name}")
                try:
                    made = [await _ask(system, lab, form, number) for number in range(-1, lab.sizes.repeats)][1:]
                except SystemFailed as error:  # not every server has both
                    refused.append(str(error))
                    continue
                key = f"{system.name}.{form}"
                raw[key] = [(each.seconds, each.tokens, each.holds) for each in made]
                figures |= {
                    f"{key}_rate": median([each.tokens / each.seconds for each in made]),
                    f"{key}_seconds": median([each.seconds for each in made]),
                    f"{key}_holds": sum(each.holds for each in made) / len(made),
                }
    for form in _OPTIONS:
        if figures.get(f"{LLAMA_SERVER}.{form}_holds"):  # else it did something else, at whatever rate
            figures |= to_llama_server(figures, f"{form}_rate", f"{form}_seconds")
        figures |= {
            f"{form}_to_without": figures[f"{APP}.{form}_rate"] / value
            for key, value in list(figures.items())
            if key.startswith(f"{APP} ") and key.endswith(f".{form}_rate")
        }
    return Findings(figures=figures, raw=raw, skipped="\n".join(refused))


async def _ask(system: OpenAIServer, lab: Lab, form: str, number: int) -> Made:
    """One of them, from the request to its last byte. The first one, which has the prompt read, is not counted."""
    question = _QUESTION.format(number=time.time_ns(), name=_NAMES[number % len(_NAMES)])
    started = time.perf_counter()
    answer = await system.whole([{"role": "user", "content": question}], lab.sizes.ticket_tokens, **_OPTIONS[form])
    took = time.perf_counter() - started
    return Made(took, answer["usage"]["completion_tokens"], holds(answer["choices"][0]["message"], form))


def holds(message: dict[str, Any], form: str) -> bool:
    """Whether a message is what was demanded."""
    try:
        text = message["content"] if form == "reply" else message["tool_calls"][0]["function"]["arguments"]
        jsonschema.validate(json.loads(text), TICKET)
    except (KeyError, IndexError, TypeError, ValueError, jsonschema.ValidationError):
        return False
    return True
