"""Keywords that llguidance does not know, in words of those that it knows.

What is made here fits no more than the schema did. Where it would have to be very long it fits less: the first
`MAX_CHOICES` ways of many.
"""

from __future__ import annotations

from collections.abc import Iterable, Iterator, Sequence
from itertools import chain, combinations, islice, permutations
from typing import Any

from llm_core.structured_output.limits import Schema
from llm_core.structured_output.values import TYPES, key_of, kind_of

MAX_CHOICES = 65  # the ways to order none to all of four values
MAX_UNIQUE = 10  # values of which an array may have each once; of more, two at most would have to do
MAX_CONDITIONS = 6  # of which each doubles the ways

DEPENDENCIES = ("dependencies", "dependentRequired", "dependentSchemas")
_ORDERED_UNIQUE = 4


def rewrite_keywords(node: Schema, items: Any, *, is_open: bool) -> Schema:
    """A schema without `dependencies` and its like, and without those of `not`, `uniqueItems`, `minProperties` and
    `maxProperties` that can be said otherwise. What is no schema stays as it is.

    Args:
        items: The schema of the items, behind its refs.
        is_open: Other schemas may add properties to the object.
    """
    if not node.keys() & {*DEPENDENCIES, "not", "uniqueItems", "minProperties", "maxProperties"}:
        return node
    plain = dict(node)
    if isinstance(plain.get("properties", {}), dict) and _is_list_of_texts(plain.get("required", [])):
        _bound_properties(plain, is_open=is_open or bool(plain.keys() & {"allOf", "anyOf", "oneOf", "$ref"}))
        _forbid(plain)
        _depend(plain)
    _make_unique(plain, items)
    return plain


def rewrite_bounds(held: Schema) -> None:
    """Draft 4 says with true and false whether a bound belongs to the range."""
    for bound, exclusive in (("minimum", "exclusiveMinimum"), ("maximum", "exclusiveMaximum")):
        if isinstance(held.get(exclusive), bool) and held.pop(exclusive) and bound in held:
            held[exclusive] = held.pop(bound)


def none_of(names: Iterable[str]) -> Schema:
    """A schema that objects with any of these names do not fit."""
    return {"properties": dict.fromkeys(names, False)}


def adds_none(branch: Any, names: Any) -> bool:
    """Whether a schema asks for no properties but those in `names`, and names none."""
    if not isinstance(branch, dict) or not set(branch) <= {"required", "type", "properties", "anyOf", "allOf"}:
        return False
    required, own = branch.get("required", ()), branch.get("properties", {})
    inside: list[Any] = []
    for key in ("anyOf", "allOf"):
        inside += branch[key] if isinstance(branch.get(key), list) else []
    return (
        isinstance(required, list | tuple)
        and all(isinstance(name, str) and name in names for name in required)
        and isinstance(own, dict)
        and all(each is False for each in own.values())
        and all(adds_none(each, names) for each in inside)
    )


def _and(plain: Schema, *conditions: Any) -> None:
    """Names that are forbidden are so beside the others, so that it is seen what excludes what."""
    also = plain.get("allOf", [])
    if not isinstance(also, list):  # refused where it is read
        return
    for condition in conditions:
        if condition == none_of(condition["properties"] if _has_only_names(condition) else ()):
            plain["properties"] = plain.get("properties", {}) | condition["properties"]
        else:
            also = [*also, condition]
    if also:
        plain["allOf"] = also


def _has_only_names(condition: Any) -> bool:
    return (
        isinstance(condition, dict) and condition.keys() == {"properties"} and isinstance(condition["properties"], dict)
    )


# ── not ──────────────────────────────────────────────────────────────────────────────────────────────────────────────


def _forbid(plain: Schema) -> None:
    """`not`, where it forbids names, values or types."""
    unwanted = plain.get("not")
    if not isinstance(unwanted, dict):
        return
    conditions = list(_opposites(unwanted, plain))
    if conditions:
        del plain["not"]
        _and(plain, *conditions)


def _opposites(unwanted: Schema, siblings: Schema) -> Iterator[Schema]:
    """What has to hold, all of it, for `unwanted` not to; nothing where that cannot be said."""
    match unwanted:
        case {"anyOf": [*branches]} if len(unwanted) == 1:
            found = [list(_opposites(each, siblings)) if isinstance(each, dict) else [] for each in branches]
            yield from chain.from_iterable(found) if all(found) else ()
        case {"required": [str(), *_] as names} if set(unwanted) <= {"required", "type"} and _is_list_of_texts(names):
            if _only(siblings, "object") or unwanted.get("type") is None:
                yield none_of(names) if len(names) == 1 else {"anyOf": [none_of([name]) for name in names]}
        case {"enum": [*values]} | {"const": values} if len(unwanted) == 1 and "enum" in siblings:
            kept = siblings["enum"] if isinstance(siblings["enum"], list) else []
            gone = {key_of(value) for value in (values if "enum" in unwanted else [values])}
            yield from [{"enum": left}] if (left := [value for value in kept if key_of(value) not in gone]) else []
        case {"type": kinds} if len(unwanted) == 1:
            gone = set(kinds) if isinstance(kinds, list) else {kinds}
            left = [kind for kind in TYPES if kind not in {*gone, "integer"}]
            if "integer" not in gone and left:
                yield {"type": left}


