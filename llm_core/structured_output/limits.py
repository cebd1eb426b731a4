"""How much a JSON schema may ask for, so that nothing in it can crash or stall the process.

llguidance compiles schemas in native code that cannot be interrupted. Each limit is set by what it did beyond (version
1.9.1, one core): a chain of 1,000 `$ref` overflowed the stack and killed the process; `multipleOf: 123456789` and the
intersection of 16 patterns ran for more than 20 s; 5,000 optional properties took 6 s, 20,000 objects in an `enum`
4 s, 20 definitions that each use the next one twice, with something beside each `$ref`, 17 s.
"""

from __future__ import annotations

import json
import math
from collections.abc import Iterator
from dataclasses import dataclass, field
from decimal import Decimal
from typing import Any

from llm_core.errors import InvalidRequest

MAX_CHARS = 400_000  # of one schema, as JSON, descriptions included
MAX_LEVELS = 32  # of schemas in schemas
MAX_DEPTH = 100  # levels when refs are followed, each definition once; each level takes up to 8 kB of the stack
MAX_LEVELS_TOGETHER = 600  # of a schema and all definitions that it uses
MAX_MINIMUM = 10_000  # of minLength, minItems, minProperties: a reply has no room for more
MAX_HELD_LENGTH = 50_000  # characters: a string under a larger `maxLength` outgrows the lexer before it gets there
MAX_PATTERN_CHARS = 1_000
MAX_MULTIPLE = 20_000  # remainders of a `multipleOf`
MAX_PLAIN_MULTIPLE = 1_000  # the same beside bounds, and the least common multiple of several that meet
MAX_DECIMALS = 10  # of `multipleOf`
MAX_STEP = 10**8  # of `multipleOf`
MAX_COMMON_STEP = 100_000  # of several `multipleOf` that meet, zeros and all
MAX_NUMBER = 10**18  # exact as the double that llguidance makes of it; the next one would be more than 64 bits
MAX_LITERAL_CHARS = 5_000  # of a name or a value
MAX_COMBINED = 8_000  # schemas made by intersecting others: 30 to 50 microseconds each
MAX_PROPERTIES = 500  # of one object, once combined: optional ones take the square of their number
LARGE_SCHEMAS = 300
MAX_INTERSECTED = 8  # schemas that hold one value, where they have patterns and formats
FREE_PATTERNS = 5  # so many patterns and formats can be intersected in any way

Schema = dict[str, Any]

CHILD_LISTS = ("prefixItems", "anyOf", "oneOf", "allOf")
CHILD_MAPS = ("properties", "patternProperties")
CHILDREN = ("items", "additionalProperties")
BOUNDS = ("minimum", "maximum", "exclusiveMinimum", "exclusiveMaximum")
_COMBINED = {"allOf", "anyOf", "$ref"}


def refuse(place: str, why: str) -> InvalidRequest:
    """The error that names a place in a request."""
    return InvalidRequest(f"{place}: {why}", param=place)


@dataclass
class Budget:
    """What the schemas of one request may have together."""

    schemas: int = 6_000
    properties: int = 3_000
    values: int = 10_000  # in enum and const
    composite_values: int = 300  # lists and objects in enum and const cost half a millisecond each
    patterns: int = 50
    remainders: int = 60_000  # of `multipleOf`: ten microseconds each

    def spend(self, kind: str, count: int, place: str) -> None:
        left = getattr(self, kind) - count
        if left < 0:
            named = kind.replace("_", " ")
            limit = type(self).__dataclass_fields__[kind].default
            raise refuse(place, f"there are too many {named}; schemas may have {limit} together")
        setattr(self, kind, left)


@dataclass
class HeldSchema:
    """A schema to be written for llguidance: refs lead into `definitions`, and it has only keywords that are held.

    Attributes:
        place: Of the schema in the request.
        places: Of the schemas in it, by their `id`.
        costly: Schemas with their places whose cost shows only when they are followed: strings with a pattern, and the
            whole where it is large.
        left_out: What it does not hold of the schema that came in, and why, each with its place.
        closed: The objects, by their `id`, that nobody but us closed to other names.
    """

    place: str
    root: Schema | bool
    definitions: dict[str, Schema | bool]
    places: dict[int, str] = field(default_factory=dict)
    costly: list[tuple[str, Schema | bool]] = field(default_factory=list)
    left_out: list[str] = field(default_factory=list)
    closed: set[int] = field(default_factory=set)

    @property
    def literal_chars(self) -> int:
        """The longest text that a reply may have to have word for word, or more."""
        return sum(map(_literal_chars, walk(self)))

    def place_of(self, node: Schema | bool) -> str:
        return self.places.get(id(node), self.place)


