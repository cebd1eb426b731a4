"""Jinja as chat templates expect it, in a sandbox.

A template comes out of a model file that anyone may have made, and rendering one without a sandbox runs its author's
code (CVE-2024-34359). The environment is that of Hugging Face's `apply_chat_template`, which templates are written for.
"""

from __future__ import annotations

import json
from collections.abc import Iterator, Mapping
from datetime import datetime
from typing import Any, NoReturn

from jinja2 import Template, TemplateError, TemplateSyntaxError, Undefined, meta, nodes
from jinja2.exceptions import SecurityError
from jinja2.ext import Extension, loopcontrols
from jinja2.parser import Parser

from llm_core.chat.metered import MeteredEnvironment, TooMuchWork, begin_work
from llm_core.errors import InvalidRequest, ModelError

# What else than jinja2's own errors the code of a template can raise, as any Python expression can.
_EXPRESSION_ERRORS = (TypeError, ValueError, LookupError, ArithmeticError, AttributeError, RecursionError, MemoryError)


class _Generation(Extension):
    """`{% generation %}` marks the model's own text for training. Here its body is rendered, and no more."""

    tags = frozenset({"generation"})  # type: ignore[assignment]

    def parse(self, parser: Parser) -> list[nodes.Node]:
        next(parser.stream)
        return parser.parse_statements(("name:endgeneration",), drop_needle=True)


class _Missing(Undefined):
    """What is not there, and adds nothing to a text, as in llama.cpp: a description that a tool's author left out."""

    def __add__(self, other: Any) -> Any:
        return other if isinstance(other, str) else super().__add__(other)

    def __radd__(self, other: Any) -> Any:
        return other if isinstance(other, str) else super().__radd__(other)


def _tojson(
    value: Any,
    ensure_ascii: bool = False,
    indent: int | None = None,
    separators: tuple[str, str] | None = None,
    sort_keys: bool = False,
) -> str:
    """JSON as it is; Jinja's own filter would write `<` as `\\u003c`, for HTML."""
    return json.dumps(
        value, ensure_ascii=ensure_ascii, indent=indent, separators=separators, sort_keys=sort_keys, default=_listed
    )


def _listed(value: Any) -> list[Any]:
    """For `tojson` behind `map`, which gives an iterator."""
    if isinstance(value, Iterator):
        return list(value)
    raise TypeError(f"{type(value).__name__} cannot be written as JSON")


def _raise_exception(message: str) -> NoReturn:
    raise TemplateError(message)


def _strftime_now(form: str) -> str:
    return datetime.now().strftime(form)


def _environment() -> MeteredEnvironment:
    environment = MeteredEnvironment(
        trim_blocks=True, lstrip_blocks=True, extensions=[loopcontrols, _Generation], undefined=_Missing
    )
    environment.add_filters(tojson=_tojson)
    environment.globals["raise_exception"] = _raise_exception
    environment.globals["strftime_now"] = _strftime_now
    return environment


class SandboxedTemplate:
    """A compiled template.

    Args:
        source: Jinja source.

    Attributes:
        variables: Names that the template expects from outside.
        literals: The texts that stand in it.

    Raises:
        ModelError: The source does not compile.
    """

    def __init__(self, source: str) -> None:
        environment = _environment()
        try:
            parsed = environment.parse(source)
            self.variables = frozenset(meta.find_undeclared_variables(parsed))
            self.literals = frozenset(_literals(parsed))
            self._template: Template = environment.from_string(source)
        except TemplateSyntaxError as error:
            reason = f"line {error.lineno}: {error.message}"
            raise ModelError(f"The model's chat template does not compile ({reason}). Choose another file.") from error
        except (SyntaxError, RecursionError) as error:  # from Python's compiler, which gets what Jinja makes of it
            raise ModelError(f"The model's chat template does not compile ({error}). Choose another file.") from error

    def render(self, variables: Mapping[str, Any]) -> str:
        """The text.

        Raises:
            InvalidRequest: The template refused the conversation, or stumbled over it; the message has its words.
            ModelError: The template reached for something that the sandbox keeps from it, or works without end.
        """
        try:
            begin_work(variables)
            return self._template.render(variables)
        except TooMuchWork:
            raise ModelError(
                "The model's chat template does more work than a conversation needs, and was stopped. "
                "Choose another model file."
            ) from None
        except SecurityError as error:
            raise ModelError(f"The model's chat template tried something that is not allowed: {error}.") from error
        except (TemplateError, *_EXPRESSION_ERRORS) as error:
            reason = str(error) or type(error).__name__
            raise InvalidRequest(
                f"The model's chat template cannot render this conversation: {reason}", param="messages"
            ) from error


def _literals(parsed: nodes.Template) -> Iterator[str]:
    yield from (node.data for node in parsed.find_all(nodes.TemplateData))
    yield from (node.value for node in parsed.find_all(nodes.Const) if isinstance(node.value, str))
