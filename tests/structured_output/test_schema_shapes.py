"""Schemas in the shapes that the world's have: each is held whole, and whatever it lets a model write is valid."""

from __future__ import annotations

import datetime
import json
import random
from collections.abc import Iterator
from typing import Any

import jsonschema
import numpy as np
import pytest

from llm_core.engine.llama.model import Model
from llm_core.errors import InvalidRequest
from llm_core.structured_output.constraint import Constraint, ConstraintCompiler
from llm_core.structured_output.limits import Budget, Schema
from llm_core.structured_output.schema import hold
from llm_core.structured_output.serialize import text_of

WALKS = 12
MAX_STEPS = 150

S: Schema = {"type": "string", "maxLength": 3}
B: Schema = {"type": "boolean"}


def objects(*names: str, **more: Any) -> Schema:
    return {"type": "object", "properties": dict.fromkeys(names, B), **more}


def needs(*names: str, **more: Any) -> Schema:
    return {"required": list(names), **more}


NODE: Schema = {
    "type": "object",
    "properties": {"of": {"type": "object", "anyOf": [{"$ref": "#/$defs/n"}, objects("b")]}},
}
ENDLESS: Schema = {"type": "object", "properties": {"next": {"$ref": "#/$defs/e"}}, "required": ["next"]}

