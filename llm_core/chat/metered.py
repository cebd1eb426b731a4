"""Jinja whose work is counted, so that a template that would never end, or fill the memory, is stopped.

A template comes out of a model file that anyone may have made. Each turn of a loop is a unit of work, a call four, and
100 characters or 8 values that are read or made are one. What may make much of little (`'x' * n`, `join`, `replace`,
widths, lists that hold each other) is counted before it is done. Work is counted and not time: a busy machine stops
nothing.
"""

from __future__ import annotations

import math
import re
import threading
from collections.abc import Callable, ItemsView, Iterable, Iterator, KeysView, Mapping, Sequence, ValuesView
from functools import wraps
from typing import Any, cast

from jinja2 import nodes
from jinja2.runtime import Context, LoopContext
from jinja2.sandbox import SandboxedEnvironment
from jinja2.visitor import NodeTransformer

WORK = 2_000_000
"""Units for one rendering, about two seconds. A long conversation has more, up to `MAX_WORK`: public templates go
through it again at each message (Gemma 4), or copy all that was written so far (Reka Edge)."""

MAX_WORK = 50_000_000

_CALL = 4
_CHARS = 100  # of a text, for one unit
_MAX_CHARS = 50_000_000  # of one text
_MAX_BITS = 20_000  # of a number
_MAX_WIDTH = 10_000  # that a text is padded to

# No chat template was seen with these, llama.cpp has none of them, and what they cost is hard to tell beforehand.
_LEFT_OUT = ("pprint", "striptags", "urlize", "wordwrap", "xmlattr")
_COMPARING = frozenset(
    {"in", "==", "eq", "equalto", "!=", "ne", "<", "lt", "lessthan", "<=", "le", ">", "gt", "greaterthan", ">=", "ge"}
)
_DEEP = frozenset({"string", "sort", "unique", "min", "max", "groupby", "dictsort", "index", "count", "remove"})
_PADDING = frozenset({"center", "ljust", "rjust", "zfill", "expandtabs", "indent", "tojson", "batch", "slice"})


_LAZY = frozenset({"map", "select", "reject", "selectattr", "rejectattr"})
_SLOW = frozenset({"title", "urlencode", "wordcount"})  # Python's code for each word or character
_BRACES = re.compile(r"\{[^{}]*[{}]")
_PERCENTS = re.compile(r"%(?:\([^)]*\))?[-+ #0-9.*]*")
_SIZED = (list, tuple, dict, set, range, KeysView, ValuesView, ItemsView)


class TooMuchWork(Exception):
    """A template did more than any conversation needs."""


class _Meter(threading.local):
    """What is left to the rendering on this thread."""

    left: float = math.inf

    def spend(self, units: float) -> None:
        self.left -= units
        if self.left < 0:
            raise TooMuchWork


_meter = _Meter()


def begin_work(variables: Mapping[str, Any]) -> None:
    """Begins a rendering with these variables on this thread: from now on `TooMuchWork` is raised at its limit."""
    _meter.left = enough = 1e12
    _spend_deep(variables)
    _meter.left = min(MAX_WORK, WORK + (enough - _meter.left) ** 2 / 10)


class MeteredEnvironment(SandboxedEnvironment):
    """A sandbox in which work is counted."""

    intercepted_binops = frozenset({"+", "*", "**", "%"})

    def __init__(self, **options: Any) -> None:
        # What is constant is not worked out beforehand, where nothing would be counted.
        super().__init__(optimized=False, finalize=_read, **options)
        for name in _LEFT_OUT:
            del self.filters[name]
        del self.globals["lipsum"]
        self.concat = _concat  # type: ignore[method-assign]
        self.tests |= {name: _metered_test(self.tests[name]) for name in _COMPARING}

    def add_filters(self, **filters: Callable[..., Any]) -> None:
        """Adds filters, and has all of them counted."""
        self.filters |= filters
        self.filters = {name: _metered_filter(name, each) for name, each in self.filters.items()}
        self.filters |= {"_turns": _turns, "_joined": _joined, "_made": _made, "_read": _read}

    def _parse(self, source: str, name: str | None, filename: str | None) -> nodes.Template:
        parsed: nodes.Template = _Metering().visit(super()._parse(source, name, filename))
        return parsed

    def call_binop(self, context: Context, operator: str, left: Any, right: Any) -> Any:
        _check_operation(operator, left, right)
        return _made(super().call_binop(context, operator, left, right))

    def call(__self, __context: Context, __obj: Any, *args: Any, **kwargs: Any) -> Any:
        _meter.spend(_CALL)
        owner = getattr(getattr(__obj, "__wrapped__", __obj), "__self__", None)
        name = getattr(__obj, "__name__", "")
        if isinstance(owner, str) and name == "join" and args:
            args = (list(args[0]),)
            _before("join", (args[0], owner), kwargs)
        elif isinstance(owner, (str, list, tuple, dict)):
            _spend_deep(args)  # hashed, or compared
            _before(name, (owner, *args), kwargs)
        elif __obj is dict or isinstance(owner, LoopContext):
            _spend_deep(args)
        return _made(super().call(__context, __obj, *args, **kwargs))


