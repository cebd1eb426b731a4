"""JSON values as schemas see them: their types, which are equal, how many there are."""

from __future__ import annotations

import json
from collections.abc import Iterator
from typing import Any

from llm_core.numbers import whole

TYPES = ("null", "boolean", "integer", "number", "string", "array", "object")


def kind_of(value: object) -> str:
    """The type of a value; an integer is a number."""
    kinds = ((type(None), "null"), (bool, "boolean"), (int | float, "number"), (str, "string"), (list, "array"))
    return next((name for kind, name in kinds if isinstance(value, kind)), "object")


def key_of(value: object) -> str:
    """A text that is the same for equal values: 1.0 and 1 are one number in JSON schema."""
    return json.dumps(whole(value), sort_keys=True)


def count(values: list[Any]) -> tuple[int, int]:
    """How many values there are, those in lists and objects counted, and how many are or stand in lists and objects."""
    total = composite = 0
    waiting: Iterator[Any] = iter(values)
    stack = [(waiting, False)]
    while stack:
        each, is_inside = stack.pop()
        for value in each:
            is_composite = isinstance(value, dict | list)
            total += 1
            composite += is_inside or is_composite
            if is_composite:
                stack.append((iter(value.values() if isinstance(value, dict) else value), True))
    return total, composite
