"""llguidance's complaints in words for whoever sent the schema."""

from __future__ import annotations

from collections.abc import Iterator
from contextlib import contextmanager

from llm_core.errors import LLMError

NOTHING_FITS = "nothing can fit"
"""How a complaint begins that is about what is asked for, and not about what can be held."""

# How llguidance's complaints begin, and what they mean for whoever sent the schema.
_MEANINGS = (
    ("Unsatisfiable schema: Regex is empty", f"{NOTHING_FITS} its pattern, format and length together"),
    ("Unsatisfiable schema: ", f"{NOTHING_FITS} it: "),
    ("Unable to determine if regex is empty", "its pattern, format and length are too much together"),
    ("oneOf constraints are not supported", "the choices of its oneOf may overlap, which cannot be held; use anyOf"),
    ("circular references with sibling keys", "a ref that leads back to itself can have nothing beside it"),
    ("Failed to generate regex for", "its range cannot be held"),
    ("schema too large", "it is too large"),
    ("initial lexer configuration", "it is too large"),
    ("fuel exhausted", "it is too large"),
    ("grammar size", "it is too large"),
    ("panic", "it is too large"),
    ("lexer error: too many", "it costs too much to follow"),
    ("parser error: Too many", "it costs too much to follow"),
    ("Parser Error: Current row", "it costs too much to follow"),
    ("NoExtension", "nothing that fits it can follow"),
)


def reason(message: str) -> str:
    """llguidance's complaint in a line, without the places in a grammar that nobody but us has seen."""
    first, *more = message.splitlines() or [""]
    if first.startswith("at ") and ": " in first:
        first = first.partition(": ")[2]
    first = first.removeprefix("failed to compile JSON schema: ").rstrip(".: ")
    for beginning, meaning in _MEANINGS:
        if first.startswith(beginning):
            return meaning + first.removeprefix(beginning) if meaning.endswith(": ") else meaning
    details = [line.removeprefix("error: ") for line in more if line.startswith("error: ")]
    return f"{first}: {details[0]}" if details else first


@contextmanager
def no_panics(kind: type[LLMError]) -> Iterator[None]:
    """Turns a panic of llguidance into an error of ours: PyO3 raises it as a `BaseException` that nobody expects."""
    try:
        yield
    except BaseException as error:
        if type(error).__name__ != "PanicException":
            raise
        raise kind(f"llguidance failed: {error}") from None
