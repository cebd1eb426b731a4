"""What counts as a number in what programs send."""

from __future__ import annotations

from collections.abc import Iterable
from typing import Any

from pydantic import BeforeValidator, Field

Finite = Field(allow_inf_nan=False)


def whole(value: Any) -> Any:
    """A whole number as such; all else as it is."""
    return int(value) if isinstance(value, float) and value.is_integer() else value


def are_whole(values: Iterable[Any]) -> bool:
    return all(type(whole(value)) is int for value in values)


Whole = BeforeValidator(whole)
"""The last word of an `int`: 512.0 is 512, also where true and "512" are refused. Some languages, and game engines,
write every number so. (Bounds that came after it would be checked, but no schema would tell of them.)"""
