"""The form that a reply must have, as a grammar for llguidance: calls that fit their tools, text that fits a schema.

What a reply may say follows from the request; how it is written, from the rows of `llm_core.chat.tool_formats` and
`formats`. The reply is read back by the parsers there: what they would take for a call is held to the form of one here.
"""

from __future__ import annotations

import json
import logging
import re
from collections.abc import Sequence
from dataclasses import dataclass
from functools import lru_cache

from llm_core.chat.formats import TAG
from llm_core.chat.reply_syntax import ReplySyntax
from llm_core.errors import InvalidRequest
from llm_core.messages import MAX_CALLS
from llm_core.request import RESPONSE_PLACE, ChatRequest
from llm_core.structured_output.complaints import deepest_complaint
from llm_core.structured_output.constraint import Constraint, ConstraintCompiler
from llm_core.structured_output.limits import Budget, HeldSchema, refuse
from llm_core.structured_output.schema import hold
from llm_core.structured_output.serialize import text_of
from llm_core.tool_spec import NamedTool

log = logging.getLogger(__name__)

# Where only one text may follow, llguidance chooses its tokens as the tokenizer would, and reads that text to its end
# at each of them: a millisecond for 1,000 characters.
_MAX_FORCED_CHARS = 3_000
_NO_FORCING = '%llguidance {"no_forcing": true}'

_MAX_LOGGED = 5  # of what is left out of one schema
_MAX_REHEARSED = 60  # what `ConstraintCompiler.rehearse` counts, of all schemas together: half a second, 2 at most


@dataclass(frozen=True, slots=True)
class ReplyGrammar:
    """The form of one reply.

    Attributes:
        text: The grammar.
        schemas: What stands in it.
    """

    text: str
    schemas: tuple[HeldSchema, ...]

    def compile(self, compiler: ConstraintCompiler) -> Constraint:
        """The constraint of one reply, made on this thread in a second at most.

        Raises:
            InvalidRequest: Nothing fits, or it costs too much; the message names the place.
        """
        cost = 0
        for held in self.schemas:
            for place, schema in held.costly:
                cost += _rehearse(compiler, place, text_of(held, schema))
                if cost > _MAX_REHEARSED:
                    raise refuse(place, "the patterns of all schemas together cost too much to follow")
        try:
            return compiler.compile(self.text)
        except InvalidRequest as error:
            raise self._pinpoint(error) from None

    def _pinpoint(self, error: InvalidRequest) -> InvalidRequest:
        """The same error with the place that it is about."""
        for held in self.schemas:
            found = deepest_complaint(held)
            if found is not None:
                return refuse(held.place_of(found[0]), found[1])
        path = self.schemas[0].place if len(self.schemas) == 1 else "tools"
        return refuse(path, error.message)


def reply_grammar(request: ChatRequest, syntax: ReplySyntax, *, starts_in_reasoning: bool) -> ReplyGrammar | None:
    """The form of the reply to a request, None where it has none.

    Args:
        starts_in_reasoning: The prompt ends with the opener of a reasoning block.

    Raises:
        InvalidRequest: A schema cannot be held; the message names the place.
    """
    named = request.tool_choice.name if isinstance(request.tool_choice, NamedTool) else None
    tools = [
        (tool, f"tools.{number}.function.parameters")
        for number, tool in enumerate(request.tools)
        if request.tool_choice != "none" and named in (None, tool.name)
    ]
    must_call = bool(tools) and request.tool_choice != "auto"
    answer = None if must_call or request.response_format is None else request.response_format.json_schema
    if not tools and answer is None:
        return None
    budget = Budget()
    arguments = [hold(tool.parameters, place, budget, strict=False, must_be_object=True) for tool, place in tools]
    answers = [] if answer is None else [hold(answer, RESPONSE_PLACE, budget, strict=True)]
    schemas = (*arguments, *answers)
    for (tool, _), held in zip(tools, arguments, strict=True):
        if held.left_out:
            _log_once(tool.name, "; ".join(held.left_out[:_MAX_LOGGED]))
    writer = _Writer(syntax, starts_in_reasoning=starts_in_reasoning, goes_on=request.begun is not None)
    if max(held.literal_chars for held in schemas) > _MAX_FORCED_CHARS:
        writer.force_nothing()
    if arguments:
        texts = [text_of(held, held.root) for held in arguments]
        several = request.parallel_tool_calls and named is None
        writer.add_calls([tool.name for tool, _ in tools], texts, several=several)
    if answers:
        writer.add_answer(text_of(answers[0], answers[0].root))
    is_free = not must_call and not answers
    return ReplyGrammar(writer.free() if is_free else writer.held(), schemas)


