"""From a caller's JSON schema to the one that a reply is held to.

What comes in is anything that OpenAI clients, pydantic or MCP servers send. What comes out (`HeldSchema`) has only what
llguidance holds, no annotations, and refs that lead into definitions of its own. Every value that fits it fits the
schema that came in, but for what a tool's schema asks for and cannot be held: that is left out there, and refused in a
response format.
"""

from __future__ import annotations

import json
from collections.abc import Callable
from dataclasses import replace
from typing import Any

from llm_core.structured_output.complaints import complaint_of, drop_unsupported
from llm_core.structured_output.endless import prune_endless
from llm_core.structured_output.keywords import adds_none, rewrite_bounds, rewrite_keywords
from llm_core.structured_output.limits import (
    BOUNDS,
    MAX_DECIMALS,
    MAX_HELD_LENGTH,
    MAX_LEVELS,
    MAX_LEVELS_TOGETHER,
    MAX_LITERAL_CHARS,
    MAX_MINIMUM,
    MAX_MULTIPLE,
    MAX_NUMBER,
    MAX_PATTERN_CHARS,
    MAX_PLAIN_MULTIPLE,
    MAX_STEP,
    Budget,
    HeldSchema,
    Schema,
    check_costs,
    check_size,
    multiple,
    refuse,
    remainders,
)
from llm_core.structured_output.one_of import drop_implied_types, rewrite_one_of
from llm_core.structured_output.place import ELSEWHERE, Place, Refs
from llm_core.structured_output.serialize import HELD_FORMATS, PARTLY_HELD_FORMATS, object_text, scalar_text
from llm_core.structured_output.values import TYPES, count
from llm_core.structured_output.wording import NOTHING_FITS

# Those that llguidance knows, and those that are written as patterns or held as a part of them. Any other is an
# annotation, as the standard has it.
FORMATS = HELD_FORMATS | {"duration", "email", "hostname", "ipv4", "ipv6", "uuid", "uri"}
UNHELD_KEYWORDS = frozenset(
    ("not", "if", "contains", "uniqueItems", "propertyNames", "unevaluatedItems", "unevaluatedProperties")
) | {"$dynamicRef", "$recursiveRef"}
_IS_OFF: dict[str, object] = {"uniqueItems": False, "unevaluatedItems": True, "unevaluatedProperties": True}

_COMBINING = ("allOf", "anyOf", "oneOf", "$ref")
# A schema that says how its objects look and not that it is one means one.
_TYPE_OF_KEYWORD = {
    "object": ("properties", "required", "additionalProperties", "patternProperties", "minProperties", "maxProperties"),
    "array": ("items", "prefixItems", "minItems", "maxItems"),
    "string": ("pattern", "format", "minLength", "maxLength"),
    "number": (*BOUNDS, "multipleOf"),
}


def hold(schema: Schema, place: str, budget: Budget, *, strict: bool, must_be_object: bool = False) -> HeldSchema:
    """The schema that a reply can be held to.

    Args:
        schema: A JSON schema, draft 4 to 2020-12.
        place: Where it stands in the request, such as `tools.0.function.parameters`.
        budget: What the schemas of this request have left.
        strict: Refuses what cannot be held; else it is left out.
        must_be_object: No other value will do.

    Raises:
        InvalidRequest: It is no schema, nothing fits it, it cannot be held, or it is too large. The message names the
            place.
    """
    check_size(schema, place)
    held = _Reader(schema, place, budget, strict=strict).read(must_be_object=must_be_object)
    rewrite_one_of(held, strict=strict)
    prune_endless(held)
    drop_implied_types(held)
    check_costs(held)
    if not strict:
        drop_unsupported(held)
    return held