SHAPES: dict[str, tuple[Schema, list[Any], list[Any]]] = {  # schema, some that fit, some that do not
    "one requires what the other closes out": (
        {"oneOf": [objects("a", required=["a"], additionalProperties=False), objects("b", required=["b"])]},
        [{"a": True}, {"b": True}],
        [{}, {"a": True, "b": True}],
    ),
    "each requires a name of its own": (
        {"oneOf": [objects("a", "x", required=["a"]), objects("b", "x", required=["b"])]},
        [{"a": True, "x": True}, {"b": True}],
        [{"a": True, "b": True}, {"x": True}],
    ),
    "one name of two": (
        objects("a", "b", "c", oneOf=[needs("a"), needs("b")]),
        [{"a": True}, {"b": True, "c": False}],
        [{}, {"a": True, "b": True}],
    ),
    "one name or two together": (
        objects("a", "b", "c", oneOf=[needs("a"), needs("b", "c"), needs("a", "b")]),
        [{"a": True}, {"b": True, "c": True}],
        [{"a": True, "b": True}, {"b": True}],
    ),
    "one requires what the other forbids": (
        objects("a", "b", oneOf=[needs("a"), {"not": needs("a")}]),
        [{"a": True}, {"b": True}, {}],
        [],
    ),
    "one forbids all that others require": (
        objects("a", "b", oneOf=[needs("a", **{"not": needs("b")}), {"not": {"anyOf": [needs("a"), needs("b")]}}]),
        [{"a": True}, {}],
        [{"b": True}, {"a": True, "b": True}],
    ),
    "not two at a time": (
        objects("a", "b", "c", **{"not": needs("a", "b")}),
        [{"a": True, "c": True}, {}],
        [{"a": True, "b": True}],
    ),
    "not some of the values": (
        {"enum": ["a", "b", 1], "not": {"enum": ["b", 1.0]}},
        ["a"],
        ["b", 1],
    ),
    "not a type": ({"not": {"type": ["object", "array", "number", "string"]}}, [None, True], [{}, 1]),
    "names that need others": (
        objects("a", "b", "c", dependencies={"a": ["b"], "b": ["c"], "c": []}),
        [{}, {"c": True}, {"b": True, "c": True}, {"a": True, "b": True, "c": True}],
        [{"a": True}, {"a": True, "b": True}],
    ),
    "a name that is there and needs another": (
        objects("a", "b", required=["a"], dependentRequired={"a": ["b"]}),
        [{"a": True, "b": True}],
        [{"a": True}],
    ),
    "names that need schemas": (
        objects("a", "b", dependencies={"a": {"properties": {"b": {"const": True}}, "required": ["b"]}}),
        [{}, {"a": True, "b": True}, {"b": False}],
        [{"a": True, "b": False}, {"a": True}],
    ),
    "more names that need others than ways": (
        objects(*"abcdefghij", dependencies={name: ["a"] for name in "bcdefghij"}),
        [{}, {"a": True, "b": True}],
        [{"b": True}],
    ),
    "unique values of an enum": (
        {"type": "array", "items": {"enum": ["a", "b", "c"]}, "uniqueItems": True, "minItems": 1},
        [["c", "a"], ["a", "b", "c"], ["b"]],
        [[], ["a", "a"], ["d"]],
    ),
    "unique values of a larger enum": (
        {
            "type": "array",
            "items": {"$ref": "#/$defs/l"},
            "uniqueItems": True,
            "$defs": {"l": {"enum": [*"abcdef", 1]}},
        },
        [[], ["a", "f"]],
        [["a", "a"]],
    ),
    "unique booleans, three of them at most": (
        {"type": "array", "items": B, "uniqueItems": True, "maxItems": 3},
        [[False, True], []],
        [[True, True]],
    ),
    "an array of one is unique": ({"type": "array", "items": B, "uniqueItems": True, "maxItems": 1}, [[True]], []),
    "two names at least": (
        objects("a", "b", "c", minProperties=2),
        [{"a": True, "c": True}, {"a": True, "b": True, "c": True}],
        [{}, {"b": True}],
    ),
    "one name at least beside one that is there": (
        objects("a", "b", "c", required=["a"], minProperties=2),
        [{"a": True, "c": True}],
        [{"a": True}],
    ),
    "one name at most": (
        objects("a", "b", "c", maxProperties=1),
        [{}, {"b": True}],
        [{"a": True, "b": True}],
    ),
    "one name exactly": (
        objects("a", "b", "c", minProperties=1, maxProperties=1, additionalProperties=False),
        [{"a": True}, {"c": True}],
        [{}, {"a": True, "b": True}],
    ),
    "any two names": ({"type": "object", "additionalProperties": B, "minProperties": 2, "maxProperties": 2}, [], [{}]),
    "integers beyond 64 bits": (
        {"type": "integer", "minimum": -(2**70), "maximum": 1e30},
        [0, 10**18, -(10**18)],
        [10**31],
    ),
    "unsigned 64 bits": ({"type": "integer", "minimum": 0, "maximum": 2**64 - 1}, [0, 10**18], [-1, 2**64]),
    "all doubles": (
        {"type": "number", "minimum": -1.7976931348623157e308, "maximum": 1.7976931348623157e308},
        [1.5, -7],
        [],
    ),
    "more than the least double": ({"type": "number", "exclusiveMinimum": 5e-324, "maximum": 1}, [0.5], [0, -1]),
    "an integer without bounds": ({"type": "integer"}, [0, -42, 10**18], [10**19, 10**40]),
    "an integer or nothing": ({"type": ["integer", "null"], "minimum": 1}, [None, 7], [0, 10**19]),
    **{
        f"multiples of {step}": ({"type": "number", "multipleOf": step}, [step * 3 if step > 1e-12 else 2], [])
        for step in (0.01, 1e-8, 1e-15, 0.25, 0.1234, 1000, 1e6, 12_345, 86_400, 9e7)
    },
    "a multiple beside bounds": ({"type": "integer", "multipleOf": 500, "minimum": 1}, [500], [0, 250]),
    "what never ends and need not be there": (
        {"type": "object", "properties": {"a": B, "e": {"$ref": "#/$defs/e"}}, "$defs": {"e": ENDLESS}},
        [{}, {"a": True}],
        [{"e": {}}],
    ),
    "what never ends among other ways": (
        {
            "anyOf": [{"$ref": "#/$defs/e"}, B, {"type": "array", "items": {"$ref": "#/$defs/e"}}],
            "$defs": {"e": ENDLESS},
        },
        [True, []],
        [[{}]],
    ),
    "what never ends in the middle of a list": (
        {"type": "array", "prefixItems": [B, {"$ref": "#/$defs/e"}, B], "$defs": {"e": ENDLESS}},
        [[], [True]],
        [[True, {}], [True, True]],
    ),
    "what nobody refers to": ({**B, "$defs": {"e": ENDLESS, "f": False}}, [True], []),
    "a definition that is false": (
        {"type": "object", "properties": {"a": B, "f": {"$ref": "#/$defs/f"}}, "$defs": {"f": False}},
        [{"a": True}],
        [{"f": 1}],
    ),
    "choices beside a type in a circle": (
        {"$ref": "#/$defs/n", "$defs": {"n": NODE}},
        [{}, {"of": {"b": True}}, {"of": {"of": {}}}],
        [{"of": 1}],
    ),
    "a ref beside a type in a circle": (
        {
            "$ref": "#/$defs/n",
            "$defs": {
                "n": {"type": "object", "properties": {"of": {"type": "object", "allOf": [{"$ref": "#/$defs/n"}]}}}
            },
        },
        [{}, {"of": {"of": {}}}],
        [{"of": 1}],
    ),
    "a date": (
        {"type": "string", "format": "date"},
        ["2024-02-29", "2023-01-31", "2000-02-29", "1999-12-30"],
        ["2023-02-30", "2023-02-29", "1900-02-29", "2023-04-31", "2023-13-01", "2023-00-10"],
    ),
    "a date and a time": (
        {"type": "string", "format": "date-time"},
        ["2024-02-29T23:59:59Z", "2023-06-30T00:00:00.125+02:00"],
        ["2023-02-30T10:00:00Z", "2023-06-30T24:00:00Z", "2023-06-30T10:00:00"],
    ),
    "a pointer": ({"type": "string", "format": "json-pointer"}, ["", "/a~1b/0"], ["a", "/~2"]),
    "a relative pointer": (
        {"type": "string", "format": "relative-json-pointer"},
        ["0", "1/a", "12#"],
        ["/a", "01", "-1"],
    ),
    "a date with a pattern of its own": (
        {"type": "string", "format": "date", "pattern": "^20"},
        ["2024-02-29"],
        ["1999-01-01"],
    ),
    "formats of which a part is held": (
        {"type": "array", "items": {"type": "string", "format": "iri-reference"}, "maxItems": 1},
        [["https://example.com/a"]],
        [["\\"]],
    ),
}
EACH = pytest.mark.parametrize("name", SHAPES)


