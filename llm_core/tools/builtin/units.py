"""Units of measurement, by pint. Its registry takes a third of a second to make, so it is made on first use."""

from __future__ import annotations

import math
import re
from functools import cache
from typing import TYPE_CHECKING

if TYPE_CHECKING:
    import pint

# What a unit may be written with. pint works numbers out while it reads, and `9**9**9` would keep it busy for ever.
_UNIT = re.compile(r"[a-zA-ZµμΩÅ°%_]+(?:\s*(?:\*\*|\^)\s*-?[1-4]\b)?")
_UNITS = re.compile(rf"\s*(?:1\s*/\s*)?{_UNIT.pattern}(?:(?:\s*[*/·]\s*|\s+|\s+per\s+){_UNIT.pattern}){{0,5}}\s*")
MAX_CHARS = 60

# What people mean by these, where pint reads coulombs, farads and others.
_MEANT = {
    "c": "degC",
    "°c": "degC",
    "celsius": "degC",
    "f": "degF",
    "°f": "degF",
    "fahrenheit": "degF",
    "k": "kelvin",
    "sqm": "m**2",
    "sqft": "ft**2",
    "mph": "mile/hour",
    "kph": "km/hour",
    "kmh": "km/hour",
    "feet": "foot",
    "tbsp": "tablespoon",
    "tsp": "teaspoon",
    "l": "liter",
    "'": "foot",
    '"': "inch",
}
_POWER = re.compile(r"(?<=[a-zA-Z])[23]\b")  # as in m2


def convert_units(value: float, from_unit: str, to_unit: str) -> str:
    """Converts a measurement from one unit to another.

    Args:
        value: How many.
        from_unit: The unit that it is in, in the singular or short: `mile`, `kg`, `celsius`, `km/h`, `cup`, `kWh`.
        to_unit: The unit that is wanted.
    """
    import pint

    if not math.isfinite(value):
        raise ValueError("the value must be a finite number")
    registry = _registry()
    from_, to = _parsed(from_unit, registry), _parsed(to_unit, registry)
    if from_.dimensionality != to.dimensionality:
        raise ValueError(f"{_named(from_)} measures something else than {_named(to)}")
    try:
        converted = registry.Quantity(value, from_).to(to).magnitude
    except (pint.PintError, OverflowError):
        raise ValueError(f"{_named(from_)} cannot be converted to {_named(to)}") from None
    if not math.isfinite(converted):
        raise ValueError("the result is too large")
    return f"{value:.12g} {_named(from_)} = {converted:.9g} {_named(to)}"


@cache
def _registry() -> pint.UnitRegistry[float]:
    import pint

    return pint.UnitRegistry(cache_folder=None)


def _parsed(text: str, registry: pint.UnitRegistry[float]) -> pint.Unit:
    import pint

    given = text.strip()
    meant = _POWER.sub(r"**\g<0>", _MEANT.get(given.casefold(), given))
    if len(meant) > MAX_CHARS or not _UNITS.fullmatch(meant):
        raise ValueError(f"{given[:MAX_CHARS]!r} is not written as a unit; such as km/h, m**2 or kg")
    for candidate in dict.fromkeys((meant, meant.casefold())):
        try:
            return registry.parse_units(re.sub(r"\s+per\s+", "/", candidate))
        except (pint.PintError, AttributeError, TypeError, ValueError, KeyError):
            continue
    raise ValueError(f"there is no unit {given!r}")


def _named(unit: pint.Unit) -> str:
    return f"{unit:P}".replace("_", " ")