def children(node: Schema | bool) -> Iterator[Schema | bool]:
    """The schemas right inside a held one, in its order; not those that it refers to."""
    for key, value in node.items() if isinstance(node, dict) else ():
        if key in CHILD_MAPS:
            yield from value.values()
        elif key in CHILD_LISTS:
            yield from value
        elif key in CHILDREN:
            yield value


def target(node: Schema) -> str:
    """The name of the definition that a held schema refers to."""
    return str(node["$ref"]).removeprefix("#/$defs/")


def _literal_chars(node: Schema | bool) -> int:
    if isinstance(node, bool):
        return 6
    values = [node["const"]] if "const" in node else node.get("enum", ())
    longest = max((len(json.dumps(value)) for value in values), default=0)
    return 6 + longest + sum(len(name) + 6 for name in node.get("required", ()))


def check_size(schema: Schema, place: str) -> None:
    """Refuses schemas so large that even reading them takes long.

    Raises:
        InvalidRequest: It is too large, too deep, or no JSON.
    """
    try:
        length = len(json.dumps(schema, ensure_ascii=False, allow_nan=False).encode())
    except (TypeError, ValueError, RecursionError) as error:
        raise refuse(place, f"cannot be written as JSON: {error}") from None
    if length > MAX_CHARS:
        raise refuse(place, f"is too large: {length:,} bytes as JSON, where {MAX_CHARS:,} may be")


def check_costs(held: HeldSchema) -> None:
    """Refuses what would multiply while it is compiled, and what could never be written to its end.

    Raises:
        InvalidRequest: The message names the place.
    """
    _check_depth(held)
    loads = _Loads(held)
    for node in (held.root, *held.definitions.values()):
        load = loads.of(node)
        if load.combined > MAX_COMBINED:
            raise refuse(held.place_of(node), "is too large once its allOf, anyOf and $ref are combined")
        if load.properties > MAX_PROPERTIES:
            raise refuse(held.place_of(node), f"an object has more than {MAX_PROPERTIES} properties")
        if loads.patterns > FREE_PATTERNS and load.weight > MAX_INTERSECTED:
            raise refuse(held.place_of(node), "combines too many schemas that have patterns or formats")
    _check_multiples(held)
    if sum(1 for _ in walk(held)) > LARGE_SCHEMAS or held.literal_chars > MAX_LITERAL_CHARS:
        held.costly.append((held.place, held.root))


def _check_depth(held: HeldSchema) -> None:
    """Goes where llguidance's compiler goes, which calls itself for each level."""
    entered: set[str] = set()
    waiting: list[tuple[Schema | bool, int]] = [(held.root, 1)]
    while waiting:
        node, depth = waiting.pop()
        if depth > MAX_DEPTH:
            raise refuse(held.place_of(node), f"is more than {MAX_DEPTH} levels deep, with what refs lead to")
        inside = list(children(node))
        if isinstance(node, dict) and "$ref" in node and target(node) not in entered:
            entered.add(target(node))
            inside.append(held.definitions[target(node)])
        waiting += [(each, depth + 1) for each in reversed(inside)]


@dataclass(frozen=True, slots=True)
class _Load:
    """What a schema costs.

    Attributes:
        size: Schemas in it, once combined.
        combined: Those of them that are made by intersecting others.
        choices: The most alternatives that one value in it has.
        parts: Schemas that are intersected into this one.
        weight: The most schemas that may be intersected into one value in it.
        properties: The most properties that one object in it has.
    """

    size: int = 1
    combined: int = 0
    choices: int = 1
    parts: int = 1
    weight: int = 1
    properties: int = 0