@lru_cache(1_000)
def _log_once(tool: str, left_out: str) -> None:
    """Tells the operator what calls of a tool are not held to: it is sent again with every request."""
    log.warning("what the model calls %s with is not held to all of its schema: %s", tool, left_out)


class _Writer:
    """Writes the rules of one grammar.

    llguidance reads a reply as lexemes, the longest first. `[lazy]` ones end as soon as they can, whatever else might
    go on; by them markers are found in free text.
    """

    def __init__(self, syntax: ReplySyntax, *, starts_in_reasoning: bool, goes_on: bool) -> None:
        self._syntax = syntax
        self._starts_in_reasoning, self._goes_on = starts_in_reasoning, goes_on
        self._rules = [r"TEXT: /(?s:.+)/", r"SPACE: /[ \t\r\n]{1,4}/"]
        self._targets: list[str] = []

    def force_nothing(self) -> None:
        """Lets the model choose the tokens of a text that must come word for word."""
        self._rules.append(_NO_FORCING)

    # ── what is asked for ────────────────────────────────────────────────────────────────────────────────────────────

    def add_calls(self, names: Sequence[str], schemas: Sequence[str], *, several: bool) -> None:
        """The calls that may be made: `calls`, and `calls_after_marker`, which has no `group_open` and first marker."""
        form = self._syntax.calls
        for number, schema in enumerate(schemas):
            self._rule(f"arguments_{number}", f"%json {schema}")
        called = [f"{self._text(name + form.call_middle)} arguments_{number}" for number, name in enumerate(names)]
        self._rule("called", f"({' | '.join(called)}) {self._text(form.call_close)}")
        more = (
            f"({self._text(form.separator)} {self._text(form.call_open)} called){{0,{MAX_CALLS - 1}}}"
            if several
            else ""
        )
        blank = "SPACE?" if several and not form.separator.strip() and not form.group_close else ""
        self._rule("called_on", f"called {more} {blank} {self._text(form.group_close)}")
        self._rule("calls", f"{self._text(self._opening)} called_on")
        self._targets.append("calls")

    def add_answer(self, schema: str) -> None:
        """The JSON that the text may be."""
        self._rule("answer", f"%json {schema}")
        self._targets.append("answer")

    @property
    def _opening(self) -> str:
        return self._syntax.calls.group_open + self._syntax.calls.call_open

    # ── the grammar ──────────────────────────────────────────────────────────────────────────────────────────────────

    def held(self) -> str:
        """The reply is what was asked for, perhaps after some thinking, and nothing else."""
        target = f"({' | '.join(self._targets)})"
        if self._starts_in_reasoning:
            return self._assemble(f"{self._thinking()} SPACE? {target}")
        if not self._syntax.thinks:
            return self._assemble(target)
        before = [f"{self._reasoned()} SPACE?"]
        if self._syntax.reasoning.answer_opener:
            before.append(self._text(self._syntax.reasoning.answer_opener))
        return self._assemble(f"({' | '.join(before)})? {target}")

    def free(self) -> str:
        """The reply is text until a call begins; from there on it is held."""
        self._rule("after", self._text_or_calls("after", except_for=""))
        if self._starts_in_reasoning:
            return self._assemble(f"{self._thinking()} after | TEXT?")
        if self._goes_on:  # with its text: thinking begins no more
            return self._assemble("after")
        opener = self._pieces(self._syntax.reasoning.opener)
        self._rule("fresh", self._text_or_calls("fresh", except_for=opener[0] if isinstance(opener[0], str) else ""))
        starts = [f"{self._reasoned()} after", "fresh"]
        if isinstance(opener[0], int):
            starts.append(f"SPACE? {self._lark(opener)} TEXT?")  # as text, thinking without an end is in `fresh`
        if self._syntax.reasoning.answer_opener:
            starts.append(f"SPACE? {self._text(self._syntax.reasoning.answer_opener)} after")
        return self._assemble(" | ".join(starts))

    def _text_or_calls(self, name: str, *, except_for: str) -> str:
        """Text in which a call may begin.

        Args:
            except_for: The text does not begin with this, but for white space: it would be something else.
        """
        form, rest = self._syntax.calls, self._opening.removeprefix(self._syntax.calls.marker)
        if not form.marker:
            begins = self._lazy(f"{name}_head", rf"\s*{_spaced(self._opening)}")
            return f"{begins} called_on | {self._not(name, begins)}"
        marker = self._pieces(form.marker)
        begins = self._lazy(f"{name}_head", f"(?s:.*){_escaped(form.marker)}", except_for=except_for)
        heads = [begins]
        if isinstance(marker[0], int):
            heads.append(f"TEXT? {self._text(form.marker)}")
        return f"({' | '.join(heads)}) {self._text(rest)} called_on | {self._not(name, begins)}"

    def _not(self, name: str, head: str) -> str:
        """Text that is not just what `head` has found."""
        self._rules.append(f"{name.upper()}_TEXT: TEXT & ~{head.upper()}")
        return f"{name.upper()}_TEXT?"

    # ── thinking ─────────────────────────────────────────────────────────────────────────────────────────────────────

    def _thinking(self) -> str:
        """The rest of a reasoning block, its closer included."""
        first, *rest = self._pieces(self._syntax.reasoning.closer)
        until = f"TEXT? <[{first}]>" if isinstance(first, int) else self._lazy("thinking", f"(?s:.*){_escaped(first)}")
        return f"{until} {self._lark(rest)}"

    def _reasoned(self) -> str:
        """A whole reasoning block."""
        opener, closer = self._pieces(self._syntax.reasoning.opener), self._pieces(self._syntax.reasoning.closer)
        if isinstance(opener[0], int):
            return f"SPACE? {self._lark(opener)} {self._thinking()}"
        begun = rf"[ \t\r\n]{{0,16}}{_escaped(opener[0])}(?s:.*)"
        if isinstance(closer[0], int):
            self._rules.append(f"REASONED: /{begun}/")
            return f"REASONED {self._lark(closer)}"
        return f"{self._lazy('reasoned', begun + _escaped(closer[0]))} {self._lark(closer[1:])}"

    # ── Lark ─────────────────────────────────────────────────────────────────────────────────────────────────────────

    def _assemble(self, start: str) -> str:
        return "\n".join((f"start: {start}", *self._rules, ""))

    def _rule(self, name: str, body: str) -> None:
        self._rules.append(f"{name}: {body}")

    def _lazy(self, name: str, pattern: str, *, except_for: str = "") -> str:
        """A lexeme that ends as soon as the pattern matches."""
        excluded = rf" & ~/\s*{_escaped(except_for)}(?s:.*)/" if except_for else ""
        self._rules.append(f"{name.upper()}: /{pattern}/{excluded}")
        self._rules.append(f"{name}[lazy]: {name.upper()}")
        return name

    def _pieces(self, text: str) -> list[str | int]:
        """A text with its control tokens as ids; never empty."""
        pieces: list[str | int] = []
        for part in re.split(f"({TAG.pattern})", text):
            token = self._syntax.control_token(part)
            if token is not None:
                pieces.append(token)
            elif part and pieces and isinstance(pieces[-1], str):
                pieces[-1] += part
            elif part:
                pieces.append(part)
        return pieces or [""]

    def _text(self, text: str) -> str:
        return self._lark(self._pieces(text)) if text else ""

    @staticmethod
    def _lark(pieces: Sequence[str | int]) -> str:
        return " ".join(f"<[{each}]>" if isinstance(each, int) else json.dumps(each) for each in pieces)


def _escaped(text: str) -> str:
    """A pattern of a text, for between slashes."""
    return "".join(char if char.isalnum() else f"\\x{{{ord(char):x}}}" for char in text)


def _spaced(text: str) -> str:
    """A pattern of the beginning of a JSON text, with white space wherever JSON allows it."""
    parts = re.findall(r"[{}:,]|\s+|[^{}:,\s]+", text)
    return "".join(
        rf"\s*{_escaped(part)}\s*" if part in "{}:," else r"\s*" if part.isspace() else _escaped(part) for part in parts
    )


# ── where an error is ────────────────────────────────────────────────────────────────────────────────────────────────


def _rehearse(compiler: ConstraintCompiler, place: str, schema: str) -> int:
    """Refuses a pattern that would be too costly: it shows only when text is held to it. Returns what it costs."""
    try:
        return compiler.rehearse(f"{_NO_FORCING}\nstart: %json {schema}\n")
    except InvalidRequest as error:
        raise refuse(place, error.message) from None
