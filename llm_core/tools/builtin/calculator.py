"""A calculator that reads and never runs: the expression is parsed, and what the table does not know is refused.

Nothing can take long: numbers have at most `MAX_DIGITS` digits, which is seen before a power or a factorial is made.
"""

from __future__ import annotations

import ast
import math
import operator
from collections.abc import Callable, Mapping

MAX_CHARS = 500
MAX_DEPTH = 250  # a sum is as deep as it has terms
MAX_DIGITS = 300
MAX_FACTORIAL = 150  # 263 digits

Number = int | float

CONSTANTS: Mapping[str, float] = {"pi": math.pi, "e": math.e, "tau": math.tau}
_TOO_LARGE = f"the result has more than {MAX_DIGITS} digits"
_FORM = "write numbers, + - * / // % ** and brackets"


def calculate(expression: str) -> str:
    """Works out an arithmetic expression exactly. Use it for every calculation.

    Args:
        expression: Such as `2 * (3 + 4) ** 2 / 5` or `sqrt(2) * sin(pi / 4)`. There are + - * / // % ** and brackets,
            pi, e, tau, and abs, acos, asin, atan, atan2, ceil, cos, degrees, exp, factorial, floor, gcd, hypot, log,
            log10, log2, max, min, radians, round, sin, sqrt, tan. Angles are in radians.
    """
    return _written(_value(_parsed(expression), depth=0))


def _parsed(expression: str) -> ast.expr:
    if len(expression) > MAX_CHARS:
        raise ValueError(f"the expression is longer than {MAX_CHARS} characters")
    # `^` would be something else in Python, and weaker than `+`.
    for sign, meant in (("^", "**"), ("×", "*"), ("·", "*"), ("÷", "/"), ("−", "-"), ("π", "pi")):
        expression = expression.replace(sign, meant)
    try:
        return ast.parse(expression.strip(), mode="eval").body
    except (SyntaxError, ValueError, MemoryError, RecursionError):
        raise ValueError(f"this is no arithmetic expression; {_FORM}") from None


def _value(node: ast.expr, *, depth: int) -> Number:
    """The value of a part of the expression."""
    if depth > MAX_DEPTH:
        raise ValueError("the expression is nested too deeply")
    match node:
        case ast.Constant(value=int() | float() as value) if not isinstance(value, bool):
            number: Number = value
        case ast.Name(id=name) if name in CONSTANTS:
            number = CONSTANTS[name]
        case ast.UnaryOp(op=sign, operand=operand) if type(sign) in _SIGNS:
            number = _SIGNS[type(sign)](_value(operand, depth=depth + 1))
        case ast.BinOp(left=left, op=sign, right=right) if type(sign) in _OPERATORS:
            number = _made(_OPERATORS[type(sign)], _value(left, depth=depth + 1), _value(right, depth=depth + 1))
        case ast.Call(func=ast.Name(id=name), args=args, keywords=[]) if name in FUNCTIONS:
            number = _made(FUNCTIONS[name], *(_value(arg, depth=depth + 1) for arg in args))
        case _:
            raise ValueError(f"{ast.unparse(node)[:50]!r} is not known here; {_FORM}")
    return _bounded(number)


def _made(function: Callable[..., Number], *numbers: Number) -> Number:
    """The result of a step, and what went wrong in words that say what to do."""
    try:
        return function(*numbers)
    except ZeroDivisionError:
        raise ValueError("division by zero") from None
    except OverflowError:
        raise ValueError(_TOO_LARGE) from None
    except TypeError:
        raise ValueError("a function has too few or too many numbers, or fractions where it needs whole ones") from None


def _bounded(number: Number) -> Number:
    if isinstance(number, complex):
        raise ValueError("the result is not a real number")
    if isinstance(number, int):
        if _digits(number) > MAX_DIGITS:
            raise ValueError(_TOO_LARGE)
    elif not math.isfinite(number):
        raise ValueError(_TOO_LARGE if math.isinf(number) else "the result is not a number")
    return number


def _digits(number: int) -> int:
    """Digits, or one too many: counted in bits, since writing a number down takes longer the larger it is."""
    return int(number.bit_length() * math.log10(2)) + 1


def _power(base: Number, exponent: Number) -> Number:
    """A power that is not made where it would be too large."""
    if isinstance(base, int) and isinstance(exponent, int) and exponent > 0 and abs(base) > 1:
        if math.log10(abs(base)) * exponent > MAX_DIGITS:
            raise OverflowError
    elif isinstance(base, int) and isinstance(exponent, int) and exponent < 0:
        return float(base) ** exponent
    result: Number = base**exponent
    return result


def _factorial(number: Number) -> int:
    if isinstance(number, float) and not number.is_integer():
        raise ValueError("factorial needs a whole number")
    if number < 0 or number > MAX_FACTORIAL:
        raise ValueError(f"factorial goes from 0 to {MAX_FACTORIAL}")
    return math.factorial(int(number))


def _rounded(number: Number, digits: Number = 0) -> Number:
    if abs(digits) > MAX_DIGITS:
        raise ValueError(f"round goes to {MAX_DIGITS} digits")
    return round(number, int(digits)) if digits else round(number)


_SIGNS: Mapping[type[ast.unaryop], Callable[[Number], Number]] = {ast.UAdd: operator.pos, ast.USub: operator.neg}
_OPERATORS: Mapping[type[ast.operator], Callable[[Number, Number], Number]] = {
    ast.Add: operator.add,
    ast.Sub: operator.sub,
    ast.Mult: operator.mul,
    ast.Div: operator.truediv,
    ast.FloorDiv: operator.floordiv,
    ast.Mod: operator.mod,
    ast.Pow: _power,
}
FUNCTIONS: Mapping[str, Callable[..., Number]] = {
    "abs": abs,
    "acos": math.acos,
    "asin": math.asin,
    "atan": math.atan,
    "atan2": math.atan2,
    "ceil": math.ceil,
    "cos": math.cos,
    "degrees": math.degrees,
    "exp": math.exp,
    "factorial": _factorial,
    "floor": math.floor,
    "gcd": math.gcd,
    "hypot": math.hypot,
    "log": math.log,
    "log10": math.log10,
    "log2": math.log2,
    "max": max,
    "min": min,
    "radians": math.radians,
    "round": _rounded,
    "sin": math.sin,
    "sqrt": math.sqrt,
    "tan": math.tan,
}


def _written(number: Number) -> str:
    """A whole number with all its digits; a fraction to the 15 that are exact, so that 0.1 + 0.2 is 0.3."""
    return str(number) if isinstance(number, int) else f"{number:.15g}"
