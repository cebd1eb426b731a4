"""Units of measurement, written as people write them."""

from __future__ import annotations

import contextlib
import subprocess
import sys

import pytest
from hypothesis import given
from hypothesis import strategies as st

from llm_core.tools.builtin.units import convert_units


@pytest.fixture(scope="module", autouse=True)
def _registry() -> None:
    convert_units(1, "m", "km")  # the first use reads the definitions, which takes a moment


@pytest.mark.parametrize(
    ("value", "from_unit", "to_unit", "said"),
    [
        (5, "miles", "km", "5 mile = 8.04672 kilometer"),
        (20, "C", "F", "20 degree Celsius = 68 degree Fahrenheit"),
        (98.6, "fahrenheit", "celsius", "98.6 degree Fahrenheit = 37 degree Celsius"),
        (0, "°C", "K", "0 degree Celsius = 273.15 kelvin"),
        (60, "miles per hour", "km/h", "60 mile/hour = 96.56064 kilometer/hour"),
        (100, "kmh", "mph", "100 kilometer/hour = 62.1371192 mile/hour"),
        (2, "square meter", "ft^2", "2 meter² = 21.5278208 foot²"),
        (1, "m2", "cm2", "1 meter² = 10000 centimeter²"),
        (1, "Kilograms", "lb", "1 kilogram = 2.20462262 pound"),
        (1, "cup", "ml", "1 cup = 236.588236 milliliter"),
        (3, "kWh", "J", "3 kilowatt hour = 10800000 joule"),
        (6, '"', "cm", "6 inch = 15.24 centimeter"),
        (1, "day", "s", "1 day = 86400 second"),
    ],
)
def test_a_measurement_is_converted(value: float, from_unit: str, to_unit: str, said: str) -> None:
    assert convert_units(value, from_unit, to_unit) == said


@pytest.mark.parametrize(
    ("value", "from_unit", "to_unit", "why"),
    [
        (1, "kg", "m", "kilogram measures something else than meter"),
        (1, "blorp", "m", "there is no unit 'blorp'"),
        (1, "", "m", "is not written as a unit"),
        (1, "5 m", "m", "is not written as a unit"),
        (float("nan"), "m", "km", "finite"),
        (1e308, "km", "nm", "too large"),
        (1, "__import__('os')", "m", "is not written as a unit"),
        (1, "m" * 500, "m", "is not written as a unit"),
    ],
)
def test_what_cannot_be_converted_is_refused_with_the_reason(
    value: float, from_unit: str, to_unit: str, why: str
) -> None:
    with pytest.raises(ValueError, match=why):
        convert_units(value, from_unit, to_unit)


@pytest.mark.parametrize("unit", ["9**9**9**9", "m**9**9", "m**99999999", "m^-9", "(m**4)**4", "1e999 m"])
def test_arithmetic_in_a_unit_is_refused_at_once(unit: str) -> None:
    with pytest.raises(ValueError, match="is not written as a unit"):
        convert_units(1, unit, "m")


UNITS = st.text("abcdefghkmnstuC°%µ_ */^234-1p'\"", max_size=20) | st.text(max_size=70)


@given(st.floats(), UNITS, UNITS | st.just("m"))
def test_any_text_is_answered_or_refused(value: float, from_unit: str, to_unit: str) -> None:
    with contextlib.suppress(ValueError):
        assert convert_units(value, from_unit, to_unit)


def test_the_library_is_not_loaded_before_it_is_needed() -> None:
    code = "import sys; import llm_core.tools.builtin; print('pint' in sys.modules)"
    shown = subprocess.run([sys.executable, "-c", code], capture_output=True, text=True, timeout=60, check=True)
    assert shown.stdout.strip() == "False"
