"""How a held schema is written down for llguidance: integers of bounded length, and formats that its own patterns miss.

An integer without bounds is one that a model may write digits of without end. llguidance takes the 30th of February for
a date, and knows no JSON pointers. What is made of these is long, so that equal ones are written once and referred to.
"""

from __future__ import annotations

import json
from decimal import ROUND_CEILING, ROUND_FLOOR, Decimal
from typing import Any

from llm_core.structured_output.limits import (
    BOUNDS,
    CHILD_LISTS,
    CHILD_MAPS,
    CHILDREN,
    MAX_NUMBER,
    MAX_PLAIN_MULTIPLE,
    HeldSchema,
    Schema,
    children,
    remainders,
)

# As `json.dumps` writes: the prompt of the next turn has the reply in that form, and its prefix is found again.
_WRITING = {"whitespace_flexible": False, "item_separator": ", ", "key_separator": ": "}

_DECIMALS = Decimal("1e-10")  # of a bound: llguidance fails at the smallest doubles

_YEAR = "[1-9][0-9]{3}"
_LEAP = "([1-9][0-9](0[48]|[2468][048]|[13579][26])|([2468][048]|[13579][26])00)"
_DATE = (
    f"({_YEAR}-(0[1-9]|1[0-2])-(0[1-9]|1[0-9]|2[0-8])|{_YEAR}-(0[13-9]|1[0-2])-(29|30)"
    f"|{_YEAR}-(0[13578]|1[02])-31|{_LEAP}-02-29)"
)
_TIME = "([01][0-9]|2[0-3]):[0-5][0-9]:[0-5][0-9](\\.[0-9]{1,9})?(Z|[+-]([01][0-9]|2[0-3]):[0-5][0-9])"
_POINTER = "(/([^~/]|~[01])*)*"
_PATH, _QUERY = "[A-Za-z0-9._~/-]*", "[A-Za-z0-9._~/=&-]*"
_REFERENCE = f"(https?://[A-Za-z0-9-]+(\\.[A-Za-z0-9-]+)*(:[0-9]{{1,5}})?(/{_PATH})?|{_PATH})(\\?{_QUERY})?(#{_QUERY})?"
_PATTERNS = {
    "date": f"^{_DATE}$",
    "date-time": f"^{_DATE}T{_TIME}$",
    "time": f"^{_TIME}$",
    "json-pointer": f"^{_POINTER}$",
    "relative-json-pointer": f"^(0|[1-9][0-9]{{0,9}})(#|{_POINTER})$",
    **dict.fromkeys(("uri-reference", "iri-reference"), f"^{_REFERENCE}$"),
    "regex": r"^\^?(([A-Za-z0-9_ -]|\\[dwsDWS.])[*+?]?)*\$?$",
}
_WIDER = {  # formats of which others are a part
    "idn-email": "email",
    "idn-hostname": "hostname",
    "iri": "uri",
    "uri-template": "uri",
}
PARTLY_HELD_FORMATS = frozenset((*_WIDER, "uri-reference", "iri-reference", "regex"))
HELD_FORMATS = frozenset((*_PATTERNS, *_WIDER))

_SCALAR = {"type", "format", "pattern", "minLength", "maxLength", "multipleOf", *BOUNDS}


def text_of(held: HeldSchema, node: Schema | bool) -> str:
    """One of the schemas of a held one as JSON that stands for itself, with the way in which values are written."""
    writer = _Writer()
    root: Schema = writer.write(node) if isinstance(node, dict) else {"allOf": [node]}
    if "$ref" in root or next(children(root), None) is not None:
        definitions = {name: writer.write(each) for name, each in held.definitions.items()}
        if definitions := definitions | writer.definitions:
            root["$defs"] = definitions
    return json.dumps(root | {"x-guidance": _WRITING}, ensure_ascii=False)


def scalar_text(node: Schema) -> str:
    """The same of a schema that refers to nothing."""
    return json.dumps(_Writer().write(node))


def object_text(held: Schema) -> str:
    """The same of an object, without what its properties are."""
    plain: Schema = {"type": "object"} | {
        key: held[key] for key in ("required", "minProperties", "maxProperties") if key in held
    }
    plain |= {key: dict.fromkeys(held[key], True) for key in ("properties", "patternProperties") if key in held}
    if "additionalProperties" in held:
        plain["additionalProperties"] = held["additionalProperties"] is not False
    return json.dumps(plain)


class _Writer:
    """Writes the schemas of one text.

    Attributes:
        definitions: What is referred to by those that were written.
    """

    def __init__(self) -> None:
        self.definitions: dict[str, Schema] = {}
        self._names: dict[str, str] = {}

    def write(self, node: Schema | bool) -> Any:
        if isinstance(node, bool):
            return node
        written: Schema = {}
        for key, value in node.items():
            if key in CHILD_MAPS:
                written[key] = {name: self._shared(each) for name, each in value.items()}
            elif key in CHILD_LISTS:
                written[key] = [self._shared(each) for each in value]
            else:
                written[key] = self._shared(value) if key in CHILDREN else value
        _bound_digits(written)
        _bound_range(written)
        _write_format(written)
        return written

    def _shared(self, node: Schema | bool) -> Any:
        """A schema, or a ref to it where it became longer."""
        written = self.write(node)
        if written == node or not set(written) <= _SCALAR:
            return written
        text = json.dumps(written, sort_keys=True)
        name = self._names.setdefault(text, f"s{len(self._names)}")
        self.definitions[name] = written
        return {"$ref": f"#/$defs/{name}"}


def _write_format(written: Schema) -> None:
    format = written.get("format")
    if format in _WIDER:
        written["format"] = _WIDER[format]
    if format not in _PATTERNS:
        return
    del written["format"]
    if "pattern" in written:
        written["allOf"] = [*written.get("allOf", ()), {"type": "string", "pattern": _PATTERNS[format]}]
    else:
        written["pattern"] = _PATTERNS[format]


def _bound_digits(written: Schema) -> None:
    """Bounds of an integer that has none, and bounds within 64 bits for one whose own are beyond."""
    kinds = written.get("type")
    kinds = kinds if isinstance(kinds, list) else [kinds]
    if "integer" not in kinds or "number" in kinds or "enum" in written or "const" in written:
        return
    if "multipleOf" in written and remainders(written["multipleOf"]) > MAX_PLAIN_MULTIPLE:
        return
    for bound, exclusive, most in (
        ("minimum", "exclusiveMinimum", -MAX_NUMBER),
        ("maximum", "exclusiveMaximum", MAX_NUMBER),
    ):
        found = [key for key in (bound, exclusive) if key in written]
        if any(abs(written[key]) < MAX_NUMBER or (written[key] > 0) != (most > 0) for key in found):
            continue
        for key in found:
            del written[key]
        written[bound] = most


def _bound_range(written: Schema) -> None:
    """Bounds of a number within what llguidance can write a pattern of: a little less fits them."""
    for keys, sign in ((("minimum", "exclusiveMinimum"), -1), (("maximum", "exclusiveMaximum"), 1)):
        for key in keys:
            if key in written and sign * written[key] > MAX_NUMBER:
                written[key] = sign * MAX_NUMBER
            elif key in written and isinstance(written[key], float):
                bound = Decimal(str(written[key]))
                rounded = bound.quantize(_DECIMALS, ROUND_FLOOR if sign > 0 else ROUND_CEILING)
                if rounded != bound:
                    written[key] = float(rounded)