class _Reader:
    """Reads one schema and the definitions that it uses."""

    def __init__(self, root: Schema, place: str, budget: Budget, *, strict: bool) -> None:
        self._root = root
        self._refs = Refs(root, place, _KEYWORDS, is_strict=strict)
        self._budget = budget
        self._strict = strict
        self._held = HeldSchema(place, True, {})
        self._names: dict[tuple[int, bool], str] = {}
        self._waiting: list[tuple[str, Any, Place]] = []  # definitions
        self._levels = self._all_levels = 0

    def read(self, *, must_be_object: bool) -> HeldSchema:
        held, (node, place) = self._held, self._refs.follow(self._root, Place(self._held.place))
        held.root = self._read(node, place)
        if must_be_object:
            held.root = self._object(held.root)
        self._all_levels = self._levels
        while self._waiting:
            name, node, place = self._waiting.pop()
            self._levels = 0
            held.definitions[name] = self._read(node, place)
            self._all_levels += self._levels + 1
            if self._all_levels > MAX_LEVELS_TOGETHER:
                raise place.refuse(f"all definitions together have more than {MAX_LEVELS_TOGETHER} levels")
        return held

    def _leave_out(self, at: Place, why: str) -> None:
        """What cannot be held is no reason to refuse a tool; whoever is answered with JSON counts on all of it."""
        if self._strict:
            raise at.refuse(why)
        self._held.left_out.append(f"{at.path}: {why}")

    def _object(self, root: Schema | bool) -> Schema | bool:
        kinds = [] if isinstance(root, bool) else root.get("type", [])
        if root is True or root == {}:
            return {"type": "object"}
        if isinstance(root, bool) or (kinds and "object" not in kinds):
            raise refuse(self._held.place, "arguments are an object, so 'type' must be 'object'")
        root["type"] = "object"
        return root

    def _read(self, node: Any, place: Place) -> Schema | bool:
        if isinstance(node, bool):
            return node
        if not isinstance(node, dict):
            raise place.refuse("a schema must be an object, or true or false")
        if place.level > MAX_LEVELS:
            raise place.refuse(f"is more than {MAX_LEVELS} levels deep")
        self._levels = max(self._levels, place.level)
        self._budget.spend("schemas", 1, place.path)
        is_unique = node.get("uniqueItems") is True
        items = self._refs.follow(node.get("items"), place.keyword("items"))[0] if is_unique else None
        node = rewrite_keywords(node, items, is_open=place.is_open)
        place = replace(place, is_open=place.is_open or _may_add_properties(node))
        held: Schema = {}
        for key, value in sorted(node.items(), key=_after_the_others):
            at = place.keyword(key)
            if key in UNHELD_KEYWORDS:
                if not (key in _IS_OFF and value == _IS_OFF[key]):
                    self._leave_out(at, "cannot be held")
            elif reader := _KEYWORDS.get(key):
                reader(self, held, key, value, at)
        self._settle(held, node, place)
        self._held.places[id(held)] = place.path
        return held

    # ── what a schema says as a whole ────────────────────────────────────────────────────────────────────────────────

    def _settle(self, held: Schema, node: Schema, place: Place) -> None:
        """What depends on several keywords."""
        rewrite_bounds(held)
        if any(key in held for key in BOUNDS) and remainders(held.get("multipleOf", 1)) > MAX_PLAIN_MULTIPLE:
            why = f"counts too far beside bounds; {MAX_PLAIN_MULTIPLE:,} is the limit"
            self._leave_out(place.keyword("multipleOf"), why)
            del held["multipleOf"]
        if "type" not in held and not any(key in held for key in (*_COMBINING, "enum", "const")):
            kinds = [kind for kind, keywords in _TYPE_OF_KEYWORD.items() if any(key in held for key in keywords)]
            if len(kinds) == 1:
                held["type"] = kinds[0]
        if not place.is_open and "additionalProperties" not in held and "patternProperties" not in held:
            self._close(held)
        if "pattern" in held or "format" in held:
            self._settle_string(held, place)
        if "patternProperties" in held or held.get("minProperties") or "maxProperties" in held:
            self._settle_object(held, place)

    def _close(self, held: Schema) -> None:
        """Where a schema names properties and leaves others open, they are left out: a model that makes names up is no
        help to anyone, and does not find its end."""
        names = held.get("properties")
        if names is None or not set(held.get("required", ())) <= set(names):
            return
        if names and all(each is False for each in names.values()):  # it only forbids names
            return
        if held.get("minProperties", 0) <= len(names):
            held["additionalProperties"] = False
            self._held.closed.add(id(held))

    def _settle_string(self, held: Schema, place: Place) -> None:
        """Leaves out what llguidance cannot hold of a string, or refuses it."""
        facets = ("pattern", "format", "minLength", "maxLength")
        while True:
            string = {"type": "string"} | {key: held[key] for key in facets if key in held}
            why = complaint_of(scalar_text(string))
            if why is None:
                break
            at = next(key for key in facets if key in held)
            if held.get("format") in PARTLY_HELD_FORMATS:
                at, why = "format", f"{held['format']} cannot be held beside the rest"
            elif why.startswith(NOTHING_FITS):
                raise place.keyword(at).refuse(why)
            self._leave_out(place.keyword(at), why)
            del held[at]
        if "pattern" in held:
            path = place.keyword("pattern").path
            self._budget.spend("patterns", 1, path)
            self._held.costly.append((path, string))

    def _settle_object(self, held: Schema, place: Place) -> None:
        """The same of an object's limits and patterns of names."""
        for key in ("minProperties", "maxProperties", "patternProperties"):
            why = complaint_of(object_text(held))
            if why is None or key not in held:
                continue
            if why.startswith(NOTHING_FITS):
                raise place.keyword(key).refuse(why)
            self._leave_out(place.keyword(key), why)
            del held[key]

    # ── keywords: each adds what is held of one to `held` ────────────────────────────────────────────────────────────

    def _ref(self, held: Schema, key: str, value: Any, at: Place) -> None:
        if self._refs.leads_elsewhere(value):
            self._leave_out(at, ELSEWHERE)
            return
        target, place = self._refs.follow(*self._refs.find(value, at))
        name = self._names.get((id(target), at.is_open))
        if name is None:
            name = self._names[id(target), at.is_open] = f"d{len(self._names)}"
            self._waiting.append((name, target, place))
        held["$ref"] = f"#/$defs/{name}"

    def _type(self, held: Schema, key: str, value: Any, at: Place) -> None:
        kinds = value if isinstance(value, list) else [value]
        if not kinds or not all(isinstance(kind, str) and kind in TYPES for kind in kinds):
            raise at.refuse(f"must be one or several of {', '.join(TYPES)}")
        held[key] = kinds[0] if len(kinds) == 1 else list(dict.fromkeys(kinds))

    def _schema(self, held: Schema, key: str, value: Any, at: Place) -> None:
        held[key] = self._read(value, at)

    def _items(self, held: Schema, key: str, value: Any, at: Place) -> None:
        if isinstance(value, list):  # up to draft 2019-09
            self._schemas(held, "prefixItems", value, at)
        else:
            self._schema(held, key, value, at)

    def _rest_of_items(self, held: Schema, key: str, value: Any, at: Place) -> None:
        if "prefixItems" in held and "items" not in held:
            self._schema(held, "items", value, at)

    def _schemas(self, held: Schema, key: str, value: Any, at: Place) -> None:
        if not isinstance(value, list) or not (value or key == "prefixItems"):
            raise at.refuse("must be a list of schemas")
        held[key] = [self._read(each, at.item(number)) for number, each in enumerate(value)]

    def _named_schemas(self, held: Schema, key: str, value: Any, at: Place) -> None:
        if not isinstance(value, dict):
            raise at.refuse("must be an object with schemas")
        self._budget.spend("properties", len(value), at.path)
        if any(len(name) > MAX_LITERAL_CHARS for name in value):
            raise at.refuse(f"has a name of more than {MAX_LITERAL_CHARS:,} characters")
        if key == "patternProperties":
            self._budget.spend("patterns", len(value), at.path)
        held[key] = {name: self._read(each, at.item(name)) for name, each in value.items()}

    def _required(self, held: Schema, key: str, value: Any, at: Place) -> None:
        if isinstance(value, bool) and not self._strict:  # draft 3, and many a tool written by hand
            return
        if not isinstance(value, list) or not all(isinstance(name, str) for name in value):
            raise at.refuse("must be a list of names")
        self._budget.spend("properties", len(value), at.path)
        if any(len(name) > MAX_LITERAL_CHARS for name in value):
            raise at.refuse(f"has a name of more than {MAX_LITERAL_CHARS:,} characters")
        held[key] = list(dict.fromkeys(value))

    def _values(self, held: Schema, key: str, value: Any, at: Place) -> None:
        if key == "enum" and (not isinstance(value, list) or not value):
            raise at.refuse("must be a list of values")
        values, composite = count(value if key == "enum" else [value])
        self._budget.spend("values", values, at.path)
        self._budget.spend("composite_values", composite, at.path)
        if any(len(json.dumps(each)) > MAX_LITERAL_CHARS for each in (value if key == "enum" else [value])):
            raise at.refuse(f"has a value of more than {MAX_LITERAL_CHARS:,} characters")
        held[key] = value

    def _pattern(self, held: Schema, key: str, value: Any, at: Place) -> None:
        if not isinstance(value, str):
            raise at.refuse("must be a text")
        if len(value) <= MAX_PATTERN_CHARS:
            held[key] = value
        else:
            self._leave_out(at, f"is too long: {len(value):,} characters, where {MAX_PATTERN_CHARS:,} may be")

    def _format(self, held: Schema, key: str, value: Any, at: Place) -> None:
        if not isinstance(value, str):
            raise at.refuse("must be a text")
        if value in FORMATS:
            held[key] = value

    def _least(self, held: Schema, key: str, value: Any, at: Place) -> None:
        least = _natural(value, at)
        if least <= MAX_MINIMUM:
            held[key] = least
        else:
            self._leave_out(at, f"is too large; {MAX_MINIMUM:,} is the limit")

    def _most(self, held: Schema, key: str, value: Any, at: Place) -> None:
        most = _natural(value, at)
        if most <= MAX_HELD_LENGTH:
            held[key] = most

    def _number(self, held: Schema, key: str, value: Any, at: Place) -> None:
        if isinstance(value, bool) and key.startswith("exclusive"):  # draft 4
            held[key] = value
        elif isinstance(value, bool) or not isinstance(value, int | float):
            raise at.refuse("must be a number")
        elif key == "multipleOf" and value <= 0:
            raise at.refuse("must be more than 0")
        elif key == "multipleOf":
            self._multiple(held, value, at)
        elif value > MAX_NUMBER if key in ("minimum", "exclusiveMinimum") else value < -MAX_NUMBER:
            self._leave_out(at, f"no number beyond {MAX_NUMBER:,} can be held")
        else:
            held[key] = value

    def _multiple(self, held: Schema, step: float, at: Place) -> None:
        digits, exponent = multiple(step)
        if digits == 1 and exponent < -MAX_DECIMALS:
            held["multipleOf"] = 10.0**-MAX_DECIMALS  # whose multiples are multiples of the smaller step too
        elif remainders(step) > MAX_MULTIPLE or exponent < -MAX_DECIMALS:
            self._leave_out(at, f"counts too far; {MAX_MULTIPLE:,} is the limit, or less where zeros follow")
        elif step > MAX_STEP:
            self._leave_out(at, f"is too large; {MAX_STEP:,} is the limit")
        else:
            self._budget.spend("remainders", remainders(step), at.path)
            held["multipleOf"] = int(step) if exponent >= 0 else step


