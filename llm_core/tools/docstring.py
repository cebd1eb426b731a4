"""What a docstring in Google's style says of a function: what it does, and what its arguments are."""

from __future__ import annotations

import re
from dataclasses import dataclass, field
from itertools import pairwise

_SECTION = re.compile(
    r"(Args|Arguments|Parameters|Params|Attributes|Examples?|Notes?|Raises|References|Returns?|See Also|Todo|Warnings?"
    r"|Yields?):\s*"
)
_ARGUMENT_SECTIONS = ("Args", "Arguments", "Parameters", "Params")
# `name: text` or `name (type): text`; in the type there may be one more pair of brackets.
_ARGUMENT = re.compile(r"\*{0,2}(\w+)\s*(?:\((?:[^()]|\([^()]*\))*\))?\s*:\s*(.*)")


@dataclass(frozen=True, slots=True)
class Described:
    """A function in words.

    Attributes:
        about: What comes before the first section.
        arguments: Names and what is said of them.
    """

    about: str = ""
    arguments: dict[str, str] = field(default_factory=dict)


def described(docstring: str | None) -> Described:
    """Reads a docstring whose indentation is taken away already (`inspect.getdoc`)."""
    lines = (docstring or "").splitlines()
    headings = [at for at, line in enumerate(lines) if _SECTION.fullmatch(line)]
    about = "\n".join(lines[: headings[0]] if headings else lines).strip()
    arguments: dict[str, str] = {}
    for start, end in pairwise([*headings, len(lines)]):
        if lines[start].rstrip().rstrip(":") in _ARGUMENT_SECTIONS:
            arguments |= _arguments(lines[start + 1 : end])
    return Described(about, arguments)


def _arguments(lines: list[str]) -> dict[str, str]:
    """The entries of a section: each begins as deep as the first, and goes on deeper."""
    found: dict[str, list[str]] = {}
    current: list[str] = []
    depth = None
    for line in filter(str.strip, lines):
        indent = len(line) - len(line.lstrip())
        depth = indent if depth is None else depth
        begins = _ARGUMENT.fullmatch(line.strip()) if indent <= depth else None
        if begins:
            current = found.setdefault(begins[1], [])
            current.append(begins[2])
        else:
            current.append(line.strip())
    return {name: " ".join(filter(None, texts)) for name, texts in found.items()}