class _Loads:
    """Works out loads; those of definitions once each."""

    def __init__(self, held: HeldSchema) -> None:
        self._definitions = held.definitions
        self._known: dict[str, _Load] = {}
        self.patterns = 0

    def of(self, node: Schema | bool, *, expands_ref: bool = False) -> _Load:
        """`expands_ref`: the schema is intersected with others, so that what it refers to is copied in."""
        if isinstance(node, bool):
            return _Load()
        self.patterns += ("pattern" in node) + ("format" in node)
        combined = [key for key in ("allOf", "$ref", "anyOf") if key in node]
        own = {key: value for key, value in node.items() if key not in combined}
        expands_ref = expands_ref or len(combined) + bool(own) > 1
        parts = [self._own(own)] if own else []
        parts += [self.of(branch, expands_ref=True) for branch in node.get("allOf", ())]
        if "anyOf" in node:
            parts.append(_choice([self.of(branch, expands_ref=expands_ref) for branch in node["anyOf"]]))
        if "$ref" in node and expands_ref:
            parts.append(self._definition(target(node)))
        return _intersection(parts) if len(parts) > 1 else parts[0] if parts else _Load()

    def _own(self, node: Schema) -> _Load:
        """A schema without what is combined with it."""
        inside = [self.of(each) for each in children(node)]
        named = len({*node.get("properties", ()), *node.get("required", ())})
        return _Load(
            size=1 + sum(load.size for load in inside),
            combined=sum(load.combined for load in inside),
            choices=max([len(node.get("enum", ".")), *(load.choices for load in inside)]),
            weight=max([1, *(load.weight for load in inside)]),
            properties=max([named, *(load.properties for load in inside)]),
        )

    def _definition(self, name: str) -> _Load:
        if name not in self._known:
            self._known[name] = _Load()  # where it comes back to itself llguidance refuses the intersection
            self._known[name] = self.of(self._definitions[name], expands_ref=True)
        return self._known[name]


def _choice(branches: list[_Load]) -> _Load:
    return _Load(
        size=1 + sum(load.size for load in branches),
        combined=sum(load.combined for load in branches),
        choices=max(len(branches), sum(load.choices for load in branches)),
        parts=max(load.parts for load in branches),
        weight=max(load.weight for load in branches),
        properties=max(load.properties for load in branches),
    )


def _intersection(parts: list[_Load]) -> _Load:
    """Each alternative of one part meets each of the others."""
    choices = math.prod(load.choices for load in parts)
    size = max(choices, sum(load.size * (choices // load.choices) for load in parts))
    count = sum(load.parts for load in parts)
    return _Load(
        size=size,
        combined=size + sum(load.combined * (choices // load.choices) for load in parts),
        choices=choices,
        parts=count,
        weight=count * max(load.weight for load in parts),
        properties=sum(load.properties for load in parts),
    )


def multiple(step: float) -> tuple[int, int]:
    """A step as a whole number without zeros at its end, and the power of ten that it is to be multiplied by. Numbers
    are held to multiples by counting remainders; powers of ten need no counting."""
    _, digits, exponent = Decimal(str(step)).normalize().as_tuple()
    return int("".join(map(str, digits))), int(exponent)


def remainders(step: float) -> int:
    """What a step costs, in remainders that are counted: with each zero at its end ten times as many again."""
    digits, exponent = multiple(step)
    return 1 if digits == 1 else digits * (1 + 10 * max(0, exponent))


def _check_multiples(held: HeldSchema) -> None:
    """Where several `multipleOf` meet in a value, the remainders of all together are counted."""
    nodes = [node for node in walk(held) if isinstance(node, dict)]
    if not any(len(_COMBINED & node.keys()) + bool(node.keys() - _COMBINED) > 1 for node in nodes):
        return
    steps = [(node, multiple(node["multipleOf"])) for node in nodes if "multipleOf" in node]
    unit = min((exponent for _, (_, exponent) in steps), default=0)
    common = 1
    for node, (count, exponent) in steps:
        common = math.lcm(common, count * 10 ** (exponent - unit))
        digits = multiple(common)[0]
        if digits > MAX_PLAIN_MULTIPLE or (digits > 1 and common * 10.0**unit > MAX_COMMON_STEP):
            why = f"counts too far with others; {MAX_PLAIN_MULTIPLE:,} is the limit"
            raise refuse(f"{held.place_of(node)}.multipleOf", why)


def walk(held: HeldSchema) -> Iterator[Schema | bool]:
    """Every schema in a held one."""
    waiting: list[Schema | bool] = [held.root, *held.definitions.values()]
    while waiting:
        node = waiting.pop()
        yield node
        waiting += children(node)
