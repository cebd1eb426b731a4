"""`oneOf`: exactly one of several schemas fits. It is held as `anyOf`, where it can be seen that no two fit at once.

llguidance looks for that itself, but not behind a `$ref`, where pydantic has the members of a tagged union.
"""

from __future__ import annotations

from collections.abc import Iterator, Sequence
from itertools import combinations
from typing import Literal

from llm_core.structured_output.limits import HeldSchema, Schema, refuse, target, walk
from llm_core.structured_output.values import key_of, kind_of

MAX_PAIRED = 50  # schemas that are compared each with each; more only by a tag

_REF_STEPS = 5


def rewrite_one_of(held: HeldSchema, *, strict: bool) -> None:
    """Writes every `oneOf` as `anyOf`, in place.

    Args:
        strict: Refuses those of which more than one schema may fit; else more may fit than the schema means.

    Raises:
        InvalidRequest: The message names the place.
    """
    for node in list(walk(held)):
        if not isinstance(node, dict) or "oneOf" not in node:
            continue
        branches = _parted([_resolved(branch, held) for branch in node["oneOf"]], node, held)
        if branches is None:
            branches = [_resolved(branch, held) for branch in node["oneOf"]]
        else:
            node["oneOf"] = branches
        if strict and not _exclude_each_other(branches, held):
            raise refuse(
                f"{held.place_of(node)}.oneOf",
                "more than one of these may fit the same value, which cannot be held; give each a property with a "
                "constant of its own, or use anyOf",
            )
        _rename(node)


def _parted(branches: list[Schema | bool], node: Schema, held: HeldSchema) -> list[Schema | bool] | None:
    """Branches that exclude each other because each forbids a name that the other one requires; None where they do so
    already, or cannot be made to. They fit less than those that came in."""
    parted = [dict(branch) for branch in branches if isinstance(branch, dict)]
    if not 2 <= len(parted) <= MAX_PAIRED or len(parted) < len(branches) or _exclude_each_other(branches, held):
        return None
    dropped: set[int] = set()
    for place, other in combinations(range(len(parted)), 2):
        if _exclude(branches[place], branches[other], held):
            continue
        one, two = parted[place], parted[other]
        names = _to_forbid(one, two, node), _to_forbid(two, one, node)
        if None not in names:
            for each, name in zip((one, two), names, strict=True):
                each["properties"] = each.get("properties", {}) | {name: False}
        elif _only_requires_names(one) and set(one["required"]) < set(two.get("required", ())):
            dropped.add(other)  # whatever fits it fits the shorter one too
        elif _only_requires_names(two) and set(two["required"]) < set(one.get("required", ())):
            dropped.add(place)
        else:
            return None
    for branch, each in zip(branches, parted, strict=True):
        held.places[id(each)] = held.place_of(branch)
        if id(branch) in held.closed:
            held.closed.add(id(each))
    return [each for place, each in enumerate(parted) if place not in dropped] or None


def _to_forbid(one: Schema, other: Schema, parent: Schema) -> str | None:
    """A name that `other` requires and that `one` can do without."""
    if one.get("type") != "object" or other.get("type") != "object":
        return None
    needed = {*one.get("required", ()), *parent.get("required", ())}
    mine = () if _only_requires_names(one) else one.get("properties", ())
    return next((name for name in other.get("required", ()) if name not in needed and name not in mine), None)


def _only_requires_names(node: Schema) -> bool:
    forbidden = all(each is False for each in node.get("properties", {}).values())
    return bool(node.get("required")) and node.keys() <= {"type", "required", "properties"} and forbidden


def drop_implied_types(held: HeldSchema) -> None:
    """Takes a `type` away, in place, that all choices beside it have too, or the one schema that is referred to: where
    refs lead back to themselves llguidance allows nothing beside them."""
    for node in walk(held):
        if not isinstance(node, dict):
            continue
        if len(node.get("allOf", ())) == 1 and node.keys() <= {"allOf", "type"} and isinstance(node["allOf"][0], dict):
            only = node["allOf"][0]
            if only.keys() == {"$ref"}:
                del node["allOf"]
                node |= only
        if node.keys() not in ({"type", "anyOf"}, {"type", "$ref"}):
            continue
        kinds = node["type"] if isinstance(node["type"], list) else [node["type"]]
        branches = node.get("anyOf", [node])
        if "integer" not in kinds and all((_of_resolved(each, held) or {"?"}) <= set(kinds) for each in branches):
            del node["type"]


def _of_resolved(branch: Schema | bool, held: HeldSchema) -> set[str] | None:
    node = _resolved({"$ref": branch["$ref"]} if isinstance(branch, dict) and "$ref" in branch else branch, held)
    return None if isinstance(node, bool) else _kinds(node)


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
    forbids, is_forbidden = _forbids(one, other, held), _forbids(other, one, held)
    if (forbids and is_forbidden) or "always" in (forbids, is_forbidden):
        return True
    return any(
        _exclude(_property(one, name, held), _property(other, name, held), held)
        for name in {*one.get("required", ())} & {*other.get("required", ())}
    )


def _forbids(one: Schema, other: Schema, held: HeldSchema) -> Literal["always", "as it is held"] | None:
    """Whether a schema forbids a name that another one requires. Where we closed it, what it was made of does not."""
    found: Literal["as it is held"] | None = None
    names = one.get("properties", {})
    is_closed = one.get("additionalProperties") is False and "patternProperties" not in one
    for name in other.get("required", ()):
        if names.get(name) is False or (is_closed and name not in names and id(one) not in held.closed):
            return "always"
        if is_closed and name not in names:
            found = "as it is held"
    return found


def _property(node: Schema, name: str, held: HeldSchema) -> Schema | bool:
    return _resolved(node.get("properties", {}).get(name, True), held)


def _kinds(node: Schema) -> set[str] | None:
    """The types that may fit, None where they cannot be told; an integer is a number too."""
    kinds = node.get("type")
    if kinds is None:
        values = [node["const"]] if "const" in node else node.get("enum")
        return None if values is None else {kind_of(value) for value in values}
    return {"number" if kind == "integer" else kind for kind in ([kinds] if isinstance(kinds, str) else kinds)}


def _constants(node: Schema | bool) -> set[str] | None:
    """The values that may fit, as JSON, None where there are others."""
    if isinstance(node, bool):
        return None
    values = [node["const"]] if "const" in node else node.get("enum")
    return None if values is None else {key_of(value) for value in values}


def _resolved(node: Schema | bool, held: HeldSchema) -> Schema | bool:
    """What a schema that is nothing but a ref leads to."""
    for _ in range(_REF_STEPS):
        if isinstance(node, bool) or set(node) != {"$ref"}:
            break
        node = held.definitions[target(node)]
    return node
