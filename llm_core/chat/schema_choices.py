"""`oneOf`: exactly one of several schemas fits. It is held as `anyOf`, where it can be seen that no two fit at once.

llguidance looks for that itself, but not behind a `$ref`, where pydantic has the members of a tagged union.
"""

from __future__ import annotations

import json
from collections.abc import Iterator, Sequence
from itertools import combinations

from llm_core.chat.schema_limits import HeldSchema, Schema, refuse, target, walk

MAX_PAIRED = 50  # schemas that are compared each with each; more only by a tag

_REF_STEPS = 5


def make_choices_plain(held: HeldSchema, *, strict: bool) -> None:
    """Writes every `oneOf` as `anyOf`, in place.

    Args:
        strict: Refuses those of which more than one schema may fit; else more may fit than the schema means.

    Raises:
        InvalidRequest: The message names the place.
    """
    for node in list(walk(held)):
        if not isinstance(node, dict) or "oneOf" not in node:
            continue
        branches = [_resolved(branch, held) for branch in node["oneOf"]]
        if strict and not _exclude_each_other(branches, held):
            raise refuse(
                f"{held.place_of(node)}.oneOf",
                "more than one of these may fit the same value, which cannot be held; give each a property with a "
                "constant of its own, or use anyOf",
            )
        _rename(node)


def _rename(node: Schema) -> None:
    """The order of keywords is the order of what they add to a reply, so it stays."""
    items = list(node.items())
    node.clear()
    for key, value in items:
        if key == "oneOf" and not any(each == "anyOf" for each, _ in items):
            node["anyOf"] = value
        elif key in ("oneOf", "allOf"):
            node["allOf"] = [*node.get("allOf", ()), *([{"anyOf": value}] if key == "oneOf" else value)]
        else:
            node[key] = value


def _exclude_each_other(branches: Sequence[Schema | bool], held: HeldSchema) -> bool:
    if _have_tags(branches, held):
        return True
    return len(branches) <= MAX_PAIRED and all(_exclude(*pair, held) for pair in combinations(branches, 2))


def _have_tags(branches: Sequence[Schema | bool], held: HeldSchema) -> bool:
    """Whether some property must be there in all of them, and has different values in each."""
    first = branches[0]
    if isinstance(first, bool):
        return False
    for name in first.get("required", ()):
        values = [value for branch in branches for value in _values_of(branch, name, held)]
        if "" not in values and len(set(values)) == len(values):
            return True
    return False


def _values_of(branch: Schema | bool, name: str, held: HeldSchema) -> Iterator[str]:
    """The values that a property can have, as JSON; "" where they cannot be told."""
    if isinstance(branch, bool) or branch.get("type") != "object" or name not in branch.get("required", ()):
        yield ""
        return
    known = _constants(_resolved(branch.get("properties", {}).get(name, True), held))
    yield from [""] if known is None else known


def _exclude(one: Schema | bool, other: Schema | bool, held: HeldSchema) -> bool:
    """Whether it can be seen that nothing fits both."""
    if isinstance(one, bool) or isinstance(other, bool):
        return one is False or other is False
    kinds, other_kinds = _kinds(one), _kinds(other)
    if kinds is not None and other_kinds is not None and not kinds & other_kinds:
        return True
    values, other_values = _constants(one), _constants(other)
    if values is not None and other_values is not None:
        return not values & other_values
    if kinds != {"object"} or other_kinds != {"object"}:
        return False
    return any(
        _exclude(_property(one, name, held), _property(other, name, held), held)
        for name in {*one.get("required", ())} & {*other.get("required", ())}
    )


def _property(node: Schema, name: str, held: HeldSchema) -> Schema | bool:
    return _resolved(node.get("properties", {}).get(name, True), held)


def _kinds(node: Schema) -> set[str] | None:
    """The types that may fit, None where they cannot be told; an integer is a number too."""
    kinds = node.get("type")
    if kinds is None:
        values = [node["const"]] if "const" in node else node.get("enum")
        return None if values is None else {_kind(value) for value in values}
    return {"number" if kind == "integer" else kind for kind in ([kinds] if isinstance(kinds, str) else kinds)}


def _kind(value: object) -> str:
    kinds = ((type(None), "null"), (bool, "boolean"), (int | float, "number"), (str, "string"), (list, "array"))
    return next((name for kind, name in kinds if isinstance(value, kind)), "object")


def _constants(node: Schema | bool) -> set[str] | None:
    """The values that may fit, as JSON, None where there are others."""
    if isinstance(node, bool):
        return None
    values = [node["const"]] if "const" in node else node.get("enum")
    return None if values is None else {json.dumps(_plain(value), sort_keys=True) for value in values}


def _plain(value: object) -> object:
    """1.0 and 1 are one number in JSON schema."""
    return int(value) if isinstance(value, float) and value.is_integer() else value


def _resolved(node: Schema | bool, held: HeldSchema) -> Schema | bool:
    """What a schema that is nothing but a ref leads to."""
    for _ in range(_REF_STEPS):
        if isinstance(node, bool) or set(node) != {"$ref"}:
            break
        node = held.definitions[target(node)]
    return node