class _Metering(NodeTransformer):
    """Puts the counting into a template."""

    def visit_For(self, node: nodes.For) -> nodes.For:
        self.generic_visit(node)
        node.iter = _filtered(node.iter, "_turns")
        return node

    def visit_Concat(self, node: nodes.Concat) -> nodes.Filter:
        self.generic_visit(node)
        return _filtered(nodes.Tuple(node.nodes, "load"), "_joined")

    def visit_Getitem(self, node: nodes.Getitem) -> nodes.Expr:
        self.generic_visit(node)
        if isinstance(node.arg, nodes.Slice):
            return _filtered(node, "_made")
        node.arg = _hashed(node.arg)
        return node

    def visit_Pair(self, node: nodes.Pair) -> nodes.Pair:
        self.generic_visit(node)
        node.key = _hashed(node.key)
        return node

    def visit_Compare(self, node: nodes.Compare) -> nodes.Compare:
        self.generic_visit(node)
        is_simple = isinstance(node.expr, nodes.Const)  # what is equal to it is no list of lists
        for operand in node.ops:
            if operand.op in ("in", "notin"):
                operand.expr = _filtered(operand.expr, "_made" if is_simple else "_read")
            elif not is_simple and not isinstance(operand.expr, nodes.Const):
                node.expr, operand.expr = _filtered(node.expr, "_read"), _filtered(operand.expr, "_read")
        return node


def _hashed(node: nodes.Expr) -> nodes.Expr:
    return node if isinstance(node, nodes.Const) else _filtered(node, "_read")


def _filtered(node: nodes.Node, name: str) -> nodes.Filter:
    return nodes.Filter(cast(nodes.Expr, node), name, [], [], None, None, lineno=node.lineno)


def _turns(values: Iterable[Any]) -> Iterator[Any]:
    """What a loop goes through, or what goes through an iterator without a loop."""
    for value in values:
        _meter.spend(1)
        yield value


def _joined(values: tuple[Any, ...]) -> str:
    return _concat(str(_read(value)) for value in values)


def _concat(pieces: Iterable[str]) -> str:
    return "".join(map(_made, pieces))


def _made(value: Any) -> Any:
    """Counts what was made."""
    if isinstance(value, Iterator):
        return _turns(value)
    _meter.spend(1 + _size(value))
    return value


def _read(value: Any) -> Any:
    """Counts what is read to its end."""
    _spend_deep(value)
    return value


def _size(value: Any) -> int:
    if isinstance(value, str):
        if len(value) > _MAX_CHARS:
            raise TooMuchWork
        return len(value) // _CHARS
    return len(value) // 8 if isinstance(value, _SIZED) else 0


def _spend_deep(value: Any, *, for_each_level: float = 0) -> None:
    """What going through all that is in a value costs; what is in it twice counts twice."""
    waiting = [(value, 0)]
    while waiting:
        each, depth = waiting.pop()
        _meter.spend(1 + _size(each) + depth * for_each_level)
        if isinstance(each, Mapping):
            waiting += [(inner, depth + 1) for pair in each.items() for inner in pair]
        elif isinstance(each, (list, tuple, set)):
            waiting += [(inner, depth + 1) for inner in each]