class Held:
    """Holds values to a schema, and makes some up."""

    def __init__(self, vocabulary: Model) -> None:
        self._vocabulary = vocabulary
        self.compiler = ConstraintCompiler(vocabulary)

    def constraint(self, schema: Schema) -> Constraint:
        held = hold(schema, "schema", Budget(), strict=True)
        return self.compiler.compile(f"start: %json {text_of(held, held.root)}\n")

    def fits(self, schema: Schema, value: Any) -> bool:
        constraint = self.constraint(schema)
        text = json.dumps(value) if not isinstance(value, float) else format(value, ".16f").rstrip("0").rstrip(".")
        for token in self._vocabulary.tokenize(text, add_special=False, parse_special=False):
            if constraint.is_complete or constraint.forbidden()[token]:
                return False
            constraint.accept(token)
        return constraint.is_complete or not constraint.forbidden()[min(self._vocabulary.end_tokens)]

    def made_up(self, schema: Schema, seed: int) -> Any:
        """A value of random tokens, rather of those that end something; None where none has come to an end."""
        constraint, draw, said = self.constraint(schema), random.Random(seed), b""
        for _ in range(MAX_STEPS):
            if constraint.is_complete:
                return json.loads(said)
            left = np.flatnonzero(~constraint.forbidden())
            ends = [token for token in left if int(token) in self._vocabulary.end_tokens]
            if ends and draw.random() < 0.5:
                return json.loads(said)
            token = int(left[draw.randrange(len(left))])
            if token in self._vocabulary.end_tokens:
                return json.loads(said)
            constraint.accept(token)
            said += self._vocabulary.token_bytes(token)
        return None


@pytest.fixture(scope="module")
def held(vocabulary: Model) -> Iterator[Held]:
    held = Held(vocabulary)
    yield held
    held.compiler.close()


@EACH
def test_values_that_fit_may_be_written_and_others_may_not(held: Held, name: str) -> None:
    schema, fitting, others = SHAPES[name]

    assert [value for value in fitting if not held.fits(schema, value)] == []
    assert [value for value in others if held.fits(schema, value)] == []


@EACH
def test_whatever_is_written_is_valid(held: Held, name: str) -> None:
    schema = SHAPES[name][0]
    validator = jsonschema.Draft7Validator if "dependencies" in schema else jsonschema.Draft202012Validator
    checker = validator(schema, format_checker=validator.FORMAT_CHECKER)

    for seed in range(WALKS):
        value = held.made_up(schema, seed)
        if value is None or "multipleOf" in schema:  # which jsonschema looks at as doubles
            continue
        checker.validate(value)
        if schema.get("format") == "date-time":
            datetime.datetime.fromisoformat(value)


@pytest.mark.parametrize(
    ("schema", "place"),
    [
        ({"oneOf": [objects("a", required=["a"]), objects("a", "b", required=["a"])]}, "oneOf"),
        ({"oneOf": [objects("a", "b", required=["a"]), objects("b", required=["b"])]}, "oneOf"),
        ({"type": "array", "items": {"type": "string"}, "uniqueItems": True}, "uniqueItems"),
        ({"type": "number", "multipleOf": 0.1234567}, "multipleOf"),
        ({"type": "number", "multipleOf": 1e10}, "multipleOf"),
        ({"type": "integer", "minimum": 2**62}, "minimum"),
        ({"type": "number", "exclusiveMaximum": -1e19}, "exclusiveMaximum"),
        ({"type": "array", "items": {"$ref": "#/$defs/e"}, "minItems": 1, "$defs": {"e": ENDLESS}}, "$defs.e"),
    ],
)
def test_what_cannot_be_held_is_still_refused_where_it_stands(schema: Schema, place: str) -> None:
    with pytest.raises(InvalidRequest) as refused:
        hold(schema, "schema", Budget(), strict=True)
    assert refused.value.param == f"schema.{place}"
