"""The calculator: right, bounded, and closed to everything that is not arithmetic."""

from __future__ import annotations

import ast
import math
from fractions import Fraction

import pytest
from hypothesis import given
from hypothesis import strategies as st

from llm_core.tools.builtin.calculator import FUNCTIONS, MAX_CHARS, MAX_DIGITS, calculate


@pytest.mark.parametrize(
    ("expression", "result"),
    [
        ("2 + 3 * 4", "14"),
        ("(2 + 3) * 4", "20"),
        ("-2 ** 2", "-4"),
        ("2 ** 3 ** 2", "512"),
        ("2^3 + 1", "9"),
        ("7 // 2", "3"),
        ("-7 % 3", "2"),
        ("10 / 4", "2.5"),
        ("8 / 4", "2"),
        ("0.1 + 0.2", "0.3"),
        ("2 ** -1", "0.5"),
        ("6 × 7 ÷ 2 − 1", "20"),
        ("sqrt(2) * sin(pi / 4)", "1"),
        ("round(2.567, 2)", "2.57"),
        ("round(2.4)", "2"),
        ("max(1, 2, 3) + min(4, 5)", "7"),
        ("log(8, 2)", "3"),
        ("factorial(20)", "2432902008176640000"),
        ("gcd(12, 18)", "6"),
        ("2 ** 200", str(2**200)),
        ("1e3", "1000"),
        ("  7 ", "7"),
        ("tau / pi", "2"),
        (" + ".join(["1"] * 120), "120"),
    ],
)
def test_an_expression_has_its_value(expression: str, result: str) -> None:
    assert calculate(expression) == result


@pytest.mark.parametrize(
    "expression",
    [
        "__import__('os').system('true')",
        "().__class__.__bases__[0].__subclasses__()",
        "open('/etc/passwd').read()",
        "pi.__class__",
        "abs.__self__",
        "(lambda: 1)()",
        "[x for x in (1, 2)]",
        "f'{1}'",
        "'a' * 9",
        "b'a'",
        "True + 1",
        "None",
        "...",
        "1j * 1j",
        "x := 1",
        "1 if 1 else 2",
        "1 < 2",
        "not 1",
        "1 and 2",
        "~1",
        "1 << 9",
        "1 | 2",
        "1 @ 2",
        "{1: 2}",
        "abs(x=1)",
        "abs(*[1])",
        "max(**{})",
        "print(1)",
        "eval('1')",
        "sqrt",
        "1; 2",
        "import os",
        "1,000",
        "",
        "two plus two",
        "\0",
        "1 +",
    ],
)
def test_what_is_not_arithmetic_is_refused(expression: str) -> None:
    with pytest.raises(ValueError, match=r"arithmetic|not known here"):
        calculate(expression)


@pytest.mark.parametrize(
    ("expression", "why"),
    [
        ("9**9**9", "more than 300 digits"),
        ("9**9**9**9", "more than 300 digits"),
        ("(-9)**9**9", "more than 300 digits"),
        ("2**100000000", "more than 300 digits"),
        ("10**299 * 10**299", "more than 300 digits"),
        ("round(1e300) * round(1e300)", "more than 300 digits"),
        ("9" * 400, "more than 300 digits"),
        ("0x" + "f" * 400, "more than 300 digits"),
        ("1e400", "more than 300 digits"),
        ("1e308 * 10", "more than 300 digits"),
        ("exp(1000)", "more than 300 digits"),
        ("9.0**9.0**9.0", "more than 300 digits"),
        ("factorial(100000000)", "factorial goes from 0 to 150"),
        ("factorial(151)", "factorial goes from 0 to 150"),
        ("factorial(-1)", "factorial goes from 0 to 150"),
        ("factorial(1.5)", "whole number"),
        ("round(1.5, 10**9)", "round goes to 300 digits"),
        ("1 / 0", "division by zero"),
        ("1 % 0", "division by zero"),
        ("0 ** -1", "division by zero"),
        ("(-8) ** (1 / 3)", "not a real number"),
        ("1e308 * 10 - 1e308 * 10", "more than 300 digits"),
        ("sqrt(-1)", "."),
        ("log(0)", "."),
        ("gcd(1.5, 2)", "whole ones"),
        ("abs(1, 2)", "too few or too many"),
        ("min()", "too few or too many"),
        ("-" * 400 + "1", "nested too deeply"),
        ("(" * 240 + "1" + ")" * 240, "arithmetic"),
        ("1+" * 300 + "1", "longer than 500"),
    ],
)
def test_what_is_too_large_or_undefined_is_refused_at_once(expression: str, why: str) -> None:
    with pytest.raises(ValueError, match=why):  # where it is worked out first, as with 9**9**9, that never ends
        calculate(expression)


# ── anything that a model may write ──────────────────────────────────────────────────────────────────────────────────


def bounded(expression: str) -> str | None:
    """The result, None where there is none; never another error, never longer than it may be."""
    try:
        result = calculate(expression)
    except ValueError:
        result = None
    assert result is None or len(result) <= MAX_DIGITS + 1
    return result


@given(st.text(max_size=MAX_CHARS + 20))
def test_any_text_is_answered_or_refused(text: str) -> None:
    bounded(text)


@given(st.text("0123456789.e+-*/%() ,^", max_size=80))
def test_any_text_that_looks_like_arithmetic_is_answered_or_refused(text: str) -> None:
    bounded(text)


NUMBERS = st.one_of(st.integers(-(10**6), 10**6), st.integers(), st.floats(allow_nan=False, allow_infinity=False)).map(
    lambda number: f"({number!r})"
)


def deeper(inner: st.SearchStrategy[str]) -> st.SearchStrategy[str]:
    operators = st.sampled_from(["+", "-", "*", "/", "//", "%", "**"])
    binary = st.tuples(inner, operators, inner).map(lambda parts: f"({parts[0]} {parts[1]} {parts[2]})")
    functions = st.tuples(st.sampled_from(sorted(FUNCTIONS)), st.lists(inner, max_size=3))
    return binary | functions.map(lambda parts: f"{parts[0]}({', '.join(parts[1])})")


@given(st.recursive(NUMBERS | st.sampled_from(["pi", "e", "tau"]), deeper, max_leaves=12))
def test_any_arithmetic_is_answered_or_refused(expression: str) -> None:
    bounded(expression)


@given(
    st.recursive(
        st.integers(-999, 999).map(str),
        lambda inner: st.tuples(inner, st.sampled_from(["+", "-", "*"]), inner).map(
            lambda parts: f"({parts[0]} {parts[1]} {parts[2]})"
        ),
        max_leaves=20,
    )
)
def test_whole_numbers_are_exact(expression: str) -> None:
    if (result := bounded(expression)) is not None:
        assert result == str(exact(ast.parse(expression, mode="eval").body))


def exact(node: ast.expr) -> Fraction:
    """The value, worked out in another way."""
    match node:
        case ast.BinOp(left=left, op=ast.Add(), right=right):
            return exact(left) + exact(right)
        case ast.BinOp(left=left, op=ast.Sub(), right=right):
            return exact(left) - exact(right)
        case ast.BinOp(left=left, right=right):
            return exact(left) * exact(right)
        case ast.UnaryOp(operand=operand):
            return -exact(operand)
    return Fraction(ast.literal_eval(node))


@given(st.floats(-1e100, 1e100), st.floats(-1e100, 1e100))
def test_fractions_have_the_digits_that_are_exact(one: float, other: float) -> None:
    assert math.isclose(float(calculate(f"({one!r}) + ({other!r})")), one + other, rel_tol=1e-14, abs_tol=1e-300)