def _metered_filter(name: str, function: Callable[..., Any]) -> Callable[..., Any]:
    skipped = 1 if hasattr(function, "jinja_pass_arg") else 0  # the environment, or a context

    @wraps(function)
    def run(*args: Any, **kwargs: Any) -> Any:
        if name in ("join", "sum") and isinstance(args[skipped], Iterator):
            args = (*args[:skipped], list(args[skipped]), *args[skipped + 1 :])
        if name == "format":
            _check_form(str(args[0]), _PERCENTS, [*args[1:], kwargs])
        else:
            _before(name, args[skipped:], kwargs)
        if name in _LAZY and args[skipped]:
            args = (*args[:skipped], _turns(args[skipped]), *args[skipped + 1 :])
        return _made(function(*args, **kwargs))

    return run


def _metered_test(function: Any) -> Callable[..., Any]:
    @wraps(function)
    def run(*args: Any) -> Any:
        _spend_deep(args)
        return function(*args)

    return run


def _before(name: str, args: Sequence[Any], kwargs: Mapping[str, Any]) -> None:
    """Counts what a filter or a method is about to cost, where its result alone does not tell.

    Args:
        args: The first is what it is a filter or a method of; of `join`, the list.
    """
    _meter.spend(1 + sum(map(_size, args)))
    value, *options = (*args, *kwargs.values()) or (None,)
    numbers = [abs(each) for each in options if isinstance(each, int)]
    texts = [each for each in options if isinstance(each, str)]
    if name in _DEEP:
        _spend_deep(value)
    elif name == "join":
        _spend_deep(value)
        _meter.spend(sum(map(len, texts)) * len(value) // _CHARS)
    elif name == "sum" and len(options) and not numbers:
        _meter.spend(len(value) ** 2)
    elif name in ("format", "format_map"):
        _check_form(value.replace("{{", "").replace("}}", ""), _BRACES, options)
    elif name == "replace" and len(texts) == 2:
        _meter.spend((str(value).count(texts[0]) + 1) * len(texts[1]) // _CHARS)
    elif name in _PADDING:
        widths = [*numbers, *map(len, texts)]
        if max(widths, default=0) > _MAX_WIDTH:
            raise TooMuchWork
        if name == "tojson":
            _spend_deep(value, for_each_level=sum(widths) / _CHARS)
        elif isinstance(value, str):
            _meter.spend((value.count("\n") + value.count("\t") + 1) * sum(widths) // _CHARS)
    elif name in _SLOW and isinstance(value, str):
        _meter.spend(len(value) // 4)
    elif name == "translate":
        _spend_deep(options)
        _meter.spend(len(value) * max((_size(each) for table in options for each in table.values()), default=0))


def _check_operation(operator: str, left: Any, right: Any) -> None:
    """Counts what `*`, `**` and `%` are about to make."""
    bits = [each.bit_length() for each in (left, right) if isinstance(each, int)]
    if len(bits) == 2:
        if (operator == "**" and isinstance(right, int) and bits[0] * abs(right) > _MAX_BITS) or sum(bits) > _MAX_BITS:
            raise TooMuchWork
    elif operator == "*":
        for much, times in ((left, right), (right, left)):
            if isinstance(much, (str, list, tuple)) and isinstance(times, int):
                _meter.spend(len(much) * max(times, 0) // (_CHARS if isinstance(much, str) else 8))
    elif operator == "%" and isinstance(left, str):
        _check_form(left, _PERCENTS, [right])


def _check_form(form: str, fields: re.Pattern[str], values: Sequence[Any]) -> None:
    """Counts what a form such as `'{:>10}'` or `'%10s'` may be filled to."""
    found = fields.findall(form)
    for field in found:
        # A width that comes from the values is not known here.
        if "*" in field or "{" in field[1:] or any(int(each[:9]) > _MAX_WIDTH for each in re.findall(r"[0-9]+", field)):
            raise TooMuchWork
    before = _meter.left
    _spend_deep(values)
    padding = _MAX_WIDTH // _CHARS if any(map(str.isdigit, "".join(found))) else 0
    _meter.spend(len(found) * (before - _meter.left + padding))