_Keyword = Callable[[_Reader, Schema, str, Any, Place], None]
_KEYWORDS: dict[str, _Keyword] = {
    "$ref": _Reader._ref,
    "type": _Reader._type,
    "enum": _Reader._values,
    "const": _Reader._values,
    **dict.fromkeys(("allOf", "anyOf", "oneOf", "prefixItems"), _Reader._schemas),
    **dict.fromkeys(("properties", "patternProperties"), _Reader._named_schemas),
    "additionalProperties": _Reader._schema,
    "items": _Reader._items,
    "additionalItems": _Reader._rest_of_items,
    "required": _Reader._required,
    "pattern": _Reader._pattern,
    "format": _Reader._format,
    **dict.fromkeys(("minLength", "minItems", "minProperties"), _Reader._least),
    **dict.fromkeys(("maxLength", "maxItems", "maxProperties"), _Reader._most),
    **dict.fromkeys((*BOUNDS, "multipleOf"), _Reader._number),
}


def _may_add_properties(node: Schema) -> bool:
    """Whether what a schema is combined with may name properties of the same object."""
    combined = [key for key in _COMBINING if key in node]
    others = [key for key in _KEYWORDS if key in node and key not in (*combined, "type")]
    if not combined or (len(combined) == 1 and not others and (combined != ["allOf"] or len(node["allOf"]) == 1)):
        return False
    branches = [each for key in combined if key != "$ref" and isinstance(node[key], list) for each in node[key]]
    names = node.get("properties", {})
    return "$ref" in node or not all(adds_none(each, names) for each in branches)


def _after_the_others(item: tuple[str, Any]) -> bool:
    """`additionalItems` means something only beside a list of items; the order of the rest is that of a reply."""
    return item[0] == "additionalItems"


def _natural(value: Any, at: Place) -> int:
    if isinstance(value, bool) or not isinstance(value, int | float) or value < 0 or value != int(value):
        raise at.refuse("must be a whole number, 0 or more")
    return int(value)