def _only(node: Schema, kind: str) -> bool:
    return bool(node.get("type") in (kind, [kind]))


# ── dependencies ─────────────────────────────────────────────────────────────────────────────────────────────────────


def _depend(plain: Schema) -> None:
    """Names that ask for others, or for a schema: either the name is not there, or what it asks for is."""
    asked = [(name, needs) for key in DEPENDENCIES for name, needs in _pairs(plain.pop(key, {}))]
    conditions: list[Any] = []
    for name, needs in asked:
        if isinstance(needs, str):  # draft 3
            needs = [needs]
        if isinstance(needs, list):
            needs = {"required": needs}
        if needs is True or needs == {"required": []}:
            continue
        if name in plain.get("required", ()):
            _and(plain, needs)
        elif needs is False or len(conditions) == MAX_CONDITIONS:
            _and(plain, none_of([name]))
        else:
            conditions.append({"anyOf": [none_of([name]), needs]})
    _and(plain, *conditions)


def _pairs(value: Any) -> Iterable[tuple[str, Any]]:
    return value.items() if isinstance(value, dict) else ()


# ── minProperties, maxProperties ─────────────────────────────────────────────────────────────────────────────────────


def _bound_properties(plain: Schema, *, is_open: bool) -> None:
    """llguidance counts the properties of an object only where all that are named must be there."""
    least, most = plain.get("minProperties", 0), plain.get("maxProperties")
    if not _is_count(least) or not (most is None or _is_count(most)):
        return
    required = set(plain.get("required", ()))
    free = [
        name for name, schema in plain.get("properties", {}).items() if name not in required and schema is not False
    ]
    if not free or (most is not None and most < max(least, len(required))):
        return
    if most is not None:
        if plain.get("additionalProperties") is not False and is_open:
            return
        if "patternProperties" in plain or not required <= plain["properties"].keys():
            return
        plain["additionalProperties"] = False
    low = max(0, int(least) - len(required))
    high = len(free) if most is None else min(len(free), int(most) - len(required))
    if low > len(free):  # others would have to come
        return
    for key in ("minProperties", "maxProperties"):
        plain.pop(key, None)
    if high == len(free):
        sets: Iterable[tuple[str, ...]] = combinations(free, low)
        ways = [{"required": list(names)} for names in islice(sets, MAX_CHOICES)]
    elif low == 0:
        sets = combinations(free, high)
        ways = [none_of(name for name in free if name not in names) for names in islice(sets, MAX_CHOICES)]
    else:
        sets = chain.from_iterable(combinations(free, count) for count in range(low, high + 1))
        ways = [
            {"required": list(names)} | none_of(name for name in free if name not in names)
            for names in islice(sets, MAX_CHOICES)
        ]
    if ways not in ([{"required": []}], [none_of([])]):
        _and(plain, {"anyOf": ways})


def _is_count(value: Any) -> bool:
    return isinstance(value, int | float) and not isinstance(value, bool) and value >= 0 and value == int(value)


def _is_list_of_texts(value: Any) -> bool:
    return isinstance(value, list) and all(isinstance(each, str) for each in value)


# ── uniqueItems ──────────────────────────────────────────────────────────────────────────────────────────────────────


def _make_unique(plain: Schema, items: Any) -> None:
    """An array of few values, each once at most: all that there are, or as many in the order of the values."""
    if plain.get("uniqueItems") is not True or "prefixItems" in plain or plain.get("type", "array") != "array":
        return
    least, most = plain.get("minItems", 0), plain.get("maxItems", MAX_UNIQUE)
    if not _is_count(least) or not _is_count(most):
        return
    if most <= 1:
        del plain["uniqueItems"]
        return
    values = _values_of(items)
    if values is None or len(values) > MAX_UNIQUE or least > min(len(values), most):
        return
    pick = permutations if len(values) <= _ORDERED_UNIQUE else combinations
    counts = range(int(least), int(min(len(values), most)) + 1)
    lists = list(islice(chain.from_iterable(pick(values, count) for count in counts), MAX_CHOICES))
    for key in ("uniqueItems", "items", "minItems", "maxItems"):
        plain.pop(key, None)
    _and(plain, {"anyOf": [_exactly(each) for each in lists]})


def _values_of(items: Any) -> Sequence[Any] | None:
    """All values that fit; None where there are others, or where that cannot be seen."""
    match items:
        case {"enum": [*values]} if set(items) <= {"enum", "type", "title", "description"}:
            kinds = items.get("type")
            kept = values if kinds is None else [value for value in values if _is_of(value, kinds)]
            return list({key_of(value): value for value in kept}.values())
        case {"const": value}:
            return [value]
        case {"type": "boolean"}:
            return [True, False]
    return None


def _is_of(value: Any, kinds: Any) -> bool:
    kind = kind_of(value)
    names = {kind, "integer"} if kind == "number" and value == int(value) else {kind}
    return bool(names & set(kinds if isinstance(kinds, list) else [kinds]))


def _exactly(values: Sequence[Any]) -> Schema:
    return {
        "type": "array",
        "prefixItems": [{"const": value} for value in values],
        "items": False,
        "minItems": len(values),
    }
