"""Schemas for property tests: every value that fits one is short."""

from __future__ import annotations

from typing import Any

from hypothesis import strategies as st

Schemas = st.SearchStrategy[dict[str, Any]]

_NAMES = st.sampled_from(("a", "city", "x-y", "first name", "é", 'quo"te', "items"))
_CONSTANTS = st.one_of(st.none(), st.booleans(), st.integers(-99, 99), st.text('abc "\\é', max_size=5))


@st.composite
def strings(draw: st.DrawFn) -> dict[str, Any]:
    least = draw(st.integers(0, 3))
    plain = {"type": "string", "minLength": least, "maxLength": least + draw(st.integers(0, 8))}
    return draw(
        st.one_of(
            st.just(plain),
            st.sampled_from(({"type": "string", "format": "date"}, {"type": "string", "pattern": "^[a-f]{1,6}$"})),
        )
    )


@st.composite
def numbers(draw: st.DrawFn) -> dict[str, Any]:
    low = draw(st.integers(-50, 50))
    bounds = {"minimum": low, "maximum": low + draw(st.integers(0, 500))}
    return {"type": "integer"} | bounds


def values() -> Schemas:
    constants = st.lists(_CONSTANTS, min_size=1, max_size=4).map(lambda each: {"enum": each})
    return st.one_of(
        strings(), numbers(), constants, st.just({"type": "boolean"}), st.just({"type": ["null", "boolean"]})
    )


def lists(inner: Schemas) -> Schemas:
    return st.builds(
        lambda items, least, more: {"type": "array", "items": items, "minItems": least, "maxItems": least + more},
        inner,
        st.integers(0, 1),
        st.integers(0, 2),
    )


@st.composite
def objects(draw: st.DrawFn, inner: Schemas) -> dict[str, Any]:
    properties = draw(st.dictionaries(_NAMES, inner, max_size=4))
    required = draw(st.lists(st.sampled_from(sorted(properties)), unique=True)) if properties else []
    return {"type": "object", "properties": properties, "required": required}


def choices(inner: Schemas) -> Schemas:
    return st.lists(inner, min_size=1, max_size=3).map(lambda each: {"anyOf": each})


def bounded_objects() -> Schemas:
    """Schemas of arguments."""
    return objects(
        st.recursive(values(), lambda inner: st.one_of(objects(inner), lists(inner), choices(inner)), max_leaves=4)
    )
